// Renders many templates in one process, for tools/check_templates.py: one JSON request per line of stdin, one JSON
// result per line of stdout. Request {template, variables, now?}; result {text, untrusted} or {error, code}.
// `untrusted` lists the user's spans as [begin, end) bytes of text.
#include <iostream>
#include <string>

#include "text/chat_template.h"

namespace {

tap::Json render(const tap::Json& request) {
  tap::TemplateOptions options;
  options.limits.cpu_ms = 5000;  // sanitizer builds are slow
  if (request.contains("now")) options.now_unix = request["now"].get<std::int64_t>();
  const auto failed = [](const tap::Error& error) {
    return tap::Json{{"error", error.message()}, {"code", tap::name(error.code())}};
  };
  const auto program = tap::ChatTemplate::parse(request["template"].get<std::string>(), "template");
  if (!program) return failed(program.error());
  const auto spans = program->render(request["variables"], options);
  if (!spans) return failed(spans.error());
  tap::Json untrusted = tap::Json::array();
  std::size_t at = 0;
  for (const tap::TextSpan& span : *spans) {
    if (!span.trusted) untrusted.push_back({at, at + span.text.size()});
    at += span.text.size();
  }
  return {{"text", tap::joined(*spans)}, {"untrusted", untrusted}};
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    const auto request = tap::parse_json(line, "request");
    const tap::Json result =
        request ? render(*request) : tap::Json{{"error", request.error().message()}, {"code", "bad_request"}};
    std::cout << tap::to_json_line(result) << '\n' << std::flush;
  }
  return 0;
}
