#include "cli/guarding.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/file.h"
#include "base/log.h"
#include "cli/asking.h"

namespace tap::cli {

namespace {

constexpr std::size_t thresholds_limit_bytes = std::size_t{1} << 20;

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
    add(load_guard(spec, options), std::move(how), spec.in, spec.out);
  }
  if (const auto open = unchecked(); !open.empty()) log::warn("no guard checks {}", fmt::join(open, ", "));
}

}  // namespace tap::cli
