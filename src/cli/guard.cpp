// tapetum guard IMAGE|TEXT…, and tapetum guard calibrate --labels FILE.csv
#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/log.h"
#include "base/strings.h"
#include "cli/asking.h"
#include "cli/commands.h"
#include "cli/guarding.h"
#include "cli/output.h"
#include "cli/pictures.h"
#include "tasks/calibrate.h"
#include "tasks/results_json.h"

namespace tap::cli {

namespace {

// The guards of -m and --guard: the first that judges a thing's kind judges it.
class Judges {
 public:
  explicit Judges(const Options& options) {
    GuardOptions how;
    how.policies = options.policies;
    for (const std::string& text : options.policy_texts) {
      const std::size_t equals = text.find('=');
      if (equals == std::string::npos)
        throw Error(ErrorCode::usage, fmt::format("--policy-text \"{}\": must be NAME=TEXT", text), "policy-text");
      how.own.push_back({text.substr(0, equals), text.substr(equals + 1)});
    }
    set_threshold(how, options.threshold);
    std::vector<GuardSpec> specs;
    for (const std::string& text : options.guards) specs.push_back(parse_guard(text));
    if (specs.empty() || options.model != Options().model) specs.insert(specs.begin(), {options.model, {}});
    for (const GuardSpec& spec : specs) {
      GuardOptions own = how;
      set_threshold(own, spec.threshold);
      guards_.push_back(std::make_unique<Guard>(load_guard(spec, options), std::move(own)));
    }
  }
  Guard& of_pictures() const { return first(&Guard::judges_pictures); }
  Guard& of_texts() const { return first(&Guard::judges_texts); }

