// The page for everybody: by keyboard, by screen reader, in the dark, on a phone; and closed to strangers.
#include <set>

#include "page/page.h"

namespace {

using namespace tap;
using namespace tap::browser;
using test::Page;
using test::sample;

// All that can be seen in a mode, with an answer in it.
void fill(Page& page, const std::string& mode) {
  page.mode(mode);
  if (mode != "ask" && page.tab.evaluate("document.querySelectorAll('#pictures li').length") == 0)
    page.choose(sample("roof.png"));
  if (mode == "ask") page.choose(sample("roof.png"));
  page.tab.evaluate("document.querySelector('#done').textContent = document.querySelector('#question').value = ''");
  page.submit(mode == "detect" ? "bird ; car" : "What is on the roof?");
  page.tab.wait_until("document.querySelector('#done').textContent === 'Done.'");
  page.tab.evaluate("for (const one of document.querySelectorAll('details')) one.open = true");
}

const std::vector<std::string> modes = {"ask", "detect", "guard", "compare"};

TEST_CASE("every control has a name for a screen reader") {
  Page page;
  const std::set<std::string> controls = {
      "button", "textbox", "searchbox", "combobox", "checkbox", "radio", "spinbutton", "link",
      "image",  "img",     "list",      "table",    "region",   "form",  "dialog",     "DisclosureTriangle"};
  const std::set<std::string> may_be_nameless = {"list"};
  for (const std::string& mode : modes) {
    CAPTURE(mode);
    fill(page, mode);
    std::size_t named = 0;
    for (const AxNode& node : page.tab.accessibility()) {
      if (!node.focusable && !controls.contains(node.role)) continue;
      if (may_be_nameless.contains(node.role)) continue;
      CHECK_MESSAGE(!node.name.empty(), "a " << node.role << " has no name (" << node.description << ")");
      ++named;
    }
    CHECK(named > 15);
  }
}

TEST_CASE("a question is asked, stopped and found again by keyboard alone") {
  Page page;
  page.choose(sample("roof.png"));
  page.tab.evaluate("document.activeElement.blur()");
  const auto focused = [&] {
    return page.tab.evaluate(
        "document.activeElement.id || document.activeElement.dataset.testid || document.activeElement.tagName");
  };
  std::vector<std::string> order;
  for (int i = 0; i < 20; ++i) {
    page.tab.press("Tab");
    order.push_back(focused());
    if (order.back() == "BODY") break;
    if (order.back() == "question") {
      // Where the focus is can be seen.
      CHECK(page.tab.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2") == true);
      break;
    }
  }
  CHECK(order == std::vector<std::string>{"A", "model", "SUMMARY", "mode-ask", "picture-input", "camera-open",
                                          "remove-picture", "question"});
  page.tab.type("What is on the roof?");
  page.tab.press("Shift+Enter");
  page.tab.type("Say it.");
  CHECK(page.value("#question") == "What is on the roof?\nSay it.");
  page.tab.press("Enter");
  CHECK_FALSE(page.answered().empty());
  CHECK(focused() == "question");
  for (const char* next : {"ask", "copy-curl", "copy-python", "new-conversation", "SUMMARY"}) {
    page.tab.press("Tab");
    CHECK(focused() == next);
  }
  page.tab.press("Enter");
  CHECK(page.tab.evaluate("document.querySelector('#settings').open") == true);

  page.tab.evaluate("document.querySelector('#mode-ask').focus()");
  page.tab.press("ArrowRight");
  CHECK(page.shown("#panel-detect"));
  CHECK(page.text("#question-label") == "What to find");
  page.tab.evaluate("document.querySelector('.skip').focus()");
  CHECK(page.shown(".skip"));
  page.tab.press("Enter");
  page.tab.wait_until("document.activeElement.id === 'question'");
}

// WCAG 2.2, 1.4.3: of every text that is shown, against what is really behind it.
constexpr const char* contrasts = R"((() => {
  const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
      if (colour[3] > 0) throw new Error("half transparent");
    }
    return parts(getComputedStyle(document.body).backgroundColor);
  };
  const all = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = (element) => element.checkVisibility() && element.getClientRects().length > 0 && !element.closest("svg, .unseen, noscript, script, option");
  for (let node; (node = walker.nextNode());)
    if (node.data.trim() && seen(node.parentElement)) all.push([node.parentElement, node.data.trim().slice(0, 30)]);
  for (const field of document.querySelectorAll("input, select, textarea"))
    if (seen(field) && getComputedStyle(field).opacity !== "0") all.push([field, `#${field.id}`], ...(field.placeholder ? [[field, "placeholder", "::placeholder"]] : []));
  return all.map(([element, text, part]) => {
    const [a, b] = [light(parts(getComputedStyle(element, part).color)), light(behind(element))].sort((x, y) => y - x);
    return [text, (a + 0.05) / (b + 0.05)];
  });
})())";

