// A chat template: a Jinja program of a checkpoint that writes the prompt of a conversation. It runs in our own
// interpreter, which knows no files, no attributes but the listed ones, and stops at the limits below. Every character
// of the result carries its origin, so that the tokenizer never reads a special token out of what a user typed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "io/json.h"
#include "text/text_span.h"

namespace tap {

struct TemplateLimits {
  std::int64_t steps = 1'000'000;
  int depth = 64;  // calls of macros, callers and recursive loops within each other
  std::size_t output_bytes = std::size_t{4} << 20;      // of the rendering, and of any one string on the way
  std::size_t memory_bytes = std::size_t{64} << 20;     // of all values alive at once, the variables not counted
  std::int64_t cpu_ms = 200;                            // of this thread's processor time
};

struct TemplateOptions {
  std::optional<std::int64_t> now_unix;  // what strftime_now shows, in local time; unset: the clock
  TemplateLimits limits;
};

// Immutable after parse; cheap to copy; render() may run in many threads at once.
class ChatTemplate {
 public:
  // `what` names the template in errors ("chat_template.jinja"). Errors name the line.
  static Result<ChatTemplate> parse(std::string source, std::string_view what);
  // A checkpoint folder's chat_template.jinja, else chat_template.json, else tokenizer_config.json (key
  // "chat_template": a string, or a list of {name, template} of which "default" counts, else the first). not_found
  // names the files looked for.
  static Result<ChatTemplate> load(const std::string& model_folder);

  // `variables` is an object: messages, tools, documents, add_generation_prompt, bos_token, eos_token, anything the
  // template asks for. Trusted are the template's own words and the strings of the variables bos_token, eos_token,
  // unk_token, sep_token, pad_token, cls_token, mask_token, image_token, video_token, audio_token (never fill them from
  // a request), and well-known roles of messages; all other strings, keys of objects included, are user text. Spans
  // come in order, adjacent ones differ in trust, none is empty. raise_exception gives bad_input with exactly the
  // template's message.
  Result<std::vector<TextSpan>> render(const Json& variables, const TemplateOptions& options = {}) const;
  Result<std::string> render_text(const Json& variables, const TemplateOptions& options = {}) const;

  const std::string& source() const;
  bool mentions(std::string_view variable) const;  // the template reads a variable or key of this name ("tools")

 private:
  struct Impl;
  explicit ChatTemplate(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

std::string joined(std::span<const TextSpan> spans);  // the plain text

}  // namespace tap
