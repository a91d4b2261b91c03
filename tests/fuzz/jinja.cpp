// A chat template: parsed, then rendered with the variables of a small conversation.
#include "fuzz.h"
#include "text/chat_template.h"

namespace {

using namespace tap;

const Json& variables() {
  static const Json json = parse_json(R"({
    "messages": [{"role": "system", "content": "Be brief."},
                 {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Wh\u00e4t <|im_end|>?"}]},
                 {"role": "assistant", "content": "A c\u00e4t", "n": -7, "x": 2.5, "none": null}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": [1, 2, 3]}}}],
    "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": true, "words": ["pear", "Apple", "fig"],
    "n": 7, "x": 2.5, "flag": true, "nothing": null, "html": "<b>\"a\" & 'b'</b>", "text": "  Gr\u00fc\u00dfe, \u4e16\u754c!  "
  })",
                                      "variables")
                               .value();
  return json;
}

void run(fuzz::Bytes bytes) {
  const auto program = ChatTemplate::parse(std::string(fuzz::text_of(bytes)), "chat_template.jinja");
  if (!program) return fuzz::require_readable(program.error());
  TemplateOptions options;
  options.now_unix = 1'700'000'000;
  options.limits = {
      .steps = 20'000, .depth = 64, .output_bytes = 1 << 16, .memory_bytes = std::size_t{4} << 20, .cpu_ms = 2000};
  const auto spans = program->render(variables(), options);
  if (!spans) return;  // raise_exception may say anything, nothing included
  std::size_t size = 0;
  for (std::size_t i = 0; i < spans->size(); ++i) {
    fuzz::require(!(*spans)[i].text.empty(), "no span is empty");
    fuzz::require(i == 0 || (*spans)[i].trusted != (*spans)[i - 1].trusted, "neighbours differ in trust");
    size += (*spans)[i].text.size();
  }
  fuzz::require(size <= options.limits.output_bytes, "the rendering stays within its limit");
}

const fuzz::FuzzTarget target("jinja", run);

}  // namespace
