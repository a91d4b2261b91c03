// Byte automata: what regexes and schemas are compiled to. An Nfa is built, determinized to a Dfa, and thrown away.
// Besides bytes an edge can be a call of another rule (a schema's nested value); to the subset construction a call is
// one more symbol.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace tap::grammar {

using State = std::uint32_t;
using Rule = std::uint32_t;

inline constexpr std::size_t kMostStates = 1'000'000;  // of all automata of one grammar
inline constexpr std::size_t kMostSteps = 60'000'000;  // of compilation: under a second
inline constexpr std::size_t kMostNesting = 64;        // groups of a regex, levels of a schema, and of a JSON answer
inline constexpr std::size_t kMostPatternBytes = 64 << 10;  // of one regex

// What one compilation may use. Counts instead of a clock, so that the same input always gives the same result.
class Budget {
 public:
  // `all`: of a compilation that this one is a part of; it pays too.
  explicit Budget(std::string what, Budget* all = nullptr) : what_(std::move(what)), all_(all) {}
  const std::string& what() const { return what_; }  // names the input in errors
  void states(std::size_t count);                    // throws Error(limit)
  void steps(std::size_t count);                     // throws Error(limit)

 private:
  std::string what_;
  Budget* all_;
  std::size_t states_ = 0, steps_ = 0;
};

struct CodeRange {
  char32_t low, high;
};
// Sorted, disjoint code points.
class CodeSet {
 public:
  CodeSet() = default;
  explicit CodeSet(std::vector<CodeRange> ranges);
  static CodeSet all();  // every code point but surrogates
  const std::vector<CodeRange>& ranges() const { return ranges_; }
  bool empty() const { return ranges_.empty(); }
  CodeSet complement() const;
  CodeSet without(const CodeSet& other) const;
  CodeSet both(const CodeSet& other) const;  // intersection

 private:
  std::vector<CodeRange> ranges_;
};

class Nfa {
 public:
  explicit Nfa(Budget& budget) : budget_(&budget) {}
  struct Edge {
    enum class Kind : std::uint8_t { bytes, call, empty } kind;
    std::uint8_t low, high;
    State to;
    Rule rule;
    std::uint32_t next;  // edge of the same state
  };
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  State add();
  void bytes(State from, unsigned low, unsigned high, State to);
  void empty(State from, State to) { put(from, {Edge::Kind::empty, 0, 0, to, 0, kNone}); }
  void call(State from, Rule rule, State to) { put(from, {Edge::Kind::call, 0, 0, to, rule, kNone}); }
  void literal(State from, std::string_view text, State to);
  void codes(State from, const CodeSet& set, State to);  // one code point, as UTF-8
  // All of `texts`, sharing their beginnings.
  void literals(State from, std::span<const std::string> texts, State to);

  std::size_t size() const { return first_.size(); }
  std::uint32_t first(State state) const { return first_[state]; }
  const Edge& edge(std::uint32_t index) const { return edges_[index]; }
  Budget& budget() const { return *budget_; }

 private:
  void put(State from, Edge edge);
  Budget* budget_;
  std::vector<std::uint32_t> first_;
  std::vector<Edge> edges_;
};

struct Dfa {
  struct Edge {
    std::uint8_t low, high;
    State to;
  };
  struct Call {
    Rule rule;
    State to;
  };
  // State 0 is the start. Edges of a state are disjoint and sorted.
  std::vector<std::uint32_t> first_edge{0}, first_call{0};  // by state, and one past the end
  std::vector<Edge> edges;
  std::vector<Call> calls;
  std::vector<bool> accepting;

  std::size_t size() const { return accepting.size(); }
  std::span<const Edge> edges_of(State s) const {
    return std::span(edges).subspan(first_edge[s], first_edge[s + 1] - first_edge[s]);
  }
  std::span<const Call> calls_of(State s) const {
    return std::span(calls).subspan(first_call[s], first_call[s + 1] - first_call[s]);
  }
  void close_state(bool accepts);  // what was pushed since the last call belongs to one more state
  bool is_empty() const;           // accepts nothing; of an automaton without calls
};

Dfa determinize(const Nfa& nfa, State start, State end);
// Texts of `a` that are in `b`, or (with `inverted`) that are not. Neither may have calls.
Dfa product(const Dfa& a, const Dfa& b, bool inverted, Budget& budget);
// Copies `dfa` between two states of `nfa`.
void splice(Nfa& nfa, State from, const Dfa& dfa, State to);

}  // namespace tap::grammar
