// The driver with a real Chromium, on pages of our own.
#include <filesystem>
#include <iostream>
#include <set>

#include <doctest/doctest.h>

#include "browser/browser.h"
#include "codec/decode.h"
#include "support/loopback.h"
#include "support/temp_folder.h"

namespace {

using namespace tap;
using namespace tap::browser;
using test::Loopback;
using test::TempFolder;

Browser start() {
  if (find_browser().empty()) {
    std::cout << "skipped: there is no Chromium here (apt-get install chromium)\n";
    std::exit(77);
  }
  return Browser(BrowserOptions{.program = {}, .patience_s = 60});
}

Loopback::Answer page(std::string html) {
  return [html = std::move(html)](const std::string& head, const auto& send) {
    const bool there = head.starts_with("GET / ");
    const std::string& body = there ? html : std::string("nothing");
    send(fmt::format("HTTP/1.1 {}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
                     there ? "200 OK" : "404 Not Found", body.size(), body));
  };
}

std::string address(const Loopback& server) { return server.url("/"); }

std::set<std::string> profiles() {
  std::set<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::temp_directory_path()))
    if (entry.path().filename().string().starts_with("tapetum-browser-")) found.insert(entry.path());
  return found;
}

TEST_CASE("a page is loaded, asked, and its exceptions are errors") {
  Browser browser = start();
  CHECK(browser.version().find("Chrom") != std::string::npos);
  Loopback server(
      page("<title>one</title><script>console.warn('odd', 3); setTimeout(() => { throw new Error('late') })</script>"
           "<link rel=stylesheet href=/missing.css>"));
  Tab tab = browser.open(address(server));
  CHECK(tab.evaluate("document.title") == "one");
  CHECK(tab.evaluate("undefined").is_null());
  CHECK(tab.evaluate("new Promise((done) => setTimeout(() => done({ a: [1, 'é'] }), 20))") == Json{{"a", {1, "é"}}});
  CHECK(tab.call("(a, b) => a + b", {"it's \"quoted\" ", "\n"}) == "it's \"quoted\" \n");
  CHECK_THROWS_WITH_AS(tab.evaluate("nothing.at.all"), doctest::Contains("nothing is not defined"), Error);
  CHECK_THROWS_WITH_AS(tab.evaluate("Promise.reject(new Error('no'))"), doctest::Contains("Error: no"), Error);
  tab.wait_until("document.readyState === 'complete'");

  bool warned = false, threw = false, missed = false;
  for (const Note& note : tab.notes()) {
    warned |= note.kind == Note::Kind::console && note.level == "warning" && note.text == "odd 3";
    threw |= note.kind == Note::Kind::exception && note.text.find("late") != std::string::npos;
  }
  for (const Request& request : tab.requests())
    missed |= request.url == address(server) + "missing.css" && request.status == 404;
  CHECK(warned);
  CHECK(threw);
  CHECK(missed);
  tab.forget();
  CHECK(tab.requests().empty());
  tab.reload();
  CHECK(tab.requests().at(0).url == address(server));
  tab.set_patience(0.2);
  CHECK_THROWS_WITH_AS(tab.wait_until("document.title === 'two'"), doctest::Contains("document.title === 'two'"),
                       Error);
}

TEST_CASE("a page that cannot be had is an error that names its address") {
  Browser browser = start();
  Tab tab = browser.open();
  CHECK_THROWS_WITH_AS(tab.go("http://127.0.0.1:1/"), doctest::Contains("http://127.0.0.1:1/: net::ERR_"), Error);
  CHECK_THROWS_AS(tab.go("no address"), Error);
  tab.close();
  CHECK_THROWS_WITH_AS(tab.evaluate("1"), doctest::Contains("closed"), Error);
  CHECK(browser.open().evaluate("1 + 1") == 2);
}

