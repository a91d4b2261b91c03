#include "runtime/prompt_lookup.h"

#include <algorithm>

namespace tap {

namespace {

constexpr double newest_weight = 1.0 / 8;  // of a running mean
constexpr double first_guess = 0.1;        // of a further row's time, in times of the first, before one was measured
constexpr std::array<Dim, 3> lengths{1, 3, 7};  // of checked drafts: 2, 4 and 8 rows, so that each is soon measured

std::size_t of_match(Dim match) {
  return static_cast<std::size_t>(std::clamp(match, shortest_match, longest_match) - shortest_match);
}

}  // namespace

LookupText::LookupText(const Prompt& prompt) : ids_(prompt.ids) {
  for (const Dim slot : prompt.slots) ids_[static_cast<std::size_t>(slot)] = -1;
}

LookupText::Draft LookupText::draft(Dim most) const {
  Draft draft;
  const Dim size = static_cast<Dim>(ids_.size());
  if (most < 1 || size <= shortest_match || ids_.back() < 0) return draft;
  const TokenId* newest = &ids_.back();
  const TokenId* found = nullptr;
  for (const TokenId* at = newest - 1; at > ids_.data() && draft.match < longest_match; --at) {
    if (*at != *newest) continue;
    const Dim reach = std::min<Dim>(longest_match, at - ids_.data() + 1);
    Dim match = 1;
    while (match < reach && at[-match] == newest[-match] && at[-match] >= 0) ++match;
    if (match < shortest_match || match <= draft.match) continue;
    draft.match = match;
    found = at;
  }
  if (!found) return draft;
  const Dim distance = newest - found;
  for (Dim i = 0; i < most; ++i) {
    const TokenId id = i < distance ? found[i + 1] : draft.ids[static_cast<std::size_t>(i - distance)];
    if (id < 0) break;
    draft.ids.push_back(id);
  }
  return draft;
}

void LookupPace::Mean::add(double sample) {
  if (count > 0) sample = std::min(sample, 2 * value);  // the machine was busy with something else
  ++count;
  value += (sample - value) * std::max(newest_weight, 1.0 / count);
}

void LookupPace::agreed(Dim match, bool right) {
  double& chance = chance_[of_match(match)];
  chance += ((right ? 1.0 : 0.0) - chance) * newest_weight;
}

void LookupPace::took(Dim rows, double ms) {
  if (rows <= static_cast<Dim>(ms_.size())) ms_[static_cast<std::size_t>(rows - 1)].add(ms);
}

double LookupPace::ms_of(Dim rows, Costs costs) const {
  const double first = ms_[0].value, more = static_cast<double>(rows - 1);
  if (costs == Costs::measured) {
    if (const Mean& mean = ms_[static_cast<std::size_t>(rows - 1)]; mean.count > 0) return mean.value;
    for (std::size_t i = ms_.size() - 1; i > 0; --i)
      if (ms_[i].count > 0) return first + std::max(0.0, ms_[i].value - first) * more / static_cast<double>(i);
  }
  return first * (1 + first_guess * more);
}

Dim LookupPace::best(Dim match, Dim length, Costs costs) const {
  Dim best = 0, counted = 0;
  double rate = 1 / ms_of(1, costs), tokens = 1, all_right = 1;
  for (const Dim count : lengths) {
    if (count > length) break;
    for (; counted < count; ++counted) tokens += all_right *= chance_[of_match(match + counted)];
    if (const double this_rate = tokens / ms_of(1 + count, costs); this_rate > rate) {
      best = count;
      rate = this_rate;
    }
  }
  return best;
}

Dim LookupPace::choose(Dim match, Dim length) {
  if (ms_[0].count == 0 || length < 1) return 0;
  if (const Dim paying = best(match, length, Costs::measured)) {
    waited_ = 0;
    patience_ = least_patience;
    return paying;
  }
  // Too dear as measured, which may have been a bad moment: now and then again, ever more seldom.
  const Dim hoped = best(match, length, Costs::hoped);
  if (hoped == 0 || ++waited_ < patience_) return 0;
  waited_ = 0;
  patience_ = std::min(2 * patience_, most_patience);
  return hoped;
}

std::span<const TokenId> Drafter::draft(Dim most) {
  if (how_ == Lookup::off) return {};
  draft_ = text_.draft(std::min(most, longest_draft));
  const Dim length = static_cast<Dim>(draft_.ids.size());
  checked_ = how_ == Lookup::always ? length : pace_.choose(draft_.match, length);
  at_ = 0;
  return std::span(draft_.ids).first(static_cast<std::size_t>(checked_));
}

void Drafter::took(double ms) {
  if (how_ != Lookup::off) pace_.took(1 + checked_, ms);
}

bool Drafter::take(TokenId id) {
  if (how_ == Lookup::off) return false;
  text_.push(id);
  if (at_ >= static_cast<Dim>(draft_.ids.size())) return false;
  const bool right = draft_.ids[static_cast<std::size_t>(at_)] == id;
  pace_.agreed(draft_.match + at_, right);
  const bool follows = right && at_ < checked_;
  at_ = follows ? at_ + 1 : static_cast<Dim>(draft_.ids.size());
  return follows;
}

}  // namespace tap
