// What a request hands to a chat template: any JSON as variables, through a template that looks at all of it.
#include "fuzz.h"
#include "text/chat_template.h"

namespace {

using namespace tap;

constexpr const char* source =
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role | capitalize }}"
    "{% if m['content'] is string %}{{ m['content'] | trim }}"
    "{% else %}{% for c in m['content'] %}{% if c.type == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% "
    "endfor %}"
    "{% endif %}<end_of_utterance>\n{% endfor %}{% if tools %}{{ tools | tojson }}{% for k, v in tools[0] | dictsort %}"
    "{{ k ~ v }}{% endfor %}{% endif %}{{ extra }}{{ extra | length }}{% if add_generation_prompt %}Assistant:{% endif "
    "%}";

void run(fuzz::Bytes bytes) {
  static const ChatTemplate program = ChatTemplate::parse(source, "chat_template.jinja").value();
  const auto variables = parse_json(fuzz::text_of(bytes), "messages", {.bytes = 1 << 16, .depth = 64, .values = 2000});
  if (!variables) return fuzz::require_readable(variables.error());
  if (!variables->is_object()) return;
  Json given = *variables;
  given.erase("bos_token");
  const auto spans = program.render(given);
  if (!spans) return fuzz::require_readable(spans.error());
  for (const TextSpan& span : *spans)
    fuzz::require(!span.trusted || span.text.find("<s>") == std::string::npos, "a request writes no trusted text");
}

const fuzz::FuzzTarget target("messages", run);

}  // namespace
