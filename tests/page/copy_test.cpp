// "Copy as …": what is copied is run, and answers as the page did.
#include <sys/stat.h>

#include "page/page.h"

namespace {

using namespace tap;
using namespace tap::browser;
using test::Page;
using test::sample;
using test::TempFolder;

// What a program of the page's makes on stdout, run in the folder of its pictures.
std::string output_of(const TempFolder& folder, const std::string& command) {
  const std::string whole = "cd " + folder.path() + " && ( " + command + " ) 2>&1";
  FILE* pipe = ::popen(whole.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string text;
  for (int c = 0; (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
  CHECK_MESSAGE(::pclose(pipe) == 0, text);
  return text;
}

std::string copied(Page& page, const std::string& button) {
  page.tab.evaluate("document.querySelector('#done').textContent = ''");
  page.tab.click(button);
  page.tab.wait_until("document.querySelector('#done').textContent.startsWith('Copied as')");
  return page.tab.evaluate("navigator.clipboard.readText()");
}

// The streamed pieces of a chat completion, joined.
std::string joined(const std::string& events) {
  std::string text;
  for (std::size_t at = 0; (at = events.find("data: {", at)) != std::string::npos;) {
    const std::size_t end = events.find('\n', at);
    const Json chunk = Json::parse(events.substr(at + 6, end - at - 6));
    for (const Json& choice : chunk.at("choices")) text += choice.at("delta").value("content", "");
    at = end;
  }
  return text;
}

// A folder with the picture under a name that shells would trip over, and a question that they would run.
const std::string trap = "it's $(touch owned) a.png";
const std::string question = "What's \"on\" the roof? `touch owned` $(touch owned) $HOME \\ ! é\nEnd.";

struct Copying : Page {
  TempFolder folder;
  std::string said;
  Copying() {
    std::filesystem::copy_file(sample("roof.png"), folder / trap);
    browser.grant(server.url, {"clipboardReadWrite", "clipboardSanitizedWrite"});
    choose(folder / trap);
    tab.evaluate("document.querySelector('#temperature').value = 0");
    tab.call("(text) => { document.querySelector('#question').value = text; }", {question});
    tab.click("#ask");
    said = answered();
    CHECK_FALSE(said.empty());
  }
  ~Copying() { CHECK_FALSE(std::filesystem::exists(folder / "owned")); }
};

TEST_CASE("the copied curl command gives the same answer") {
  Copying page;
  const std::string command = copied(page, "#copy-curl");
  page.folder.write("command.sh", command);
  CHECK(joined(output_of(page.folder, "sh command.sh")) == page.said);
  CHECK(joined(output_of(page.folder, "bash command.sh")) == page.said);
}

TEST_CASE("the copied Python program gives the same answer") {
  Copying page;
  page.folder.write("program.py", copied(page, "#copy-python"));
  CHECK(output_of(page.folder, TAPETUM_SOURCE_DIR "/build/venv/bin/python program.py") == page.said + "\n");
}

TEST_CASE("detections are copied as commands too") {
  Page page;
  TempFolder folder;
  std::filesystem::copy_file(sample("roof.png"), folder / "roof.png");
  page.browser.grant(page.server.url, {"clipboardReadWrite", "clipboardSanitizedWrite"});
  page.mode("detect");
  page.choose(folder / "roof.png");
  page.submit("bird");
  page.tab.wait_until("document.querySelector('#done').textContent === 'Done.'");
  const Json places = page.tab.evaluate(
      "[...document.querySelectorAll('.where')].map((one) => one.textContent.split(', ').map(Number))");
  const auto check = [&](const Json& reply) {
    Json rounded = Json::array();
    for (const Json& object : reply.at("objects")) {
      Json box = Json::array();
      for (const Json& number : object.at("box")) box.push_back(std::lround(number.get<double>()));
      rounded.push_back(box);
    }
    CHECK(rounded == places);
  };
  CHECK(places.size() == 2);
  folder.write("command.sh", copied(page, "#copy-curl"));
  check(Json::parse(output_of(folder, "sh command.sh 2>/dev/null")));
  folder.write("program.py", copied(page, "#copy-python"));
  const std::string python = TAPETUM_SOURCE_DIR "/build/venv/bin/python";
  check(
      Json::parse(output_of(folder, "sed -i 's/^print(\\(.*\\))$/import json; print(json.dumps(\\1))/' program.py && " +
                                        python + " program.py")));
}

}  // namespace