 private:
  // Where none can, the first one says so.
  Guard& first(bool (Guard::*judges)() const) const {
    const auto at = std::ranges::find_if(guards_, [&](const auto& guard) { return ((*guard).*judges)(); });
    return at == guards_.end() ? *guards_.front() : **at;
  }
  std::vector<std::unique_ptr<Guard>> guards_;
};

// A short text as it is, a long one by its beginning.
std::string shortened(const std::string& text) {
  constexpr std::size_t most = 60;
  std::string line = log::one_line(text);
  if (line.size() <= most) return line;
  std::size_t end = most;
  while (end > 0 && !starts_character(line[end])) --end;
  return line.substr(0, end) + "…";
}

struct Judged {
  std::string name;  // as shown
  bool is_picture = false;
  Safety safety;
};

std::string verdict_text(const Judged& judged) {
  std::string text = fmt::format("{}: {}", judged.name, judged.safety.flagged() ? "refused" : "passed");
  for (const PolicyScore& score : judged.safety.scores)
    text += fmt::format("{}{} {:.3f}{}", &score == &judged.safety.scores.front() ? " (" : ", ", score.policy,
                        score.p_violates,
                        judged.safety.frames > 1 ? fmt::format(" in frame {}", score.frame) : std::string());
  return text + ")\n";
}

Json verdict_json(const Judged& judged) {
  Json json = {{judged.is_picture ? "image" : "text", judged.name}};
  json.update(safety_json(judged.safety));
  return json;
}

Safety judge_file(Guard& guard, const PictureSource& source, const Options& options) {
  const std::string bytes = picture_bytes(source, options);
  return guard.judge_picture(std::as_bytes(std::span(bytes)), shown_name(source));
}

int judge_all(const Options& options) {
  const Judges judges(options);
  Json all = Json::array();
  bool flagged = false, failed = false;
  std::size_t things = 0;
  const auto judge = [&](const std::string& name, bool is_picture, const auto& safety_of) {
    ++things;
    try {
      const Judged judged{name, is_picture, safety_of()};
      flagged |= judged.safety.flagged();
      if (options.json)
        all.push_back(verdict_json(judged));
      else
        write_out(verdict_text(judged));
    } catch (const Error& error) {
      if (error.code() == ErrorCode::cancelled || options.words.size() == 1) throw;
      failed = true;
      if (options.json)
        all.push_back(error_json(Error(error.code(), error.message(), error.item().empty() ? name : error.item())));
      else
        print_error(error);
    }
  };
  for (const std::string& word : options.words) {
    if (!names_pictures(word)) {
      if (trimmed(word).empty()) fail(ErrorCode::usage, "the text to judge is empty");
      judge(shortened(word), false, [&] { return judges.of_texts().judge_text(word); });
      continue;
    }
    for (const PictureSource& source : list_pictures({word}, options).sources)
      judge(shown_name(source), true, [&] { return judge_file(judges.of_pictures(), source, options); });
  }
  if (options.json) write_json(things == 1 && !failed ? all.front() : all);
  return failed ? 1 : flagged ? 3 : 0;  // what could not be judged is no pass
}

int calibrate_guard(const Options& options) {
  if (options.labels.empty())
    fail(ErrorCode::usage, "guard calibrate needs --labels FILE.csv with the columns image or text, policy, violates");
  constexpr std::size_t limit = std::size_t{64} << 20;
  const std::vector<LabelledExample> labels =
      read_labels(read_file(options.labels, limit).value(), options.labels).value();
  const Judges judges(options);
  std::map<std::string, std::vector<ScoredExample>> scored;
  std::map<std::string, Safety> known;  // several policies of one thing are judged once
  const std::filesystem::path folder = std::filesystem::path(options.labels).parent_path();
  for (const LabelledExample& label : labels) {
    const std::string key = (label.is_picture ? "i " : "t ") + label.thing;
    auto at = known.find(key);
    if (at == known.end()) {
      const PictureSource source{(folder / label.thing).string(), false};  // an absolute path stays one
      at = known
               .emplace(key, label.is_picture ? judge_file(judges.of_pictures(), source, options)
                                              : judges.of_texts().judge_text(label.thing))
               .first;
    }
    const auto score = std::ranges::find(at->second.scores, label.policy, &PolicyScore::policy);
    if (score == at->second.scores.end())
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: line {}: {} judges no policy \"{}\"", options.labels, label.line, at->second.guard,
                              label.policy),
                  label.policy);
    scored[label.policy].push_back({score->p_violates, label.violates});
  }
  Json json = {{"thresholds", Json::object()}, {"policies", Json::object()}};
  std::string text;
  for (const auto& [policy, examples] : scored) {
    const Calibration found = calibrate(examples);
    if (found.positives == 0 || found.positives == static_cast<Dim>(examples.size()))
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: {}: {} of its {} examples violate it: a threshold needs some that do and some that "
                              "do not",
                              options.labels, policy, found.positives, examples.size()),
                  options.labels);
    json["thresholds"][policy] = found.best.threshold;
    Json table = Json::array();
    text += fmt::format("{}: {} examples, {} of them violate\n{:>10} {:>9} {:>9} {:>9} {:>9}\n", policy,
                        examples.size(), found.positives, "threshold", "precision", "recall", "F1", "FPR");
    const auto row = [&](const ThresholdQuality& q, std::string_view mark) {
      table.push_back({{"threshold", q.threshold},
                       {"precision", q.precision},
                       {"recall", q.recall},
                       {"f1", q.f1},
                       {"fpr", q.false_positive_rate}});
      text += fmt::format("{:>10.4f} {:>9.3f} {:>9.3f} {:>9.3f} {:>9.3f}{}\n", q.threshold, q.precision, q.recall, q.f1,
                          q.false_positive_rate, mark);
    };
    for (const ThresholdQuality& q : found.table) row(q, "");
    row(found.best, "  best F1");
    json["policies"][policy] = {{"examples", examples.size()}, {"violate", found.positives}, {"table", table}};
  }
  if (!options.output.empty()) write_file_atomic(options.output, json.dump(2) + "\n");
  if (options.json)
    write_json(json);
  else
    write_out(text);
  return 0;
}

}  // namespace

int run_guard(const Options& options) {
  if (!options.words.empty() && options.words.front() == "calibrate" && options.words.size() == 1)
    return calibrate_guard(options);
  if (!options.labels.empty()) fail(ErrorCode::usage, "--labels belongs to `tapetum guard calibrate`");
  if (options.words.empty()) fail(ErrorCode::usage, "guard takes pictures and texts; see tapetum guard --help");
  return judge_all(options);
}

}  // namespace tap::cli