TEST_CASE("texts stand out from what is behind them, in the light and in the dark") {
  Page page;
  page.expected = "400 (Bad Request)";
  for (const bool dark : {false, true}) {
    page.tab.show_in(Media{.dark = dark, .reduced_motion = true});
    for (const std::string& mode : modes) {
      fill(page, mode);
      page.tab.evaluate("document.querySelector('#error').textContent = 'An error.'");
      const Json found = page.tab.evaluate(contrasts);
      CHECK(found.size() > 15);
      double least = 99;
      for (const Json& one : found) {
        least = std::min(least, one[1].get<double>());
        CHECK_MESSAGE(one[1].get<double>() >= 4.5,
                      mode << (dark ? ", dark: " : ", light: ") << one[0] << " has " << one[1]);
      }
      page.picture(mode + (dark ? "-dark" : "-light"));
      CHECK(least < 21.01);
    }
  }
  CHECK(page.tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 24, 22)");
}

TEST_CASE("on a phone nothing is wider than the screen, and fingers find the buttons") {
  Page page;
  page.tab.show_in(Viewport{.width = 360, .height = 740, .scale = 2, .mobile = true});
  page.tab.reload();
  page.tab.wait_until("document.querySelector('#model').value");
  for (const std::string& mode : modes) {
    CAPTURE(mode);
    page.mode(mode);
    if (page.tab.evaluate("document.querySelectorAll('#pictures li').length") == 0) page.choose(sample("roof.png"));
    page.tab.click("#question");
    page.tab.evaluate("document.querySelector('#done').textContent = document.querySelector('#question').value = ''");
    page.tab.type(mode == "detect" ? "bird ; car" : "What is on the roof?");
    page.tab.click("#ask");  // where there is no keyboard, Enter is a new line
    page.tab.wait_until("document.querySelector('#done').textContent === 'Done.'");
    for (const char* details : {"none", "open"}) {
      CHECK(page.tab.evaluate("document.documentElement.scrollWidth") == 360);
      CHECK(page.tab.evaluate(
                "[...document.querySelectorAll('body *')].filter((one) => one.checkVisibility() && "
                "!one.closest('.unseen, .skip, svg')"
                " && one.getBoundingClientRect().right > 360.5).map((one) => one.outerHTML.slice(0, 80))") ==
            Json::array());
      page.picture("phone-" + mode + (details == std::string("open") ? "-open" : ""));
      page.tab.evaluate("for (const one of document.querySelectorAll('details')) one.open = !one.open");
    }
    // WCAG 2.2, 2.5.8.
    CHECK(
        page.tab.evaluate(
            "[...document.querySelectorAll('button, select, summary, textarea, input:not([type=file])')]"
            ".filter((one) => one.checkVisibility()).map((one) => [one.id, one.getBoundingClientRect()])"
            ".filter(([id, place]) => (place.width < 24 || place.height < 24) && id !== 'masks').map(([id]) => id)") ==
        Json::array());
  }
}

TEST_CASE("the page's policy lets nothing of others run, be loaded or be sent") {
  Page page;
  page.expected = "Content Security Policy";
  const std::string tries = R"(Promise.all([
    new Promise((done) => { window.ran = false; const script = document.createElement("script"); script.textContent = "window.ran = true";
      document.body.append(script); setTimeout(() => done(window.ran), 50); }),
    new Promise((done) => { const image = new Image(); image.onload = () => done("loaded"); image.onerror = () => done("refused");
      image.src = "http://127.0.0.2:9/x.png"; }),
    fetch("http://127.0.0.2:9/").then(() => "sent", () => "refused"),
    new Promise((done) => { const frame = document.createElement("div"); frame.innerHTML = "<b onclick='window.ran = true'>x</b>";
      document.body.append(frame); frame.firstChild.click(); done(window.ran); }),
  ]))";
  CHECK(page.tab.evaluate(tries) == Json{false, "refused", "refused", false});
  std::size_t said = 0;
  for (const Note& note : page.tab.notes()) said += note.text.find("Content Security Policy") != std::string::npos;
  CHECK(said >= 4);
  for (const Request& request : page.tab.requests())
    if (!request.url.starts_with(page.server.url)) CHECK(request.error == "blocked: csp");
  page.tab.forget();  // what was tried here is no request of the page
}

}  // namespace
