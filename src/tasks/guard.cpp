#include "tasks/guard.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "base/log.h"
#include "base/strings.h"
#include "codec/decode.h"

namespace tap {

namespace {

constexpr const char* text_guard = "google/shieldgemma-2b";
constexpr const char* picture_guard = "google/shieldgemma-2-4b-it";
constexpr double mostly_off_form = 0.5;
constexpr std::size_t overlap_bytes = 300, question_bytes = 1200;  // of texts that are judged in parts

// The first character's start at or after `at`.
std::size_t character_from(std::string_view text, std::size_t at) {
  while (at < text.size() && !starts_character(text[at])) ++at;
  return at;
}

std::vector<SafetyHead::Policy> chosen(const SafetyHead& head, const GuardOptions& options, const std::string& guard) {
  std::vector<SafetyHead::Policy> known = head.policies;
  for (const SafetyHead::Policy& own : options.own) {
    if (!head.takes_others)
      throw Error(ErrorCode::unsupported,
                  fmt::format("{} was trained on policies of its own and takes no others (\"{}\")", guard, own.name),
                  own.name);
    if (own.name.empty() || trimmed(own.text).empty()) fail(ErrorCode::usage, "a policy needs a name and a text");
    std::erase_if(known, [&](const SafetyHead::Policy& p) { return p.name == own.name; });
    known.push_back(own);
  }
  if (options.policies.empty() || std::ranges::find(options.policies, "all") != options.policies.end()) return known;
  std::vector<SafetyHead::Policy> some;
  for (const std::string& name : options.policies) {
    const auto at = std::ranges::find(known, name, &SafetyHead::Policy::name);
    if (at == known.end()) {
      std::vector<std::string_view> names;
      for (const SafetyHead::Policy& policy : known) names.push_back(policy.name);
      throw Error(ErrorCode::usage,
                  fmt::format("{} has no policy \"{}\": it has {}", guard, name, fmt::join(names, ", ")), name);
    }
    some.push_back(*at);
  }
  for (const SafetyHead::Policy& own : options.own)  // given to be judged
    if (std::ranges::find(some, own.name, &SafetyHead::Policy::name) == some.end()) some.push_back(own);
  return some;
}

void require_threshold(double threshold) {
  if (!(threshold >= 0 && threshold <= 1))
    fail(ErrorCode::usage, "a guard's threshold is {}: must be from 0 to 1", threshold);
}

SafetyHead head_of(const Model& model) {
  auto head = model.safety_head();
  if (!head)
    throw Error(ErrorCode::unsupported,
                fmt::format("{} is no guard: it judges no policies; {} judges pictures, {} texts", model.name(),
                            picture_guard, text_guard),
                model.name());
  return *std::move(head);
}

}  // namespace

bool Safety::flagged() const { return std::ranges::any_of(scores, &PolicyScore::violates); }

const PolicyScore& Safety::worst() const {
  return *std::ranges::max_element(scores, {}, [](const PolicyScore& s) { return s.p_violates - s.threshold; });
}

std::string words_of(const Conversation& conversation) {
  std::string words;
  for (const Message& message : conversation.messages) {
    if (message.role != "user") continue;
    for (const Part& part : message.parts)
      if (!part.text.empty()) words += (words.empty() ? "" : "\n") + part.text;
  }
  return words;
}

void require_safe(const Safety& safety, std::string_view what) {
  if (!safety.flagged()) return;
  const PolicyScore& worst = safety.worst();
  throw Error(
      ErrorCode::refused,
      fmt::format("{}: refused by {}: {} with p {:.3f}, threshold {:.3f}{}", what, safety.guard, worst.policy,
                  worst.p_violates, worst.threshold, safety.frames > 1 ? fmt::format(", frame {}", worst.frame) : ""),
      std::string(what));
}

Guard::Guard(std::shared_ptr<const Model> model, GuardOptions options)
    : model_(std::move(model)),
      head_(head_of(*model_)),
      policies_(chosen(head_, options, model_->name())),
      options_(std::move(options)),
      session_(*model_) {
  require_threshold(options_.threshold);
  for (const auto& [policy, threshold] : options_.thresholds) {
    require_threshold(threshold);
    if (std::ranges::find(policies_, policy, &SafetyHead::Policy::name) == policies_.end())
      log::warn("{} judges no policy \"{}\": its threshold is not used", name(), policy);
  }
}

void Guard::require(SafetyHead::Judges wanted, std::string_view what) const {
  if (head_.judges == wanted) return;
  throw Error(ErrorCode::unsupported,
              wanted == SafetyHead::Judges::texts
                  ? fmt::format("{}: {} judges pictures, not texts; name a guard of texts, such as {}", what, name(),
                                text_guard)
                  : fmt::format("{}: {} judges texts, not pictures; name a guard of pictures, such as {}", what, name(),
                                picture_guard),
              std::string(what));
}

Safety Guard::blank(std::string_view checked) const {
  Safety safety{name(), checked, {}, 0};
  for (const SafetyHead::Policy& policy : policies_) {
    const auto own = options_.thresholds.find(policy.name);
    PolicyScore& score = safety.scores.emplace_back();
    score.policy = policy.name;
    score.threshold = own == options_.thresholds.end() ? options_.threshold : own->second;
    score.p_violates = -1;  // below whatever comes
  }
  return safety;
}

PolicyScore Guard::put(const Conversation& question) {
  GenerateOptions one;
  one.max_tokens = 1;
  Generation generation = session_.ask(question, one);
  (void)generation.next();
  ++judged_;
  const auto logits = generation.last_logits().values<float>();
  const double yes = logits[static_cast<std::size_t>(head_.yes)], no = logits[static_cast<std::size_t>(head_.no)];
  if (!std::isfinite(yes) || !std::isfinite(no)) fail(ErrorCode::internal, "{}: its judgement is no number", name());
  PolicyScore score;
  score.p_violates = 1 / (1 + std::exp(no - yes));
  const TokenId both[] = {head_.yes, head_.no};
  score.off_form = 1 - std::exp(log_softmax(logits, both));
  return score;
}

void Guard::judge_frame(const std::shared_ptr<const Image>& image, Dim frame, Safety& safety) {
  for (std::size_t i = 0; i < policies_.size(); ++i) {
    const PolicyScore got = put(Conversation().user(policies_[i].text, {image}));
    PolicyScore& kept = safety.scores[i];
    kept.off_form = std::max(kept.off_form, got.off_form);
    if (got.p_violates <= kept.p_violates) continue;
    kept.p_violates = got.p_violates;
    kept.frame = frame;
  }
}

void Guard::warn_off_form(const Safety& safety) {
  for (const PolicyScore& score : safety.scores)
    if (score.off_form > mostly_off_form && !std::exchange(warned_, true))
      log::warn("{} would answer {} with neither Yes nor No (p {:.2f}): its scores mean little", name(), score.policy,
                score.off_form);
}

Safety Guard::judge_picture(const std::shared_ptr<const Image>& image) {
  return judge_frames(
      1, [&](Dim) { return image; }, "a picture");
}

Safety Guard::judge_frames(Dim frames, const std::function<std::shared_ptr<const Image>(Dim)>& frame,
                           std::string_view what) {
  require(SafetyHead::Judges::pictures, what);
  Safety safety = blank("image");
  safety.frames = frames;
  std::set<PictureKey> seen;
  for (Dim i = 0; i < frames; ++i)
    if (const auto image = frame(i); seen.insert(picture_key({}, {}, *image)).second) judge_frame(image, i, safety);
  warn_off_form(safety);
  return safety;
}

Safety Guard::judge_picture(std::span<const std::byte> file, std::string_view what) {
  require(SafetyHead::Judges::pictures, what);
  const Dim frames = probe_image(file, what).value().frames;
  if (frames > guard_most_frames)
    throw Error(ErrorCode::limit,
                fmt::format("{}: holds {} pictures; a guard judges at most {} of a file, and all of them or none", what,
                            frames, guard_most_frames),
                std::string(what));
  Safety safety = blank("image");
  safety.frames = frames;
  std::set<PictureKey> seen;  // most pictures are the same on white and on black
  for (Dim frame = 0; frame < frames; ++frame)
    for (const std::uint8_t shade : {std::uint8_t{255}, std::uint8_t{0}}) {
      DecodeOptions options;
      options.frame = frame;
      options.background = std::array<std::uint8_t, 3>{shade, shade, shade};
      auto image = std::make_shared<const Image>(decode_image(file, what, options).value());
      if (seen.insert(picture_key({}, {}, *image)).second) judge_frame(image, frame, safety);
    }
  warn_off_form(safety);
  return safety;
}

PolicyScore Guard::score_text(const SafetyHead::Policy& policy, std::string_view question, std::string_view text,
                              bool is_answer) {
  Conversation asked;
  asked.plain_content = true;
  asked.user(std::string(is_answer ? question : text));
  if (is_answer) asked.assistant(std::string(text));
  asked.variables = {{"guideline", is_answer && !policy.of_answers.empty() ? policy.of_answers : policy.text}};
  try {
    return put(asked);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::limit) throw;
  }
  if (question.size() > question_bytes)
    return score_text(policy, question.substr(character_from(question, question.size() - question_bytes)), text,
                      is_answer);
  if (text.size() < 4 * overlap_bytes) return put(asked);  // throws again: it cannot be cut further
  const std::size_t middle = text.size() / 2;
  PolicyScore worst =
      score_text(policy, question, text.substr(0, character_from(text, middle + overlap_bytes / 2)), is_answer);
  const PolicyScore second =
      score_text(policy, question, text.substr(character_from(text, middle - overlap_bytes / 2)), is_answer);
  worst.p_violates = std::max(worst.p_violates, second.p_violates);
  worst.off_form = std::max(worst.off_form, second.off_form);
  return worst;
}

