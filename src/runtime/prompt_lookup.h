// Drafts of an answer without a second model (Saxena 2023, "Prompt Lookup Decoding"): what followed the newest tokens
// where they stood before, in the prompt's text or in the answer, often follows again. A forward of few rows reads the
// weights once, so checking a draft costs little more than one token. What is drafted never changes an answer.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "models/family.h"

namespace tap {

// automatic: as long as it pays. always: every draft is checked whatever it costs (tests).
enum class Lookup : std::uint8_t { automatic, off, always };

constexpr Dim longest_draft = 7;                      // with the newest token 8 rows: what decode kernels take
constexpr Dim shortest_match = 2, longest_match = 5;  // tokens that must have stood before

// The prompt's text and the answer so far.
class LookupText {
 public:
  explicit LookupText(const Prompt& prompt);
  void push(TokenId id) { ids_.push_back(id); }
  struct Draft {
    std::vector<TokenId> ids;
    Dim match = 0;  // how many of the newest tokens were found, the latest place of the longest match; 0: none
  };
  // At most `most` tokens. One that runs into the newest token goes on with itself: a period repeats.
  Draft draft(Dim most) const;

 private:
  std::vector<TokenId> ids_;  // -1: a picture's row, which matches nothing
};

// How much of a draft pays, from what this answer has measured: how often drafts were right and what forwards took.
class LookupPace {
 public:
  // A drafted token behind `match` agreeing ones was right or wrong, checked or not.
  void agreed(Dim match, bool right);
  void took(Dim rows, double ms);     // a forward
  Dim choose(Dim match, Dim length);  // of a draft's tokens: 0 to `length`

 private:
  struct Mean {
    double value = 0;
    int count = 0;
    void add(double sample);
  };
  static constexpr int least_patience = 32, most_patience = 512;
  enum class Costs { measured, hoped };
  double ms_of(Dim rows, Costs costs) const;
  Dim best(Dim match, Dim length, Costs costs) const;
  std::array<double, longest_match - shortest_match + 1> chance_{0.5, 0.5, 0.5, 0.5};  // by length of the match
  std::array<Mean, longest_draft + 1> ms_;                                             // by rows - 1
  int waited_ = 0, patience_ = least_patience;                                         // drafts left aside as too dear
};

// One answer's drafts, from one forward to the next.
class Drafter {
 public:
  Drafter(Lookup how, const Prompt& prompt) : how_(how), text_(prompt) {}
  // The tokens to check together with the newest one, at most `most`.
  std::span<const TokenId> draft(Dim most);
  void took(double ms);  // that forward
  // The token chosen next. True: it is the draft's and the next row of the forward stands behind it.
  bool take(TokenId id);

 private:
  Lookup how_;
  LookupText text_;
  LookupPace pace_;
  LookupText::Draft draft_;
  Dim checked_ = 0, at_ = 0;  // of the draft: tokens in the forward, the one that is to be chosen next
};

}  // namespace tap
