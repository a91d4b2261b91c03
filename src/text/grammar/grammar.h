// What an answer may be: one of some choices, a text that a regex matches as a whole, JSON that a schema allows, a text
// of a grammar, or calls of tools.
// Compiled once into byte automata that call each other (a pushdown automaton); immutable, safe from many threads.
#pragma once

#include <bitset>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "text/grammar/automaton.h"

namespace tap {

class Grammar;
using GrammarPtr = std::shared_ptr<const Grammar>;

namespace grammar {

struct RuleAutomaton {
  Dfa dfa;
  std::uint8_t levels = 0;  // of nesting that a call of it opens: 1 for JSON's objects and arrays
};
using GrammarRules = std::vector<RuleAutomaton>;  // that call each other by index; 0 is the whole

// As Grammar's functions below, before they are joined. They throw.
GrammarRules choice_rules(std::span<const std::string> choices);
GrammarRules regex_rules(std::string_view pattern);

}  // namespace grammar

class Grammar {
 public:
  using State = grammar::State;

  // Exactly one of `choices`: at least one, none empty, at most 10 000 of 64 KiB in all.
  static Result<GrammarPtr> from_choices(std::span<const std::string> choices);
  // The subset that text/grammar/regex.h lists; an error names the construct and its position in bytes.
  static Result<GrammarPtr> from_regex(std::string_view pattern);
  // The text of a JSON Schema; `what` names it in errors, which give the path of the keyword: "s.json: #/items/not: …".
  static Result<GrammarPtr> from_schema(std::string_view text, std::string_view what);

  // GBNF (text/grammar/gbnf.h); `what` names it in errors, which give the line: "g.gbnf: line 3: …".
  static Result<GrammarPtr> from_gbnf(std::string_view text, std::string_view what);

  // Joins rules. Cuts what can never be completed. Throws Error(bad_input) when nothing can.
  static GrammarPtr join(std::span<const grammar::RuleAutomaton> rules, std::string_view what);
  // The part of the language that can be written with these bytes alone; throws Error(unsupported) when that is
  // nothing.
  GrammarPtr restricted_to(const std::bitset<256>& bytes) const;

  std::size_t size() const { return accepting_.size(); }  // states
  std::size_t held_bytes() const {
    return size() * 10 + edges_.size() * sizeof(edges_[0]) + calls_.size() * sizeof(calls_[0]);
  }
  State start() const { return rule_starts_[0]; }
  State start_of(grammar::Rule rule) const { return rule_starts_[rule]; }
  std::uint8_t levels_of(grammar::Rule rule) const { return rule_levels_[rule]; }
  std::span<const grammar::Dfa::Edge> edges_of(State s) const { return slice(edges_, first_edge_, s); }
  std::span<const grammar::Dfa::Call> calls_of(State s) const { return slice(calls_, first_call_, s); }
  bool accepts(State s) const { return accepting_[s]; }  // the rule may end here
  // Levels of nesting that the shortest way to the rule's end opens; kNever: there is no way.
  static constexpr std::uint8_t kNever = 255;
  std::uint8_t levels_needed(State s) const { return needed_[s]; }

 private:
  template <class T>
  static std::span<const T> slice(const std::vector<T>& all, const std::vector<std::uint32_t>& first, State s) {
    return std::span(all).subspan(first[s], first[s + 1] - first[s]);
  }
  void find_needed();
  void cut_dead();
  std::vector<State> rule_starts_;
  std::vector<std::uint8_t> rule_levels_;
  std::vector<std::uint32_t> first_edge_{0}, first_call_{0};
  std::vector<grammar::Dfa::Edge> edges_;
  std::vector<grammar::Dfa::Call> calls_;
  std::vector<bool> accepting_;
  std::vector<std::uint8_t> needed_;
};

// Frames of unfinished rules, as trees that threads share. Frame 0 is the bottom: no rule waits.
class GrammarStacks {
 public:
  struct Frame {
    grammar::State back;                   // where the waiting rule goes on
    std::uint32_t parent, child, sibling;  // child, sibling: 0 = none
    std::uint32_t levels;                  // of JSON nesting that are open
  };
  GrammarStacks() : frames_{{0, 0, 0, 0, 0}} {}
  std::uint32_t push(std::uint32_t parent, grammar::State back, std::uint32_t levels);
  const Frame& operator[](std::uint32_t frame) const { return frames_[frame]; }
  std::size_t size() const { return frames_.size(); }

 private:
  std::vector<Frame> frames_;
};

struct GrammarThread {
  grammar::State state;
  std::uint32_t frame;
  bool operator==(const GrammarThread&) const = default;
};

// The ways in which the bytes so far can be read. Beyond kMostThreads ways the later ones are dropped: the answer stays
// valid, only some that an extremely ambiguous schema allows can no longer be reached.
struct GrammarThreads {
  static constexpr std::size_t kMost = 256;
  std::vector<GrammarThread> list;
  bool at_end = false;            // the outermost rule may end here
  std::uint32_t most_levels = 0;  // that any thread, also one refused, would need
  void clear() {
    list.clear();
    at_end = false;
  }
};

void add_thread(const Grammar& grammar, GrammarStacks& stacks, GrammarThread thread, GrammarThreads& out);
// All threads after one more byte; `from` and `out` differ.
void step_threads(const Grammar& grammar, GrammarStacks& stacks, const GrammarThreads& from, unsigned char byte,
                  GrammarThreads& out);

// A place in an answer.
class GrammarState {
 public:
  explicit GrammarState(GrammarPtr grammar);
  bool advance(std::string_view bytes);  // false: not allowed, and nothing has changed
  bool can_end() const { return threads_.at_end; }
  bool can_go_on() const;
  const Grammar& grammar() const { return *grammar_; }
  const GrammarThreads& threads() const { return threads_; }
  GrammarStacks& stacks() { return stacks_; }

 private:
  GrammarPtr grammar_;
  GrammarStacks stacks_;
  GrammarThreads threads_, next_;
};

}  // namespace tap
