// The protocol against a peer that says what a test wants it to say.
#include "browser/connection.h"

#include <thread>

#include <doctest/doctest.h>
#include <sys/socket.h>

#include "base/exec_context.h"

namespace {

using namespace tap;
using namespace tap::browser;

// The browser's end of the socket: gets whole commands, and says bytes.
class Peer {
 public:
  Peer() {
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    ours_ = Fd(pair[0]);
    theirs_ = Fd(pair[1]);
  }
  Fd other_end() { return std::move(ours_); }
  Json heard() {
    std::string text;
    for (char c = 0; ::read(theirs_.get(), &c, 1) == 1 && c != 0;) text += c;
    return text.empty() ? Json() : Json::parse(text);
  }
  void say(const std::string& bytes) {
    REQUIRE(write_all(theirs_.get(), std::as_bytes(std::span(bytes))) == bytes.size());
  }
  void say(const Json& message) { say(message.dump() + '\0'); }
  void hang_up() { theirs_ = Fd(); }

 private:
  Fd ours_, theirs_;
};

std::string message_of(const std::function<void()>& act, ErrorCode code) {
  try {
    act();
  } catch (const Error& error) {
    CHECK(error.code() == code);
    return error.message();
  }
  return "no error";
}

TEST_CASE("a call sends one numbered command and gives the result of its own answer") {
  Peer peer;
  Connection connection(peer.other_end());
  std::jthread browser([&] {
    const Json command = peer.heard();
    CHECK(command["method"] == "Page.navigate");
    CHECK(command["params"]["url"] == "http://x/");
    CHECK(command["sessionId"] == "S");
    peer.say({{"id", command["id"].get<int>() + 7}, {"result", {{"of", "another"}}}});
    peer.say({{"id", command["id"]}, {"result", {{"frameId", "F"}}}});
  });
  CHECK(connection.call("Page.navigate", {{"url", "http://x/"}}, "S", in_seconds(10))["frameId"] == "F");
}

TEST_CASE("messages that come in pieces, or several at once, are taken one by one and in order") {
  Peer peer;
  Connection connection(peer.other_end());
  std::vector<int> numbers;
  connection.listen("S", [&](const std::string& method, const Json& params) {
    CHECK(method == "e");
    numbers.push_back(params["n"]);
  });
  const auto event = [](int n) { return Json{{"method", "e"}, {"sessionId", "S"}, {"params", {{"n", n}}}}.dump(); };
  const std::string third = event(3) + '\0';
  peer.say(event(1) + '\0' + event(2) + '\0' + third.substr(0, 10));
  CHECK(connection.pump(in_seconds(10)));
  CHECK(numbers == std::vector{1, 2});
  CHECK_FALSE(connection.pump(in_seconds(0.05)));
  peer.say(third.substr(10));
  CHECK(connection.pump(in_seconds(10)));
  CHECK(numbers == std::vector{1, 2, 3});
}

TEST_CASE("events of other sessions reach no listener, and a listener may post") {
  Peer peer;
  Connection connection(peer.other_end());
  int heard = 0;
  connection.listen("A", [&](const std::string&, const Json&) {
    ++heard;
    connection.post("Page.handleJavaScriptDialog", {{"accept", false}}, "A");
  });
  peer.say({{"method", "e"}, {"sessionId", "B"}});
  peer.say({{"method", "e"}});
  peer.say({{"method", "e"}, {"sessionId", "A"}});
  CHECK(connection.pump(in_seconds(10)));
  CHECK(heard == 1);
  CHECK(peer.heard()["method"] == "Page.handleJavaScriptDialog");
  connection.forget("A");
  peer.say({{"method", "e"}, {"sessionId", "A"}});
  CHECK(connection.pump(in_seconds(10)));
  CHECK(heard == 1);
}

TEST_CASE("what the browser says against a command is an error that names it") {
  Peer peer;
  Connection connection(peer.other_end());
  std::jthread browser([&] {
    peer.say({{"id", peer.heard()["id"]},
              {"error", {{"code", -32000}, {"message", "Cannot navigate"}, {"data", "no url"}}}});
  });
  CHECK(message_of([&] { connection.call("Page.navigate", {}, "", in_seconds(10)); }, ErrorCode::bad_input) ==
        "Page.navigate: Cannot navigate: no url");
}

TEST_CASE("a browser that gives no answer, goes away or makes no sense is an error in time") {
  SUBCASE("silence") {
    Peer peer;
    Connection connection(peer.other_end());
    CHECK(message_of([&] { connection.call("A.b", {}, "", in_seconds(0.1)); }, ErrorCode::io) ==
          "A.b: the browser gave no answer in time");
  }
  SUBCASE("the end") {
    Peer peer;
    Connection connection(peer.other_end());
    peer.hang_up();
    CHECK(message_of([&] { connection.call("A.b", {}, "", in_seconds(10)); }, ErrorCode::io) ==
          "the browser went away");
  }
  SUBCASE("no JSON") {
    Peer peer;
    Connection connection(peer.other_end());
    peer.say(std::string("{\"id\":\0", 7));
    CHECK(message_of([&] { connection.call("A.b", {}, "", in_seconds(10)); }, ErrorCode::io)
              .starts_with("a message of the browser: "));
  }
  SUBCASE("JSON that is no message") {
    Peer peer;
    Connection connection(peer.other_end());
    peer.say(std::string("[]\0", 3));
    CHECK(message_of([&] { connection.call("A.b", {}, "", in_seconds(10)); }, ErrorCode::io) ==
          "the browser sent what is no message");
  }
  SUBCASE("nobody reads") {
    Peer peer;
    Connection connection(peer.other_end());
    const Json large = {{"text", std::string(8 << 20, 'x')}};
    CHECK(message_of([&] { connection.call("A.b", large, "", in_seconds(0.2)); }, ErrorCode::io) ==
          "A.b: the browser takes no command");
  }
}

TEST_CASE("a large command gets through while the browser waits to be heard") {
  Peer peer;
  Connection connection(peer.other_end());
  std::size_t events = 0;
  connection.listen("", [&](const std::string&, const Json&) { ++events; });
  std::jthread browser([&] {
    for (int i = 0; i < 200; ++i)
      peer.say({{"method", "e"}, {"params", {{"text", std::string(50'000, 'y')}}}});  // before it reads
    const Json command = peer.heard();
    CHECK(command["params"]["text"].get<std::string>().size() == 8 << 20);
    peer.say({{"id", command["id"]}, {"result", Json::object()}});
  });
  connection.call("A.b", {{"text", std::string(8 << 20, 'x')}}, "", in_seconds(30));
  CHECK(events == 200);
}

TEST_CASE("waiting for a browser can be cancelled") {
  Peer peer;
  Connection connection(peer.other_end());
  ExecContext context(1);
  const ExecContext::Scope scope(context);
  std::jthread other([&] {
    peer.heard();
    context.cancel();
  });
  CHECK_FALSE(message_of([&] { connection.call("A.b", {}, "", in_seconds(30)); }, ErrorCode::cancelled).empty());
}

}  // namespace
