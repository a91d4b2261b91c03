// The page of a running `tapetum serve`, in a real Chromium.
#pragma once

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "browser/browser.h"
#include "support/temp_folder.h"

namespace tap::test {

inline std::string sample(const std::string& name) { return std::string(TAPETUM_SOURCE_DIR "/data/samples/") + name; }

// The server's process, on a free port.
class Served {
 public:
  explicit Served(std::vector<std::string> flags = {}) {
    int pipe[2];
    REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
    const Fd from(pipe[0]), to(pipe[1]);
    std::vector<std::string> words = {TAPETUM_PROGRAM, "serve", "--port", "0", "--json", "--quiet"};
    words.insert(words.end(), flags.begin(), flags.end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, to.get(), 1);
    REQUIRE(::posix_spawn(&pid_, arguments[0], &actions, nullptr, arguments.data(), environ) == 0);
    ::posix_spawn_file_actions_destroy(&actions);
    std::string line;
    for (char c = 0; c != '\n';) {
      pollfd one{from.get(), POLLIN, 0};
      if (::poll(&one, 1, 60'000) != 1 || ::read(from.get(), &c, 1) != 1) break;
      line += c;
    }
    INFO("the server says: " << line);
    url = text_of(Json::parse(line, nullptr, false), "ready");
    REQUIRE_FALSE(url.empty());
  }
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;
  ~Served() { stop(); }

  int stop() {  // gives its exit code
    int status = 0;
    if (pid_ <= 0) return 0;
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  std::string url;  // "http://127.0.0.1:40123"

 private:
  static std::string text_of(const Json& json, const char* key) {
    return json.is_object() && json.contains(key) ? json[key].get<std::string>() : "";
  }
  pid_t pid_ = -1;
};

// What a test starts with: the page, loaded, with its models. What every test ends with: nothing was asked of anybody
// but the server, and nothing went wrong that the browser's console tells of.
class Page {
 public:
  explicit Page(std::vector<std::string> flags = {})
      : server(std::move(flags)), browser(start()), tab(browser.open(server.url + "/")) {
    tab.wait_until("document.querySelector('#model').value");
  }
  ~Page() {
    for (const browser::Request& request : tab.requests()) {
      const bool own = request.url.starts_with(server.url + "/") || request.url.starts_with("data:") ||
                       request.url.starts_with("blob:" + server.url);
      CHECK_MESSAGE(own, "asked of another: " << request.url);
    }
    for (const browser::Note& note : tab.notes()) {
      const bool wrong =
          note.kind == browser::Note::Kind::exception || note.level == "error" || note.level == "warning";
      if (wrong && !(!expected.empty() && note.text.find(expected) != std::string::npos))
        FAIL_CHECK(note.level << ": " << note.text);
    }
    CHECK(server.stop() == 0);
  }

  std::string text(const std::string& selector) {
    return tab.call("(s) => document.querySelector(s).textContent", {selector});
  }
  std::string value(const std::string& selector) {
    return tab.call("(s) => document.querySelector(s).value", {selector});
  }
  bool shown(const std::string& selector) {
    return tab.call("(s) => document.querySelector(s)?.checkVisibility() === true", {selector});
  }
  Json place(const std::string& selector) {
    return tab.call(
        "(s) => { const r = document.querySelector(s).getBoundingClientRect(); return [r.left, r.top, r.right, "
        "r.bottom]; }",
        {selector});
  }

  void choose(const std::string& picture) {
    const int before = tab.evaluate("document.querySelectorAll('#pictures li').length");
    tab.set_files("#picture-input", {picture});
    tab.wait_until("document.querySelectorAll('#pictures li').length > " + std::to_string(before));
  }
  void mode(const std::string& name) { tab.click("#mode-" + name); }
  void submit(const std::string& question) {
    tab.click("#question");
    tab.type(question);
    tab.press("Enter");
  }
  // Until what was asked is answered; gives the newest answer.
  std::string answered() {
    tab.wait_until("!('busy' in document.body.dataset)");
    CHECK(text("#error") == "");
    return text("#answer");
  }
  std::string ask(const std::string& question) {
    submit(question);
    return answered();
  }

  // A picture of the page for people: into the folder that TAPETUM_SCREENSHOTS names, if it does.
  void picture(const std::string& name, bool whole = true) {
    const char* folder = std::getenv("TAPETUM_SCREENSHOTS");
    const std::string png = tab.screenshot(whole);
    CHECK(png.starts_with("\x89PNG"));
    if (folder) std::ofstream(std::string(folder) + "/" + name + ".png", std::ios::binary) << png;
  }

  std::string expected;  // part of the notes that a test means to cause
  Served server;
  browser::Browser browser;
  browser::Tab tab;

 private:
  static browser::Browser start() {
    return browser::Browser(
        browser::BrowserOptions{.program = {}, .patience_s = 60, .flags = {"--use-fake-device-for-media-stream"}});
  }
};

}  // namespace tap::test
