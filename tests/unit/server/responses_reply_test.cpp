#include "server/responses_reply.h"

#include <initializer_list>
#include <utility>

#include <doctest/doctest.h>

using namespace tap;
using namespace tap::server;

namespace {

const Model& nano() {
  static const auto model = load_model(TAPETUM_SOURCE_DIR "/data/nano", LoadOptions());
  return *model;
}

class Heard final : public HttpExchange {
 public:
  const HttpRequest& request() const override { return request_; }
  void respond(int, std::string_view, std::string body, Headers) override { whole = Json::parse(body); }
  void begin(int, std::string_view, Headers) override {}
  void write(std::string piece) override { events.push_back(Json::parse(piece.substr(piece.find("data: ") + 6))); }
  void end() override {}
  bool gone() const override { return false; }
  void on_gone(std::function<void()>) override {}

  Json whole;
  std::vector<Json> events;

 private:
  HttpRequest request_;
};

struct Told {
  Json response;
  std::vector<std::string> events;  // "response." left out, with the index of its item
  Json stored;
};

// What a client hears of an answer that comes in these pieces.
Told told(std::initializer_list<const char*> pieces, FinishReason reason = FinishReason::stop, bool stream = true) {
  ChatRequest chat;
  chat.stream = stream;
  chat.tools.tools.push_back({"f", {{"name", "f"}}, "tools[0]"});
  const auto exchange = std::make_shared<Heard>();
  ResponseStore store;
  ResponsesReply reply(exchange, nano(), chat, Json::object(), Json::array(), store, "me");
  for (const char* piece : pieces) {
    BatchGenerator::Event event;
    event.token.text = piece;
    reply.token(0, event);
  }
  BatchGenerator::Finished finished;
  finished.answer.finish_reason = reason;
  reply.end(0, finished);
  Told result;
  result.response = stream ? exchange->events.back()["response"] : exchange->whole;
  for (const Json& event : exchange->events) {
    result.events.push_back(event["type"].get<std::string>().substr(9));
    if (event.contains("output_index")) result.events.back() += " " + event["output_index"].dump();
  }
  result.stored = Json::parse(store.find(result.response["id"], "me").value_or("null"));
  return result;
}

// Type, text or arguments, status of each item.
Json items(const Told& told) {
  Json list = Json::array();
  for (const Json& item : told.response["output"]) {
    const bool call = item["type"] == "function_call";
    list.push_back({item["type"], call ? item["arguments"] : item["content"][0]["text"], item["status"]});
  }
  return list;
}

}  // namespace

TEST_CASE("a response's text and calls are items of their own, one after the other") {
  for (const bool stream : {true, false}) {
    const Told all =
        told({"I ", "look.", "\n<tool", "_call>\n{\"name\": \"f\", \"arguments\": {\"a\":", " 1}}\n</tool_call>\n",
              "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>"},
             FinishReason::stop, stream);
    CHECK(items(all) == Json{{"message", "I look.", "completed"},
                             {"function_call", R"({"a": 1})", "completed"},
                             {"function_call", "{}", "completed"}});
    CHECK(all.response["status"] == "completed");
    REQUIRE(all.stored.size() == 1);
    CHECK(all.stored[0]["content"][0]["text"] == "I look.");
    CHECK(all.stored[0]["tool_calls"].size() == 2);
    CHECK(all.stored[0]["tool_calls"][0]["id"] == all.response["output"][1]["call_id"]);
    if (!stream) continue;
    CHECK(all.events == std::vector<std::string>{
                            "created", "in_progress", "output_item.added 0", "content_part.added 0",
                            "output_text.delta 0", "output_text.delta 0", "output_text.done 0", "content_part.done 0",
                            "output_item.done 0", "output_item.added 1", "function_call_arguments.delta 1",
                            "function_call_arguments.delta 1", "function_call_arguments.done 1", "output_item.done 1",
                            "output_item.added 2", "function_call_arguments.delta 2", "function_call_arguments.done 2",
                            "output_item.done 2", "completed"});
  }
}

TEST_CASE("a response that is cut says so of its newest item") {
  CHECK(items(told({"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\""}, FinishReason::length)) ==
        Json{{"function_call", R"({"a")", "incomplete"}});
  // A call whose arguments are whole is one, and the head of another is none.
  const Told cut = told({"<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"na"},
                        FinishReason::length);
  CHECK(items(cut) == Json{{"function_call", "{}", "completed"}});
  CHECK(cut.response["status"] == "incomplete");
  CHECK(cut.events.back() == "incomplete");
  CHECK(items(told({"I l"}, FinishReason::length)) == Json{{"message", "I l", "incomplete"}});
}

TEST_CASE("what is said after a call is a message of its own") {
  const Told all = told({"Look", ".<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>", " Well."});
  CHECK(items(all) == Json{{"message", "Look.", "completed"},
                           {"function_call", "{}", "completed"},
                           {"message", " Well.", "completed"}});
  REQUIRE(all.stored.size() == 2);
  CHECK(all.stored[0]["tool_calls"].size() == 1);
  CHECK(all.stored[1] == Json{{"role", "assistant"}, {"content", {{{"type", "text"}, {"text", " Well."}}}}});
}

TEST_CASE("a response that says nothing has an empty message") {
  const Told nothing = told({" ", ""});
  CHECK(items(nothing) == Json{{"message", "", "completed"}});
  CHECK(nothing.events == std::vector<std::string>{"created", "in_progress", "output_item.added 0",
                                                   "content_part.added 0", "output_text.done 0", "content_part.done 0",
                                                   "output_item.done 0", "completed"});
}
