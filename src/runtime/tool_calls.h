// Calls of tools: how a model is told of them, how it writes them, and reading what it wrote while it writes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "runtime/conversation.h"

namespace tap {

struct Tool {
  std::string name;   // letters, digits, _ - .
  Json function;      // {"name", "description", "parameters"} as it was given
  std::string place;  // where the function stands ("tools[0].function"), for errors
};

// Section: section_begin, calls with `between` in between, section_end. A call: call_begin, the name, (`:0`, `:1`, …
// where they are numbered,) before_arguments, the arguments as a JSON object, call_end.
struct ToolFormat {
  std::string_view section_begin, call_begin, before_arguments, call_end, between, section_end;
  std::string_view mark;  // what no text before holds: the beginning of a section
  bool numbered;
  bool native;  // the template reads `tools`, `tool_calls` and the role "tool" itself
};

// What the checkpoint's template shows; one that shows nothing that is known is told of tools in a message, and answers
// as Hermes and Qwen do. `chat_template`: its source, "" for none; `mentions_tools`: it reads a variable `tools`.
const ToolFormat& tool_format(std::string_view chat_template, bool mentions_tools);

struct ToolUse {
  std::vector<Tool> tools;  // that may be called; none: the conversation only remembers calls
  bool required = false;    // the answer is nothing but calls
  bool many = true;         // more than one
};

// Tells the conversation of the tools. For a format that is not native, calls and results of earlier turns become text,
// too. `system_turns`: the model takes a system message.
void tell_tools(Conversation& conversation, const ToolUse& use, const ToolFormat& format, bool system_turns);

// The form (runtime/constraint_cache.h) of answers with such calls; `content`: the form of answers without, or null.
Json form_of_calls(const ToolUse& use, const ToolFormat& format, const Json& content);

// Reads an answer as it comes.
class ToolCallReader {
 public:
  struct Piece {
    enum class Kind : std::uint8_t { text, call, arguments } kind;
    std::string text;  // call: the tool's name; arguments: more of them, of the newest call
    bool operator==(const Piece&) const = default;
  };
  explicit ToolCallReader(const ToolFormat& format) : format_(&format) {}

  std::vector<Piece> push(std::string_view text);
  std::vector<Piece> finish();  // what was held back; a call that had not come to its arguments is text
  std::size_t calls() const { return calls_; }
  bool complete() const { return calls_ > 0 && state_ != State::arguments; }  // the arguments of all calls are whole

 private:
  enum class State : std::uint8_t { text, head, arguments, tail, after };
  bool step(std::vector<Piece>& pieces);
  bool read_head(std::vector<Piece>& pieces);
  void read_arguments(std::vector<Piece>& pieces);
  void give_up(std::vector<Piece>& pieces);
  const ToolFormat* format_;
  State state_ = State::text;
  std::string held_;  // not given out yet
  std::size_t calls_ = 0, depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

}  // namespace tap
