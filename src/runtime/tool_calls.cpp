#include "runtime/tool_calls.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"

namespace tap {

namespace {

constexpr ToolFormat hermes{.section_begin = "",
                            .call_begin = "<tool_call>\n{\"name\": \"",
                            .before_arguments = "\", \"arguments\": ",
                            .call_end = "}\n</tool_call>",
                            .between = "\n",
                            .section_end = "",
                            .mark = "<tool_call>",
                            .numbered = false,
                            .native = true};
constexpr ToolFormat kimi{.section_begin = "<|tool_calls_section_begin|>",
                          .call_begin = "<|tool_call_begin|>functions.",
                          .before_arguments = "<|tool_call_argument_begin|>",
                          .call_end = "<|tool_call_end|>",
                          .between = "",
                          .section_end = "<|tool_calls_section_end|>",
                          .mark = "<|tool_calls_section_begin|>",
                          .numbered = true,
                          .native = true};
constexpr ToolFormat told = [] {
  ToolFormat format = hermes;
  format.native = false;
  return format;
}();

constexpr std::size_t most_name_bytes = 64;
constexpr std::size_t most_numbers = 100;  // of calls in one conversation, where calls are numbered

bool is_name(char c) {
  return c == '_' || c == '-' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// As Qwen's templates say it.
std::string description_of(const std::vector<Tool>& tools) {
  std::string text =
      "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function "
      "signatures within <tools></tools> XML tags:\n<tools>";
  for (const Tool& tool : tools) text += "\n" + to_json_line({{"type", "function"}, {"function", tool.function}});
  return text +
         "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
         "<tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
         "<args-json-object>}\n</tool_call>";
}

// One message per turn, of text only: results are the user's, as in Qwen's templates, and turns of one role are joined.
void write_as_text(Conversation& conversation) {
  std::vector<Message> turns;
  bool after_result = false;
  for (Message& message : conversation.messages) {
    const bool result = message.role == "tool";
    if (result) {
      message.role = "user";
      message.parts.insert(message.parts.begin(), Part{"<tool_response>\n"});
      message.parts.push_back({"\n</tool_response>"});
    }
    if (const auto calls = message.fields.find("tool_calls");
        message.fields.is_object() && calls != message.fields.end())
      for (const Json& call : *calls) {
        const bool first = std::ranges::all_of(message.parts, [](const Part& part) { return part.text.empty(); });
        const Json& function = call.at("function");
        message.parts.push_back(
            {fmt::format("{}{}{}{}{}{}", first ? "" : "\n", told.call_begin, function.at("name").get<std::string>(),
                         told.before_arguments, to_json_line(function.at("arguments")), told.call_end)});
      }
    message.fields = nullptr;
    if (after_result && message.role == "user") {
      turns.back().parts.push_back({"\n"});
      std::ranges::move(message.parts, std::back_inserter(turns.back().parts));
    } else {
      turns.push_back(std::move(message));
    }
    after_result = turns.back().role == "user" && (result || after_result);
  }
  conversation.messages = std::move(turns);
}

}  // namespace

const ToolFormat& tool_format(std::string_view chat_template, bool mentions_tools) {
  const auto shows = [&](std::string_view text) { return chat_template.find(text) != std::string_view::npos; };
  if (!mentions_tools) return told;
  if (shows(kimi.section_begin) && shows(kimi.before_arguments)) return kimi;
  // The same tag stands around other things than JSON, too: <function=…> (Qwen3-Coder), <arg_key> (GLM), lists
  // (Apriel).
  if (shows(hermes.mark) && shows("arguments") && !shows("<function=") && !shows("<arg_key>") &&
      !shows("<tool_calls>") && !shows("<invoke"))
    return hermes;
  return told;
}

void tell_tools(Conversation& conversation, const ToolUse& use, const ToolFormat& format, bool system_turns) {
  if (format.native) {
    if (use.tools.empty()) return;
    if (!conversation.variables.is_object()) conversation.variables = Json::object();
    Json& tools = conversation.variables["tools"] = Json::array();
    for (const Tool& tool : use.tools) tools.push_back({{"type", "function"}, {"function", tool.function}});
    return;
  }
  write_as_text(conversation);
  if (use.tools.empty()) return;
  std::vector<Message>& messages = conversation.messages;
  const std::string description = description_of(use.tools);
  if (!system_turns) {
    messages.back().parts.insert(messages.back().parts.begin(), Part{description + "\n\n"});
  } else if (!messages.empty() && messages.front().role == "system") {
    messages.front().parts.push_back({"\n\n" + description});
  } else {
    messages.insert(messages.begin(), Message{"system", {{description}}});
  }
}

Json form_of_calls(const ToolUse& use, const ToolFormat& format, const Json& content) {
  Json calls = Json::array();
  for (const Tool& tool : use.tools) {
    Json schema = tool.function.value("parameters", Json::object());
    // An object that names no member and says nothing of others has none.
    const auto says = [&](const char* key) { return schema.contains(key) && !schema[key].empty(); };
    const bool open = says("properties") || schema.contains("additionalProperties") || says("patternProperties") ||
                      says("required") || schema.contains("$ref") || schema.contains("anyOf") ||
                      schema.contains("oneOf") || schema.contains("allOf");
    if (!open) schema["additionalProperties"] = false;
    schema["type"] = "object";
    Json begins = Json::array();  // numbers of calls say nothing that is read: any small one
    for (std::size_t i = 0; i < (format.numbered && use.many ? most_numbers : 1); ++i)
      begins.push_back(fmt::format("{}{}{}{}", format.call_begin, tool.name,
                                   format.numbered ? fmt::format(":{}", i) : std::string(), format.before_arguments));
    calls.push_back({{"begins", std::move(begins)},
                     {"schema", std::move(schema)},
                     {"what", tool.place + ".parameters"},
                     {"end", format.call_end}});
  }
  return {{"calls",
           {{"calls", std::move(calls)},
            {"section_begin", format.section_begin},
            {"between", format.between},
            {"section_end", format.section_end},
            {"mark", format.mark},
            {"many", use.many},
            {"required", use.required},
            {"content", content}}}};
}

std::vector<ToolCallReader::Piece> ToolCallReader::push(std::string_view text) {
  std::vector<Piece> pieces;
  held_ += text;
  while (step(pieces)) {
  }
  return pieces;
}

std::vector<ToolCallReader::Piece> ToolCallReader::finish() {
  std::vector<Piece> pieces;
  if (state_ == State::text || state_ == State::head) give_up(pieces);
  held_.clear();
  return pieces;
}

void ToolCallReader::give_up(std::vector<Piece>& pieces) {
  if (!held_.empty()) pieces.push_back({Piece::Kind::text, std::exchange(held_, {})});
  state_ = State::text;
}

namespace {

enum class Found : std::uint8_t { yes, no, not_yet };
Found begins_with(std::string_view text, std::string_view word) {
  if (text.starts_with(word)) return Found::yes;
  return word.starts_with(text) ? Found::not_yet : Found::no;
}

}  // namespace

// True where there may be more to read.
bool ToolCallReader::step(std::vector<Piece>& pieces) {
  switch (state_) {
    case State::text: {
      std::size_t at = held_.find(format_->mark);
      const bool found = at != std::string::npos;
      if (!found) {
        at = held_.size();
        for (std::size_t keep = std::min(held_.size(), format_->mark.size() - 1); keep > 0 && at == held_.size();
             --keep)
          if (format_->mark.starts_with(std::string_view(held_).substr(held_.size() - keep))) at = held_.size() - keep;
      }
      if (at > 0) pieces.push_back({Piece::Kind::text, held_.substr(0, at)});
      held_.erase(0, at);
      if (found) state_ = State::head;
      return found;
    }
    case State::head: return read_head(pieces);
    case State::arguments: read_arguments(pieces); return state_ == State::tail;
    case State::tail:
      switch (begins_with(held_, format_->call_end)) {
        case Found::not_yet: return false;
        case Found::no: give_up(pieces); return false;
        case Found::yes: break;
      }
      held_.erase(0, format_->call_end.size());
      state_ = State::after;
      return true;
    case State::after:
      // Another call, or the section's end.
      for (const bool another : {true, false}) {
        const std::string word = another ? std::string(format_->between) + std::string(format_->call_begin)
                                         : std::string(format_->section_end);
        if (word.empty()) continue;
        const Found found = begins_with(held_, word);
        if (found == Found::not_yet) return false;
        if (found == Found::no) continue;
        held_.erase(0, another ? format_->between.size() : word.size());
        state_ = another ? State::head : State::text;
        return true;
      }
      state_ = State::text;
      return !held_.empty();
  }
  return false;
}

// section_begin (before the first call of it), call_begin, name, number, before_arguments, and the arguments' {.
bool ToolCallReader::read_head(std::vector<Piece>& pieces) {
  std::string_view rest = held_;
  const auto take = [&](std::string_view word) {
    const Found found = begins_with(rest, word);
    if (found == Found::yes) rest.remove_prefix(word.size());
    return found;
  };
  const auto stop = [&](Found found) {
    if (found == Found::no) give_up(pieces);
    return false;  // more must come, or it is text
  };
  if (!format_->section_begin.empty() && !rest.starts_with(format_->call_begin))
    if (const Found found = take(format_->section_begin); found != Found::yes) return stop(found);
  if (const Found found = take(format_->call_begin); found != Found::yes) return stop(found);
  const auto name_end = static_cast<std::size_t>(std::ranges::find_if_not(rest, is_name) - rest.begin());
  const std::string name(rest.substr(0, name_end));
  if (name.size() > most_name_bytes) return stop(Found::no);
  rest.remove_prefix(name_end);
  if (rest.empty()) return stop(Found::not_yet);
  if (name.empty()) return stop(Found::no);
  if (format_->numbered) {
    if (const Found found = take(":"); found != Found::yes) return stop(found);
    while (!rest.empty() && rest.front() >= '0' && rest.front() <= '9') rest.remove_prefix(1);
  }
  if (const Found found = take(format_->before_arguments); found != Found::yes) return stop(found);
  if (rest.empty()) return stop(Found::not_yet);
  if (rest.front() != '{') return stop(Found::no);
  pieces.push_back({Piece::Kind::call, name});
  ++calls_;
  held_.erase(0, held_.size() - rest.size());
  state_ = State::arguments;
  depth_ = 0;
  in_string_ = escaped_ = false;
  return true;
}

void ToolCallReader::read_arguments(std::vector<Piece>& pieces) {
  std::size_t at = 0;
  for (bool over = false; at < held_.size() && !over; ++at) {
    const char c = held_[at];
    if (in_string_) {
      if (!std::exchange(escaped_, !escaped_ && c == '\\') && c == '"') in_string_ = false;
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      over = --depth_ == 0;
      if (over) state_ = State::tail;
    }
  }
  if (at > 0) pieces.push_back({Piece::Kind::arguments, held_.substr(0, at)});
  held_.erase(0, at);
}

}  // namespace tap
