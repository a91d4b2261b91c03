#include "cli/guarding.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/file.h"
#include "base/log.h"
#include "cli/asking.h"

namespace tap::cli {

namespace {

constexpr std::size_t thresholds_limit_bytes = std::size_t{1} << 20;
constexpr std::size_t remembered_pictures = 4096;

double threshold_of(const std::string& text, std::string_view what) {
  std::size_t used = 0;
  double number = -1;
  try {
    number = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used != text.size() || !(number >= 0 && number <= 1))
    throw Error(ErrorCode::usage, fmt::format("{} is \"{}\": must be from 0 to 1, or a file of thresholds", what, text),
                text);
  return number;
}

}  // namespace

GuardSpec parse_guard(std::string_view text) {
  GuardSpec spec;
  std::string_view rest = text;
  if (rest.ends_with("@in")) spec.out = false, rest.remove_suffix(3);
  if (rest.ends_with("@out")) spec.in = false, rest.remove_suffix(4);
  const std::size_t colon = rest.rfind(':');
  if (colon != std::string_view::npos) {
    spec.threshold = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (spec.threshold.empty())
      throw Error(ErrorCode::usage, fmt::format("--guard {}: a threshold follows the colon", text), std::string(text));
  }
  if (rest.empty())
    throw Error(ErrorCode::usage, fmt::format("--guard {}: names no model (MODEL[:THRESHOLD][@in|out])", text),
                std::string(text));
  spec.model = rest;
  return spec;
}

void set_threshold(GuardOptions& options, const std::string& text) {
  if (text.empty()) return;
  const bool is_file = file_exists(text) && text.find_first_not_of("0123456789.") != std::string::npos;
  if (!is_file) {
    options.threshold = threshold_of(text, "the threshold");
    return;
  }
  const Json file =
      parse_json(read_file(text, thresholds_limit_bytes).value(), text, {.bytes = thresholds_limit_bytes}).value();
  const auto bad = [&](std::string_view why) {
    return Error(ErrorCode::bad_file, fmt::format("{}: {}", text, why), text);
  };
  if (!file.is_object() || !file.contains("thresholds") || !file["thresholds"].is_object())
    throw bad("has no \"thresholds\" by policy; `tapetum guard calibrate` writes such a file");
  for (const auto& [policy, value] : file["thresholds"].items()) {
    if (!value.is_number() || !(value.get<double>() >= 0 && value.get<double>() <= 1))
      throw bad(fmt::format("thresholds.{} must be a number from 0 to 1", policy));
    options.thresholds[policy] = value.get<double>();
  }
}

std::shared_ptr<const Model> load_guard(const GuardSpec& spec, const Options& options) {
  Options own = options;
  own.model = spec.model;
  own.context = own.batch = 0;  // one conversation, as long as its model takes
  return load_model_for(own, {}, 1).model;
}

Guards::Guards(const Options& options) {
  std::vector<GuardSpec> specs;
  for (const std::string& text : options.guards) specs.push_back(parse_guard(text));
  for (const GuardSpec& spec : specs) {
    GuardOptions how;
    how.policies = options.policies;
    set_threshold(how, spec.threshold);
    auto one = std::make_unique<One>(load_guard(spec, options), std::move(how), spec);
    if (spec.out) (void)AnswerFilter({&one->guard}, {}, {});  // refuses a guard of pictures
    guards_.push_back(std::move(one));
  }
  if (empty()) return;
  const auto checks = [&](bool One::*stage, bool pictures) {
    return std::ranges::any_of(
        guards_, [&](const auto& one) { return (*one).*stage && one->guard.judges_pictures() == pictures; });
  };
  std::vector<std::string_view> open;
  if (!checks(&One::in, true)) open.push_back("pictures");
  if (!checks(&One::in, false)) open.push_back("questions");
  if (!checks(&One::out, false)) open.push_back("answers");
  if (!open.empty()) log::warn("no guard checks {}", fmt::join(open, ", "));
}

std::vector<Safety> Guards::judge_picture(std::span<const std::byte> file, const std::string& what) {
  std::vector<Safety> all;
  for (const auto& one : guards_) {
    if (!one->in || !one->guard.judges_pictures()) continue;
    const PictureKey key = bytes_key({reinterpret_cast<const char*>(file.data()), file.size()});
    auto at = std::ranges::find(one->pictures, key, &std::pair<PictureKey, Safety>::first);
    if (at == one->pictures.end()) {
      if (one->pictures.size() >= remembered_pictures) one->pictures.clear();
      one->pictures.emplace_back(key, one->guard.judge_picture(file, what));
      at = one->pictures.end() - 1;
    }
    require_safe(at->second, what);
    all.push_back(at->second);
  }
  return all;
}

bool Guards::judges_pictures() const {
  return std::ranges::any_of(guards_, [](const auto& one) { return one->in && one->guard.judges_pictures(); });
}

std::vector<Safety> Guards::judge_frames(Dim frames, const std::function<std::shared_ptr<const Image>(Dim)>& frame,
                                         const std::string& what) {
  std::vector<Safety> all;
  for (const auto& one : guards_) {
    if (!one->in || !one->guard.judges_pictures()) continue;
    all.push_back(one->guard.judge_frames(frames, frame, what));
    require_safe(all.back(), what);
  }
  return all;
}

std::vector<Safety> Guards::judge_words(const Conversation& conversation, const std::string& what) {
  std::vector<Safety> all;
  const Guard* unable = nullptr;
  for (const auto& one : guards_) {
    if (!one->in) continue;
    if (one->guard.judges_pictures()) {
      unable = &one->guard;
      continue;
    }
    all.push_back(one->guard.judge_text(words_of(conversation)));
    require_safe(all.back(), what);
  }
  if (all.empty() && unable && conversation.media().empty())
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: is text alone, and {} judges pictures only; name a guard of texts too, such as "
                            "--guard google/shieldgemma-2b@in",
                            what, unable->name()),
                what);
  return all;
}

std::unique_ptr<AnswerFilter> Guards::filter(const Conversation& conversation, const std::string& what) {
  std::vector<Guard*> behind;
  for (const auto& one : guards_)
    if (one->out) behind.push_back(&one->guard);
  if (behind.empty()) return nullptr;
  return std::make_unique<AnswerFilter>(std::move(behind), words_of(conversation), what);
}

}  // namespace tap::cli