Safety Guard::judge_words(std::string_view question, std::string_view text, bool is_answer) {
  require(SafetyHead::Judges::texts, is_answer ? "an answer" : "a text");
  Safety safety = blank("text");
  for (std::size_t i = 0; i < policies_.size(); ++i) {
    const PolicyScore got = score_text(policies_[i], question, text, is_answer);
    safety.scores[i].p_violates = got.p_violates;
    safety.scores[i].off_form = got.off_form;
  }
  warn_off_form(safety);
  return safety;
}

Safety Guard::judge_text(std::string_view text) { return judge_words({}, text, false); }

Safety Guard::judge_answer(std::string_view question, std::string_view answer) {
  return judge_words(question, answer, true);
}

std::size_t judged_part(std::string_view text, Dim characters) {
  std::size_t blank = 0;  // behind the last white space
  Dim count = 0;
  for (std::size_t i = 0; i < text.size(); i = character_from(text, i + 1)) {
    if (count++ == characters) return blank > 0 ? blank : i;
    const bool is_blank = blanks.find(text[i]) != std::string_view::npos;
    if (text[i] == '\n') return i + 1;
    if (is_blank && i > 0 && std::string_view(".!?").find(text[i - 1]) != std::string_view::npos) return i + 1;
    if (is_blank) blank = i + 1;
    for (const std::string_view stop : {"。", "！", "？"})
      if (text.substr(i).starts_with(stop)) return i + stop.size();
  }
  return 0;
}

