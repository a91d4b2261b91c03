// Questions and answers on the page.
#include "page/page.h"

namespace {

using namespace tap;
using namespace tap::browser;
using test::Page;
using test::sample;

const std::string roof = "What is on the roof?";
// An answer of about 900 tokens, whatever the model thinks.
const std::string long_form = R"({"type": "string", "minLength": 700, "maxLength": 700})";

TEST_CASE("a picture is chosen, a question asked, and the answer is the server's with its numbers") {
  Page page;
  page.picture("empty");
  page.choose(sample("roof.png"));
  CHECK(page.text("#done") == "1 picture is with the question.");
  page.picture("chosen");
  CHECK(page.ask(roof) == "A white bird");
  CHECK(page.value("#question") == "");
  CHECK(page.tab.evaluate("document.querySelectorAll('#pictures li').length") == 0);
  CHECK(page.text("#done") == "Done.");
  CHECK(page.text("#spoken") == "A white bird");
  const std::string stats = page.text("#stats");
  for (const char* part : {"43 prompt tokens (25 picture, 0 cached)", "4 output tokens", "first token 0.", "total 0."})
    CHECK_MESSAGE(stats.find(part) != std::string::npos, stats);
  page.picture("answered");

  // A question after it knows what was before, and the server has computed that before.
  CHECK(page.ask("Is there a cat?") == "No");
  CHECK(page.text("#stats").find(" 0 cached") == std::string::npos);
  CHECK(page.text("#stats").find("cached") != std::string::npos);
  CHECK(page.tab.evaluate("document.querySelectorAll('#turns > li').length") == 2);
}

TEST_CASE("an answer is shown as it comes, and stop keeps what has come") {
  Page page;
  page.choose(sample("yard.png"));
  page.tab.slow_down(20'000);
  page.tab.evaluate(
      "window.lengths = []; new MutationObserver(() => "
      "lengths.push(document.querySelector('#answer')?.textContent.length ?? 0))"
      ".observe(document.querySelector('#turns'), { subtree: true, childList: true, characterData: true })");
  const std::string answer = page.ask("Describe the image.");
  CHECK(answer.starts_with("A brown house on the right"));
  const Json lengths = page.tab.evaluate("[...new Set(lengths)].filter((length) => length > 0)");
  CHECK(lengths.size() >= 5);
  CHECK(std::is_sorted(lengths.begin(), lengths.end()));
  CHECK(lengths.back() == answer.size());
  CHECK(page.text("#stats").find(" tokens/s") != std::string::npos);

  page.tab.slow_down(3'000);  // half a minute for the answer: to stop it takes time, too
  page.tab.evaluate("document.querySelector('#settings').open = true");
  page.tab.click("#schema");
  page.tab.type(long_form);
  page.submit("Describe the image.");
  page.tab.wait_until(
      "document.querySelectorAll('#turns > li').length === 2 && document.querySelector('#answer').textContent.length > "
      "10");
  CHECK(page.tab.evaluate("document.querySelector('#ask').getAttribute('aria-disabled')") == "true");
  CHECK(page.shown("#stop"));
  page.picture("streaming", false);
  page.tab.click("#stop");
  page.answered();
  CHECK(page.text("#done") == "Stopped.");
  CHECK(page.text("#turns > li:last-child .note") == "Stopped.");
  const std::string kept = page.text("#answer");
  CHECK(kept.size() > 10);
  CHECK(kept.size() < 700);
  CHECK_FALSE(page.shown("#stop"));
  // What was stopped is part of the conversation.
  page.tab.slow_down(0);
  page.tab.reload();
  page.tab.wait_until("document.querySelectorAll('#turns > li').length === 2");
  CHECK(page.text("#answer") == kept);
}

TEST_CASE("a conversation outlives the page, pictures included, until a new one is begun") {
  Page page;
  page.choose(sample("roof.png"));
  page.ask(roof);
  page.ask("What is in the sky?");
  const Json before = page.tab.evaluate("[...document.querySelectorAll('#turns > li')].map((turn) => turn.innerText)");
  page.tab.wait_until("indexedDB.databases().then((all) => all.length)");
  page.tab.reload();
  page.tab.wait_until(
      "document.querySelector('#model').value && document.querySelectorAll('#turns > li').length === 2");
  CHECK(page.tab.evaluate("[...document.querySelectorAll('#turns > li')].map((turn) => turn.innerText)") == before);
  page.tab.wait_until("document.querySelector('#turns img').naturalWidth === 768");
  // The picture is still with the conversation: who does not see it cannot answer.
  CHECK(page.ask("Is there a car?") == "Yes");
  CHECK(page.text("#stats").find("(25 picture") != std::string::npos);

  page.tab.click("#new-conversation");
  CHECK(page.tab.evaluate("document.querySelectorAll('#turns > li').length") == 0);
  page.tab.reload();
  page.tab.wait_until("document.querySelector('#model').value");
  CHECK(page.tab.evaluate("document.querySelectorAll('#turns > li').length") == 0);
}

TEST_CASE("pictures are dropped and pasted, and what is no picture is refused by name") {
  Page page;
  page.tab.drop_files(page.tab.place_of("#drop-hint"), {sample("roof.png"), sample("yard.png")});
  page.tab.wait_until("document.querySelectorAll('#pictures img').length === 2");
  CHECK(page.tab.evaluate("[...document.querySelectorAll('#pictures img')].map((image) => image.alt)") ==
        Json{"roof.png", "yard.png"});
  page.tab.click("[aria-label='Remove roof.png']");
  CHECK(page.tab.evaluate("document.querySelectorAll('#pictures img').length") == 1);
  CHECK(page.tab.evaluate("document.activeElement.getAttribute('aria-label')") == "Remove yard.png");
  page.tab.click("[aria-label='Remove yard.png']");
  CHECK(page.tab.evaluate("document.activeElement.id") == "picture-input");

  page.browser.grant(page.server.url, {"clipboardReadWrite", "clipboardSanitizedWrite"});
  page.choose(sample("roof.png"));
  page.tab.evaluate(R"(new Promise((written, refused) => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 768;
    canvas.getContext("2d").drawImage(document.querySelector("#pictures img"), 0, 0);
    canvas.toBlob((blob) => navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]).then(written, refused));
  }))");
  page.tab.click("[data-testid=remove-picture]");
  page.tab.click("#question");
  page.tab.press("Control+v");
  page.tab.wait_until("document.querySelectorAll('#pictures img').length === 1");
  CHECK(page.ask(roof) == "A white bird");

  test::TempFolder folder;
  folder.write("notes.txt", "no picture");
  folder.write("empty.png", "");
  page.tab.drop_files(page.tab.place_of("#drop-hint"), {folder / "notes.txt", folder / "empty.png"});
  page.tab.wait_until("document.querySelector('#error').textContent");
  CHECK(page.text("#error") == "notes.txt is no picture that this page knows. empty.png is empty.");
}

