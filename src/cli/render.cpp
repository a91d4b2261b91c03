// tapetum render MODEL|FILE.jinja --messages FILE.json
#include "base/file.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "io/embedded.h"
#include "io/json.h"
#include "text/chat_template.h"

namespace tap::cli {

namespace {

constexpr std::size_t template_limit_bytes = std::size_t{4} << 20, messages_limit_bytes = std::size_t{64} << 20;

ChatTemplate load_template(const std::string& name) {
  if (name == "-" || (file_exists(name) && !is_directory(name)))
    return ChatTemplate::parse(read_file(name, template_limit_bytes).value(), name == "-" ? "stdin" : name).value();
  return ChatTemplate::load(model_folder(name)).value();
}

}  // namespace

int run_render(const Options& options) {
  if (options.words.size() != 1)
    fail(ErrorCode::usage, "render takes one model or template file, got {} words", options.words.size());
  if (options.messages.empty()) fail(ErrorCode::usage, "render needs --messages FILE.json (- for stdin)");
  if (options.messages == "-" && options.words[0] == "-")
    fail(ErrorCode::usage, "template and messages cannot both come from stdin");
  const ChatTemplate chat = load_template(options.words[0]);
  const std::string what = options.messages == "-" ? "stdin" : options.messages;
  const Json variables = parse_json(read_file(options.messages, messages_limit_bytes).value(), what).value();
  if (!variables.is_object() || !variables.contains("messages"))
    throw Error(ErrorCode::bad_input, fmt::format("{}: must be an object with the key \"messages\"", what), what);
  const std::vector<TextSpan> spans = chat.render(variables).value();
  if (options.json) {
    Json list = Json::array();
    for (const TextSpan& span : spans) list.push_back({{"text", span.text}, {"trusted", span.trusted}});
    write_json({{"text", joined(spans)}, {"spans", list}});
  } else {
    write_out(joined(spans));
  }
  return 0;
}

}  // namespace tap::cli
