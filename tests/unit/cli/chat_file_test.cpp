#include "cli/chat_file.h"

#include <doctest/doctest.h>

#include "cli/chat_input.h"

namespace tap::cli {

namespace {

ChatPicture picture(const std::string& source) {
  const auto image = std::make_shared<const Image>(3, 2);
  return {source, image, picture_sha256(*image)};
}

Transcript talk() {
  Transcript transcript;
  transcript.system = "Be brief.";
  transcript.turns.push_back({"What?", {picture("/a.png"), picture("/b.png")}, "A bird", FinishReason::stop});
  transcript.turns.push_back({"More", {}, "It is", FinishReason::cancelled});
  return transcript;
}

std::string error_of(const Json& file) {
  try {
    read_transcript(file, "talk.json", picture);
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

Json message(const char* role, Json content) { return {{"role", role}, {"content", std::move(content)}}; }

}  // namespace

TEST_CASE("a conversation comes back from its file as it was") {
  const Json file = transcript_json(talk(), "nano");
  CHECK(file["messages"][1]["content"][0]["path"] == "/a.png");
  CHECK(file["messages"][1]["content"][0]["sha256"].get<std::string>().size() == 64);
  CHECK(file["messages"][4]["finish_reason"] == "cancelled");
  const LoadedTranscript loaded = read_transcript(file, "talk.json", picture);
  CHECK(loaded.changed.empty());
  CHECK(transcript_json(loaded.transcript, "nano") == file);
  const Conversation conversation = loaded.transcript.conversation();
  CHECK(conversation.messages.size() == 5);
  CHECK(conversation.images().size() == 2);
}

TEST_CASE("missing pictures are named all at once and changed ones are told") {
  const Json file = transcript_json(talk(), "nano");
  const auto missing = [](const std::string& source) -> ChatPicture {
    fail(ErrorCode::not_found, "{}: No such file or directory", source);
  };
  CHECK_THROWS_WITH_AS(
      read_transcript(file, "talk.json", missing),
      "talk.json: nothing loaded: /a.png: No such file or directory; /b.png: No such file or directory", Error);
  const auto other = [](const std::string& source) {
    const auto image = std::make_shared<const Image>(2, 3);
    return ChatPicture{source, image, picture_sha256(*image)};
  };
  CHECK(read_transcript(file, "talk.json", other).changed == std::vector<std::string>{"/a.png", "/b.png"});
}

TEST_CASE("[B30] one picture in many turns is read once") {
  Json messages = Json::array();
  for (int i = 0; i < 500; ++i) {
    messages.push_back(message("user", Json::array({{{"type", "image"}, {"path", "/a.png"}}})));
    messages.push_back(message("assistant", "Yes"));
  }
  int reads = 0;
  const auto counting = [&](const std::string& source) {
    ++reads;
    return picture(source);
  };
  CHECK(read_transcript(Json{{"messages", messages}}, "talk.json", counting).transcript.turns.size() == 500);
  CHECK(reads == 1);
}

TEST_CASE("[B30] files that are no conversation are refused with the message's number") {
  CHECK(error_of(Json::array()).find("\"messages\" must be a list") != std::string::npos);
  CHECK(error_of({{"messages", 7}}).find("\"messages\" must be a list") != std::string::npos);
  const auto with = [](Json messages) { return error_of({{"messages", std::move(messages)}}); };
  CHECK(with({7}) == "talk.json: messages[0]: must be an object");
  CHECK(with({message("assistant", "x")}).find("messages[0]: role \"assistant\" is out of order") != std::string::npos);
  CHECK(with({message("user", "x"), message("user", "y")}).find("messages[1]: role") != std::string::npos);
  CHECK(with({message("user", "x"), message("system", "y")}).find("messages[1]: role") != std::string::npos);
  CHECK(with({message("user", "x")}).find("the last question has no answer") != std::string::npos);
  CHECK(with({message("user", 7)}).find("\"content\" must be") != std::string::npos);
  CHECK(with({message("user", Json::array({7}))}).find("must be an object") != std::string::npos);
  CHECK(with({message("system", Json::array({{{"type", "image"}, {"path", "/a.png"}}}))}).find("type \"image\"") !=
        std::string::npos);
  for (const char* path : {"-", ""})
    CHECK(with({message("user", Json::array({{{"type", "image"}, {"path", path}}}))}).find("must name a file") !=
          std::string::npos);
  Json many = Json::array();
  for (int i = 0; i < 10'001; ++i) many.push_back({{"type", "image"}, {"path", "/a.png"}});
  CHECK(with({message("user", many)}).find("more than 10000 pictures") != std::string::npos);
}

}  // namespace tap::cli
