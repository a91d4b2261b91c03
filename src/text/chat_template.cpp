#include "text/chat_template.h"

#include <algorithm>

#include "base/file.h"
#include "text/jinja/interpreter.h"

namespace tap {

namespace {

constexpr std::size_t max_template_bytes = std::size_t{1} << 20;
constexpr std::size_t max_config_bytes = std::size_t{64} << 20;

// The template in a JSON file's "chat_template": a string, or a list of {name, template}. Empty: the key is not there.
Result<std::string> template_of(const Json& config, const std::string& path) {
  const auto bad = [&](std::string_view problem) {
    return Error(ErrorCode::bad_file, fmt::format("{}: chat_template {}", path, problem), "chat_template");
  };
  if (!config.is_object())
    return Error(ErrorCode::bad_file, fmt::format("{}: an object is wanted, got {}", path, config.type_name()), path);
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return std::string();
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array() || found->empty()) return bad("must be a string or a list of {name, template}");
  const Json* chosen = nullptr;
  for (const Json& entry : *found) {
    if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string() || !entry.contains("template") ||
        !entry["template"].is_string())
      return bad("has an entry that is not {name, template}");
    if (!chosen || entry["name"].get_ref<const std::string&>() == "default") chosen = &entry;
  }
  return (*chosen)["template"].get<std::string>();
}

}  // namespace

struct ChatTemplate::Impl {
  std::string source, what;
  jinja::Template program;
};

Result<ChatTemplate> ChatTemplate::parse(std::string source, std::string_view what) {
  if (source.size() > max_template_bytes)
    return Error(ErrorCode::limit,
                 fmt::format("{}: a template of {} bytes, the limit is {}", what, source.size(), max_template_bytes),
                 std::string(what));
  if (jinja::valid_utf8(source) != source)
    return Error(ErrorCode::bad_input, fmt::format("{}: the template is not UTF-8", what), std::string(what));
  try {
    auto impl = std::make_shared<Impl>();
    impl->program = jinja::parse_template(source, what);
    impl->source = std::move(source);
    impl->what = std::string(what);
    return ChatTemplate(std::move(impl));
  } catch (const Error& error) {
    return error;
  }
}

Result<ChatTemplate> ChatTemplate::load(const std::string& model_folder) {
  const std::string plain = model_folder + "/chat_template.jinja";
  if (file_exists(plain)) {
    auto source = read_file(plain, max_template_bytes);
    if (!source) return source.error();
    return parse(std::move(*source), plain);
  }
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    const std::string path = model_folder + "/" + name;
    if (!file_exists(path)) continue;
    const auto text = read_file(path, max_config_bytes);
    if (!text) return text.error();
    const auto config = parse_json(*text, path);
    if (!config) return config.error();
    auto source = template_of(*config, path);
    if (!source) return source.error();
    if (!source->empty()) return parse(std::move(*source), path);
  }
  return Error(ErrorCode::not_found,
               fmt::format("{}: no chat template (looked for chat_template.jinja, chat_template.json and the key "
                           "chat_template of tokenizer_config.json)",
                           model_folder),
               model_folder);
}

Result<std::vector<TextSpan>> ChatTemplate::render(const Json& variables, const TemplateOptions& options) const {
  std::optional<jinja::Interpreter> interpreter;
  try {
    interpreter.emplace(options, jinja::context_from_json(variables));
    const jinja::Text text = interpreter->run(impl_->program);
    std::vector<TextSpan> spans;
    text.each_run([&](std::string_view piece, bool trusted) { spans.push_back({std::string(piece), trusted}); });
    return spans;
  } catch (const jinja::Failure& failure) {
    if (failure.verbatim) return Error(ErrorCode::bad_input, failure.message, impl_->what);
    const int line = interpreter ? interpreter->line() : 1;
    return Error(failure.limit ? ErrorCode::limit : ErrorCode::bad_input,
                 fmt::format("{}: line {}: {}", impl_->what, line, failure.message), impl_->what);
  } catch (const Error& error) {
    return error;
  }
}

Result<std::string> ChatTemplate::render_text(const Json& variables, const TemplateOptions& options) const {
  const auto spans = render(variables, options);
  if (!spans) return spans.error();
  return joined(*spans);
}

const std::string& ChatTemplate::source() const { return impl_->source; }

bool ChatTemplate::mentions(std::string_view variable) const {
  const auto& names = impl_->program.mentions;
  return std::binary_search(names.begin(), names.end(), variable);
}

std::string joined(std::span<const TextSpan> spans) {
  std::string out;
  for (const TextSpan& span : spans) out += span.text;
  return out;
}

}  // namespace tap