TEST_CASE("a photograph is taken with the camera") {
  Page page;
  page.browser.grant(page.server.url, {"videoCapture"});
  page.tab.click("#camera-open");
  page.tab.wait_until("document.querySelector('#camera-view').videoWidth > 0");
  page.picture("camera", false);
  page.tab.click("#camera-take");
  page.tab.wait_until("document.querySelectorAll('#pictures img').length === 1");
  CHECK(page.tab.evaluate("document.querySelector('#camera').open") == false);
  CHECK(page.tab.evaluate("document.querySelector('#camera-view').srcObject").is_null());
  CHECK_FALSE(page.ask("Describe the image.").empty());
}

TEST_CASE("what the server refuses is said in its words, and the question is not lost") {
  Page page;
  page.expected = "400 (Bad Request)";
  page.tab.evaluate("document.querySelector('#settings').open = true");
  page.tab.click("#schema");
  page.tab.type(R"({"type": "nonsense"})");
  page.choose(sample("roof.png"));
  page.submit(roof);
  page.tab.wait_until("document.querySelector('#error').textContent");
  CHECK(page.text("#error").find("nonsense") != std::string::npos);
  page.picture("refused");
  CHECK(page.value("#question") == roof);
  CHECK(page.tab.evaluate("document.querySelectorAll('#pictures li').length") == 1);
  CHECK(page.tab.evaluate("document.querySelectorAll('#turns > li').length") == 0);
  page.tab.evaluate("document.querySelector('#schema').value = '{'");
  page.tab.click("#ask");
  page.tab.wait_until("document.querySelector('#error').textContent.startsWith('JSON Schema: ')");
  page.tab.evaluate("document.querySelector('#schema').value = ''; document.querySelector('#max-tokens').value = '-3'");
  page.tab.click("#ask");
  page.tab.wait_until("document.querySelector('#error').textContent.startsWith('Most output tokens: ')");
  page.tab.evaluate("document.querySelector('#max-tokens').value = '2'");
  page.tab.click("#ask");
  page.tab.wait_until("document.querySelector('.note')?.textContent === 'Cut: the limit of tokens was reached.'");
}

TEST_CASE("two models answer the same question beside each other") {
  Page page;
  page.mode("compare");
  page.choose(sample("roof.png"));
  page.submit(roof);
  page.tab.wait_until("document.querySelector('#done').textContent === 'Done.'");
  CHECK(page.text("#answer-a") == "A white bird");
  CHECK(page.text("#answer-b") == "A white bird");
  CHECK(page.text("#stats-a").find("4 output tokens") != std::string::npos);
  CHECK(page.text("#stats-b").find("total 0.") != std::string::npos);
  page.picture("compare");
}

TEST_CASE("a server with a key asks for it, and the page keeps it for this tab only") {
  test::Served server({"--api-key", "secret"});
  Browser browser(BrowserOptions{.program = {}, .patience_s = 60});
  Tab tab = browser.open(server.url + "/");
  tab.wait_until("document.querySelector('#error').textContent.includes('Give the API key above')");
  tab.wait_until("document.activeElement.id === 'api-key'");
  tab.type("secret");
  tab.press("Tab");
  tab.wait_until("document.querySelector('#model').value === 'nano'");
  CHECK(tab.evaluate("document.querySelector('#error').textContent") == "");
  CHECK(tab.evaluate("sessionStorage.length") == 1);
  CHECK(tab.evaluate("JSON.stringify(localStorage).includes('secret')") == false);
  tab.set_files("#picture-input", {sample("roof.png")});
  tab.wait_until("document.querySelector('#pictures img')?.complete");  // it moves what is below
  tab.click("#question");
  tab.type(roof + "\n");
  tab.wait_until("document.querySelector('#done').textContent === 'Done.'");
  CHECK(tab.evaluate("document.querySelector('#answer').textContent") == "A white bird");
}

TEST_CASE("what users and models write is shown as text") {
  Page page;
  page.choose(sample("roof.png"));
  page.ask("<img src=x onerror=\"document.title='owned'\"><b>bold</b>");
  CHECK(page.tab.evaluate("document.querySelectorAll('#turns b, #turns img:not(.thumbs img)').length") == 0);
  CHECK(page.text("#turns .thumbs + .text").find("<b>bold</b>") != std::string::npos);
  CHECK(page.tab.evaluate("document.title") == "tapetum");
}

}  // namespace
