#include "tasks/calibrate.h"

#include <algorithm>
#include <cctype>
#include <optional>

namespace tap {

namespace {

constexpr std::size_t most_labels = 1'000'000;

// One record after the other; a quoted field may hold commas, doubled quotes and line ends.
class CsvReader {
 public:
  explicit CsvReader(std::string_view text) : text_(text) {
    if (text_.starts_with("\xEF\xBB\xBF")) text_.remove_prefix(3);
  }
  Dim line() const { return line_; }  // of the record read last
  // False at the end; nothing where a quote is not closed.
  std::optional<bool> next(std::vector<std::string>& fields) {
    fields.clear();
    if (at_ >= text_.size()) return false;
    line_ = next_line_;
    for (;;) {
      std::string field;
      if (at_ < text_.size() && text_[at_] == '"') {
        if (!read_quoted(field)) return std::nullopt;
      }
      while (at_ < text_.size() && text_[at_] != ',' && text_[at_] != '\n') field += text_[at_++];
      if (field.ends_with('\r')) field.pop_back();
      fields.push_back(std::move(field));
      if (at_ >= text_.size()) return true;
      if (text_[at_++] == '\n') {
        ++next_line_;
        return true;
      }
    }
  }

 private:
  bool read_quoted(std::string& field) {
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '\n') ++next_line_;
      if (text_[at_] != '"') {
        field += text_[at_];
      } else if (at_ + 1 < text_.size() && text_[at_ + 1] == '"') {
        field += text_[at_++];
      } else {
        ++at_;
        return true;
      }
    }
    return false;
  }
  std::string_view text_;
  std::size_t at_ = 0;
  Dim line_ = 1, next_line_ = 1;
};

std::optional<bool> truth_of(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (text == "1" || text == "yes" || text == "true") return true;
  if (text == "0" || text == "no" || text == "false") return false;
  return std::nullopt;
}

}  // namespace

Result<std::vector<LabelledExample>> read_labels(std::string_view csv, std::string_view what) {
  CsvReader reader(csv);
  const auto bad = [&](std::string_view why) {
    return Error(ErrorCode::bad_file, fmt::format("{}: line {}: {}", what, reader.line(), why), std::string(what));
  };
  std::vector<std::string> names, fields;
  const auto head = reader.next(names);
  if (!head || !*head) return bad("no line that names the columns");
  const auto column = [&](std::string_view name) {
    return static_cast<std::size_t>(std::ranges::find(names, name) - names.begin());
  };
  const std::size_t image = column("image"), text = column("text"), policy = column("policy"),
                    violates = column("violates");
  if ((image == names.size() && text == names.size()) || policy == names.size() || violates == names.size())
    return bad("the columns must be image or text, policy, violates");
  std::vector<LabelledExample> all;
  for (;;) {
    const auto got = reader.next(fields);
    if (!got) return bad("a quote is not closed");
    if (!*got) break;
    if (fields.size() == 1 && fields[0].empty()) continue;
    if (fields.size() != names.size())
      return bad(fmt::format("{} fields, the head has {}", fields.size(), names.size()));
    const std::string path = image < names.size() ? fields[image] : "", words = text < names.size() ? fields[text] : "";
    if (path.empty() == words.empty()) return bad("must have an image or a text");
    const auto truth = truth_of(fields[violates]);
    if (!truth) return bad(fmt::format("violates is \"{}\": must be 1 or 0, yes or no", fields[violates]));
    if (all.size() == most_labels) return bad(fmt::format("more than {} examples", most_labels));
    all.push_back({path.empty() ? words : path, !path.empty(), fields[policy], *truth, reader.line()});
  }
  if (all.empty()) return bad("no examples");
  return all;
}

ThresholdQuality quality_at(std::span<const ScoredExample> examples, double threshold) {
  double hits = 0, misses = 0, alarms = 0, rest = 0;
  for (const ScoredExample& e : examples)
    ++(e.p_violates >= threshold ? (e.violates ? hits : alarms) : (e.violates ? misses : rest));
  ThresholdQuality q{threshold};
  q.precision = hits + alarms > 0 ? hits / (hits + alarms) : 1;
  q.recall = hits + misses > 0 ? hits / (hits + misses) : 0;
  q.f1 = hits > 0 ? 2 * hits / (2 * hits + alarms + misses) : 0;
  q.false_positive_rate = alarms + rest > 0 ? alarms / (alarms + rest) : 0;
  return q;
}

Calibration calibrate(std::span<const ScoredExample> examples) {
  Calibration found;
  found.positives = std::ranges::count_if(examples, &ScoredExample::violates);
  for (int tenth = 1; tenth <= 9; ++tenth) found.table.push_back(quality_at(examples, tenth / 10.0));
  std::vector<ScoredExample> sorted(examples.begin(), examples.end());
  std::ranges::sort(sorted, std::greater{}, &ScoredExample::p_violates);
  // Down through the scores: everything so far is flagged.
  double hits = 0, best = -1;
  found.best = quality_at(examples, 0.5);
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    hits += sorted[i].violates;
    if (i + 1 < sorted.size() && sorted[i + 1].p_violates == sorted[i].p_violates) continue;
    const double f1 = 2 * hits / (static_cast<double>(i + 1) + static_cast<double>(found.positives));
    if (f1 <= best) continue;
    best = f1;
    const double below = i + 1 < sorted.size() ? sorted[i + 1].p_violates : 0;
    const double middle = (sorted[i].p_violates + below) / 2;
    found.best = quality_at(examples, middle > below ? middle : sorted[i].p_violates);
  }
  return found;
}

}  // namespace tap