AnswerFilter::AnswerFilter(std::vector<Guard*> guards, std::string question, std::string what)
    : guards_(std::move(guards)), question_(std::move(question)), what_(std::move(what)) {
  for (const Guard* guard : guards_)
    if (!guard->judges_texts())
      throw Error(ErrorCode::unsupported,
                  fmt::format("answers are text, and {} judges pictures only; name a guard of texts for them, such as "
                              "{}, or guard the input alone: {}@in",
                              guard->name(), text_guard, guard->name()),
                  guard->name());
}

void AnswerFilter::judge(std::string_view chunk) {
  if (trimmed(chunk).empty()) return;
  verdicts_.clear();
  const std::string all = passed_ + std::string(chunk);
  for (Guard* guard : guards_) {
    verdicts_.push_back(guard->judge_answer(question_, all));
    require_safe(verdicts_.back(), what_);
  }
}

std::string AnswerFilter::feed(std::string_view piece) {
  if (guards_.empty()) return std::string(piece);
  held_ += piece;
  std::string out;
  while (const std::size_t part = judged_part(held_, guard_most_held_characters)) {
    const std::string chunk = held_.substr(0, part);
    judge(chunk);
    passed_ += chunk;
    out += chunk;
    held_.erase(0, part);
  }
  return out;
}

std::string AnswerFilter::finish() {
  judge(held_);
  passed_ += held_;
  return std::exchange(held_, {});
}

}  // namespace tap
