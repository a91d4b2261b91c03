#include "cli/chat_file.h"

#include <map>

#include <fmt/format.h>

#include "runtime/feature_cache.h"

namespace tap::cli {

namespace {

constexpr std::size_t most_messages = 10'000, most_pictures = 10'000;

[[noreturn]] void refuse(std::string_view what, std::size_t message, std::string_view why) {
  throw Error(ErrorCode::bad_file, fmt::format("{}: messages[{}]: {}", what, message, why), std::string(what));
}

const std::string& text_of(const Json& object, const char* key, std::string_view what, std::size_t message) {
  const auto at = object.find(key);
  if (at == object.end() || !at->is_string()) refuse(what, message, fmt::format("\"{}\" must be a text", key));
  return at->get_ref<const std::string&>();
}

FinishReason finish_of(const Json& message) {
  const auto at = message.find("finish_reason");
  if (at != message.end() && at->is_string())
    for (const FinishReason reason : {FinishReason::stop, FinishReason::length, FinishReason::cancelled})
      if (at->get_ref<const std::string&>() == name(reason)) return reason;
  return FinishReason::stop;
}

}  // namespace

Conversation Transcript::conversation() const {
  Conversation all;
  if (!system.empty()) all.system(system);
  for (const ChatTurn& turn : turns) {
    std::vector<std::shared_ptr<const Image>> images;
    for (const ChatPicture& picture : turn.pictures) images.push_back(picture.image);
    all.user(turn.question, std::move(images));
    if (turn.finish != FinishReason::none) all.assistant(turn.answer);
  }
  return all;
}

std::string picture_sha256(const Image& image) {
  std::string hex;
  for (const std::uint8_t byte : picture_key({}, {}, image)) hex += fmt::format("{:02x}", byte);
  return hex;
}

Json transcript_json(const Transcript& transcript, std::string_view model) {
  Json messages = Json::array();
  const auto text = [](const std::string& words) { return Json{{"type", "text"}, {"text", words}}; };
  if (!transcript.system.empty())
    messages.push_back({{"role", "system"}, {"content", Json::array({text(transcript.system)})}});
  for (const ChatTurn& turn : transcript.turns) {
    Json content = Json::array();
    for (const ChatPicture& picture : turn.pictures)
      content.push_back({{"type", "image"},
                         {"path", picture.source},
                         {"sha256", picture.sha256},
                         {"width", picture.image->width},
                         {"height", picture.image->height}});
    content.push_back(text(turn.question));
    messages.push_back({{"role", "user"}, {"content", std::move(content)}});
    messages.push_back(
        {{"role", "assistant"}, {"content", Json::array({text(turn.answer)})}, {"finish_reason", name(turn.finish)}});
  }
  return {{"model", model}, {"messages", std::move(messages)}};
}

LoadedTranscript read_transcript(const Json& file, std::string_view what,
                                 const std::function<ChatPicture(const std::string&)>& load) {
  const auto messages = file.is_object() ? file.find("messages") : file.end();
  if (messages == file.end() || !messages->is_array())
    throw Error(ErrorCode::bad_file, fmt::format("{}: no conversation: \"messages\" must be a list", what),
                std::string(what));
  if (messages->size() > most_messages)
    throw Error(ErrorCode::limit,
                fmt::format("{}: {} messages, the limit is {}", what, messages->size(), most_messages),
                std::string(what));
  LoadedTranscript loaded;
  Transcript& transcript = loaded.transcript;
  std::map<std::string, ChatPicture> pictures;  // by source: each is read once
  std::vector<std::string> missing;
  std::size_t picture_count = 0;
  const auto picture = [&](const Json& part, std::size_t index) -> ChatPicture {
    if (++picture_count > most_pictures) refuse(what, index, fmt::format("more than {} pictures", most_pictures));
    const std::string& source = text_of(part, "path", what, index);
    if (source.empty() || source == "-") refuse(what, index, "\"path\" must name a file or a web address");
    auto at = pictures.find(source);
    if (at == pictures.end()) {
      at = pictures.emplace(source, ChatPicture{source, nullptr, {}}).first;
      try {
        at->second = load(source);
      } catch (const Error& error) {
        if (error.code() == ErrorCode::cancelled || error.code() == ErrorCode::out_of_memory) throw;
        missing.push_back(error.message());
      }
      const auto hash = part.find("sha256");
      if (at->second.image && hash != part.end() && *hash != at->second.sha256) loaded.changed.push_back(source);
    }
    return at->second;
  };

  for (std::size_t i = 0; i < messages->size(); ++i) {
    const Json& message = (*messages)[i];
    if (!message.is_object()) refuse(what, i, "must be an object");
    const std::string& role = text_of(message, "role", what, i);
    const bool answers = !transcript.turns.empty() && transcript.turns.back().finish == FinishReason::none;
    const bool in_order = role == "user" ? !answers : role == "assistant" ? answers : role == "system" && i == 0;
    if (!in_order)
      refuse(what, i, fmt::format("role \"{}\" is out of order: system, then user and assistant in turn", role));
    ChatTurn read;
    const auto content = message.find("content");
    if (content != message.end() && content->is_string()) {
      read.question = content->get<std::string>();
    } else if (content != message.end() && content->is_array()) {
      for (const Json& part : *content) {
        if (!part.is_object()) refuse(what, i, "a part of the content must be an object");
        const std::string& type = text_of(part, "type", what, i);
        if (type == "text")
          read.question += text_of(part, "text", what, i);
        else if (type == "image" && role == "user")
          read.pictures.push_back(picture(part, i));
        else
          refuse(what, i, fmt::format("a part of type \"{}\" cannot stand there", type));
      }
    } else {
      refuse(what, i, "\"content\" must be a text or a list");
    }
    if (role == "system") {
      transcript.system = std::move(read.question);
    } else if (role == "user") {
      transcript.turns.push_back(std::move(read));
    } else {
      transcript.turns.back().answer = std::move(read.question);
      transcript.turns.back().finish = finish_of(message);
    }
  }
  if (!transcript.turns.empty() && transcript.turns.back().finish == FinishReason::none)
    refuse(what, messages->size() - 1, "the last question has no answer");
  if (!missing.empty())
    throw Error(ErrorCode::not_found, fmt::format("{}: nothing loaded: {}", what, fmt::join(missing, "; ")),
                std::string(what));
  return loaded;
}

}  // namespace tap::cli