TEST_CASE("keys, mouse, files and drops reach the page as a person's do") {
  Browser browser = start();
  TempFolder folder;
  folder.write("a.txt", "first");
  folder.write("b.txt", "second");
  Loopback server(page(R"(<!doctype html><body style="height: 3000px; margin: 0">
    <input id=text><button id=button style="position: absolute; top: 2000px">press</button>
    <div style="position: absolute; top: 100px; width: 200px; height: 200px" id=field></div>
    <div style="position: absolute; top: 400px; width: 50px; height: 50px" id=under></div>
    <div style="position: absolute; top: 400px; width: 50px; height: 50px" id=over></div>
    <input type=file id=files multiple style="position: absolute; top: 500px"><script>
    const log = window.log = [];
    document.addEventListener("keydown", (e) => log.push(`${e.ctrlKey ? "^" : ""}${e.shiftKey ? "+" : ""}${e.key}`));
    button.onclick = (e) => log.push(`click ${e.isTrusted} ${e.detail}`);
    field.onpointerdown = (e) => log.push(`down ${e.offsetX} ${e.offsetY}`);
    field.onpointermove = (e) => { if (e.buttons) field.last = `${e.offsetX} ${e.offsetY}`; };
    field.onpointerup = () => log.push(`up ${field.last}`);
    files.onchange = async () => log.push((await Promise.all([...files.files].map((f) => f.text()))).join());
    document.ondragover = (e) => e.preventDefault();
    document.ondrop = async (e) => { e.preventDefault(); log.push(`dropped ${await e.dataTransfer.files[0].text()}`); };
  </script>)"));
  Tab tab = browser.open(address(server));
  const auto logged = [&] { return tab.evaluate("log.splice(0)"); };

  tab.click("#text");
  tab.type("Hi, é?");
  CHECK(tab.evaluate("text.value") == "Hi, é?");
  CHECK(logged() == Json{"H", "i", ",", " ", "?"});
  tab.press("Control+a");
  tab.press("Backspace");
  CHECK(tab.evaluate("text.value") == "");
  tab.press("Shift+Tab");
  CHECK(logged() == Json{"^a", "Backspace", "+Tab"});

  tab.click("#button");
  CHECK(logged() == Json::array({"click true 1"}));
  CHECK(tab.evaluate("scrollY > 0") == true);
  tab.evaluate("scrollTo(0, 0)");
  tab.drag({10, 120}, {110, 220});
  CHECK(logged() == Json{"down 10 20", "up 110 120"});
  CHECK_THROWS_WITH_AS(tab.click("#under"), doctest::Contains("#under: <div"), Error);
  CHECK_THROWS_WITH_AS(tab.click("#none"), doctest::Contains("#none: there is none"), Error);

  tab.set_files("#files", {folder / "a.txt", folder / "b.txt"});
  tab.wait_until("log.length");
  CHECK(logged() == Json::array({"first,second"}));
  tab.drop_files({50, 150}, {folder / "b.txt"});
  tab.wait_until("log.length");
  CHECK(logged() == Json::array({"dropped second"}));
}

TEST_CASE("what is shown follows the viewport and the media, and is seen in pictures and in the accessibility tree") {
  Browser browser = start();
  Loopback server(page(R"(<!doctype html><style>body { margin: 0; height: 1500px; background: #ff0000 }
    @media (prefers-color-scheme: dark) { body { background: #0000ff } }</style>
    <button>Go</button><input aria-label="Name" value="x"><button disabled aria-hidden=true>Hidden</button>)"));
  Tab tab = browser.open(address(server));
  const auto image = [&](bool whole) {
    const std::string png = tab.screenshot(whole);
    return decode_image(std::as_bytes(std::span(png)), "screenshot").value();
  };
  tab.show_in(Viewport{.width = 400, .height = 300, .scale = 2, .mobile = true});
  CHECK(tab.evaluate("matchMedia('(pointer: coarse)').matches") == true);
  const Image light = image(false);
  CHECK(light.width == 800);
  CHECK(light.height == 600);
  const auto last = [](const Image& of) { return std::vector<int>(of.pixels.end() - 3, of.pixels.end()); };
  CHECK(last(light) == std::vector{255, 0, 0});
  tab.show_in(Media{.dark = true, .reduced_motion = true});
  CHECK(tab.evaluate("matchMedia('(prefers-reduced-motion: reduce)').matches") == true);
  const Image dark = image(true);
  CHECK(dark.height == 3000);
  CHECK(last(dark) == std::vector{0, 0, 255});

  std::vector<std::string> seen;
  for (const AxNode& node : tab.accessibility())
    if (node.focusable && node.role != "RootWebArea") seen.push_back(node.role + " " + node.name + " " + node.value);
  CHECK(seen == std::vector<std::string>{"button Go ", "textbox Name x"});
}

TEST_CASE("a dialog of a page holds up nobody") {
  Browser browser = start();
  Loopback server(page("<script>window.said = confirm('Sure?')</script>"));
  Tab tab = browser.open(address(server));
  CHECK(tab.evaluate("said") == false);
  CHECK(tab.notes().at(0).text == "the page asked: Sure?");
}

TEST_CASE("a page that crashes is an error, and other tabs go on") {
  Browser browser = start();
  Tab other = browser.open(), tab = browser.open();
  CHECK_THROWS_AS(tab.go("chrome://crash"), Error);
  CHECK_THROWS_WITH_AS(tab.evaluate("1"), doctest::Contains("crashed"), Error);
  CHECK(other.evaluate("2") == 2);
}

TEST_CASE("a browser leaves neither processes nor its folder behind") {
  const std::set<std::string> before = profiles();
  std::string folder;
  {
    Browser browser = start();
    Tab tab = browser.open();
    CHECK(tab.evaluate("1") == 1);
    for (const std::string& one : profiles())
      if (!before.contains(one)) folder = one;
    REQUIRE_FALSE(folder.empty());
  }
  CHECK_FALSE(std::filesystem::exists(folder));
  for (const auto& process : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(process.path() / "cmdline");
    const std::string words((std::istreambuf_iterator<char>(file)), {});
    CHECK(words.find(folder) == std::string::npos);
  }
}

TEST_CASE("a program that is no browser is an error with what it said") {
  CHECK_THROWS_WITH_AS(Browser(BrowserOptions{.program = "/nowhere/chromium"}),
                       doctest::Contains("/nowhere/chromium: cannot start"), Error);
  CHECK_THROWS_WITH_AS(Browser(BrowserOptions{.program = "/bin/ls"}),
                       doctest::Contains("/bin/ls: the browser went away"), Error);
}

}  // namespace
