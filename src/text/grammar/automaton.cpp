#include "text/grammar/automaton.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <map>
#include <unordered_map>

namespace tap::grammar {

void Budget::states(std::size_t count) {
  states_ += count;
  if (all_) all_->states(count);
  if (states_ > kMostStates)
    fail(ErrorCode::limit, "{}: needs more than {} automaton states; use smaller counts or fewer alternatives", what_,
         kMostStates);
}

void Budget::steps(std::size_t count) {
  steps_ += count;
  if (all_) all_->steps(count);
  if (steps_ > kMostSteps)
    fail(ErrorCode::limit, "{}: takes more than {} steps to compile; make it simpler", what_, kMostSteps);
}

CodeSet::CodeSet(std::vector<CodeRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](CodeRange a, CodeRange b) { return a.low < b.low; });
  for (const CodeRange& range : ranges) {
    if (!ranges_.empty() && range.low <= ranges_.back().high + 1)
      ranges_.back().high = std::max(ranges_.back().high, range.high);
    else
      ranges_.push_back(range);
  }
}

CodeSet CodeSet::all() { return CodeSet({{0, 0xD7FF}, {0xE000, 0x10FFFF}}); }

CodeSet CodeSet::complement() const { return all().without(*this); }

CodeSet CodeSet::without(const CodeSet& other) const {
  std::vector<CodeRange> left;
  std::size_t first = 0;  // of the other's ranges that reach the current one
  for (CodeRange range : ranges_) {
    while (first < other.ranges_.size() && other.ranges_[first].high < range.low) ++first;
    bool whole = false;
    for (std::size_t i = first; i < other.ranges_.size() && !whole; ++i) {
      const CodeRange& cut = other.ranges_[i];
      if (cut.low > range.high) break;
      if (cut.low > range.low) left.push_back({range.low, cut.low - 1});
      whole = cut.high >= range.high;
      range.low = cut.high + 1;
    }
    if (!whole) left.push_back(range);
  }
  return CodeSet(std::move(left));
}

CodeSet CodeSet::both(const CodeSet& other) const { return without(other.complement()); }

State Nfa::add() {
  budget_->states(1);
  first_.push_back(kNone);
  return static_cast<State>(first_.size() - 1);
}

void Nfa::put(State from, Edge edge) {
  budget_->steps(1);
  edge.next = first_[from];
  first_[from] = static_cast<std::uint32_t>(edges_.size());
  edges_.push_back(edge);
}

void Nfa::bytes(State from, unsigned low, unsigned high, State to) {
  put(from, {Edge::Kind::bytes, static_cast<std::uint8_t>(low), static_cast<std::uint8_t>(high), to, 0, kNone});
}

void Nfa::literal(State from, std::string_view text, State to) {
  if (text.empty()) return empty(from, to);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const unsigned byte = static_cast<unsigned char>(text[i]);
    const State next = i + 1 == text.size() ? to : add();
    bytes(from, byte, byte, next);
    from = next;
  }
}

void Nfa::codes(State from, const CodeSet& set, State to) {
  // Cut into ranges whose UTF-8 forms are one sequence of byte ranges (as in RE2).
  std::vector<CodeRange> todo(set.ranges().rbegin(), set.ranges().rend());
  while (!todo.empty()) {
    const auto [low, high] = todo.back();
    todo.pop_back();
    const auto split = [&, low = low, high = high](char32_t last) {
      todo.push_back({last + 1, high});
      todo.push_back({low, last});
    };
    bool cut = false;
    for (const char32_t last : {char32_t{0x7F}, char32_t{0x7FF}, char32_t{0xD7FF}, char32_t{0xDFFF}, char32_t{0xFFFF}})
      if (!cut && low <= last && last < high) split(last), cut = true;
    if (cut || (low >= 0xD800 && high <= 0xDFFF)) continue;
    const unsigned length = high < 0x80 ? 1 : high < 0x800 ? 2 : high < 0x10000 ? 3 : 4;
    for (unsigned i = 1; i < length && !cut; ++i) {
      const char32_t mask = (char32_t{1} << (6 * i)) - 1;
      if ((low & ~mask) == (high & ~mask)) continue;
      if (low & mask)
        split(low | mask), cut = true;
      else if ((high & mask) != mask)
        split((high & ~mask) - 1), cut = true;
    }
    if (cut) continue;
    constexpr std::array<unsigned, 5> lead = {0, 0, 0xC0, 0xE0, 0xF0};
    State at = from;
    for (unsigned i = 0; i < length; ++i) {
      const unsigned shift = 6 * (length - 1 - i);
      const unsigned mark = i == 0 ? lead[length] : 0x80, mask = i == 0 ? 0xFF : 0x3F;
      const State next = i + 1 == length ? to : add();
      bytes(at, mark | ((low >> shift) & mask), mark | ((high >> shift) & mask), next);
      at = next;
    }
  }
}

void Nfa::literals(State from, std::span<const std::string> texts, State to) {
  std::vector<std::string_view> sorted(texts.begin(), texts.end());
  std::sort(sorted.begin(), sorted.end());
  std::vector<State> path{from};  // states along the previous text
  std::string_view previous;
  for (const std::string_view text : sorted) {
    budget_->steps(1 + text.size());
    const auto same = static_cast<std::size_t>(
        std::mismatch(previous.begin(), previous.end(), text.begin(), text.end()).first - previous.begin());
    path.resize(same + 1);
    for (std::size_t i = same; i < text.size(); ++i) {
      path.push_back(add());
      const unsigned byte = static_cast<unsigned char>(text[i]);
      bytes(path[i], byte, byte, path[i + 1]);
    }
    empty(path.back(), to);
    previous = text;
  }
}

void Dfa::close_state(bool accepts) {
  first_edge.push_back(static_cast<std::uint32_t>(edges.size()));
  first_call.push_back(static_cast<std::uint32_t>(calls.size()));
  accepting.push_back(accepts);
}

bool Dfa::is_empty() const {
  return std::find(accepting.begin(), accepting.end(), true) == accepting.end();  // every state is reachable
}

namespace {

// Numbers sets of states; a set is a slice of one pool.
class SetTable {
 public:
  explicit SetTable(Budget& budget) : budget_(budget) {}
  State number(const std::vector<State>& set) {
    std::uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a over words
    for (const State s : set) hash = (hash ^ s) * 0x100000001B3u;
    budget_.steps(set.size() + 1);
    auto [at, end] = known_.equal_range(hash);
    for (; at != end; ++at)
      if (std::ranges::equal((*this)[at->second], set)) return at->second;
    budget_.states(1);
    const auto fresh = static_cast<State>(begins_.size() - 1);
    pool_.insert(pool_.end(), set.begin(), set.end());
    begins_.push_back(pool_.size());
    known_.emplace(hash, fresh);
    return fresh;
  }
  std::span<const State> operator[](State id) const {
    return std::span(pool_).subspan(begins_[id], begins_[id + 1] - begins_[id]);
  }
  std::size_t size() const { return begins_.size() - 1; }

 private:
  Budget& budget_;
  std::vector<State> pool_;
  std::vector<std::size_t> begins_{0};
  std::unordered_multimap<std::uint64_t, State> known_;
};

// Follows empty edges; keeps the states that matter (with other edges, or the end), sorted.
class Closure {
 public:
  Closure(const Nfa& nfa, State end) : nfa_(nfa), end_(end), seen_(nfa.size(), 0) {}
  void operator()(std::vector<State>& set) {
    ++round_;
    todo_.clear();
    for (const State s : set) visit(s);
    set.clear();
    while (!todo_.empty()) {
      const State s = todo_.back();
      todo_.pop_back();
      bool matters = s == end_;
      for (std::uint32_t e = nfa_.first(s); e != Nfa::kNone; e = nfa_.edge(e).next) {
        nfa_.budget().steps(1);
        if (nfa_.edge(e).kind == Nfa::Edge::Kind::empty)
          visit(nfa_.edge(e).to);
        else
          matters = true;
      }
      if (matters) set.push_back(s);
    }
    std::sort(set.begin(), set.end());
  }

 private:
  void visit(State s) {
    if (seen_[s] == round_) return;
    seen_[s] = round_;
    todo_.push_back(s);
  }
  const Nfa& nfa_;
  State end_;
  std::vector<std::uint32_t> seen_;
  std::uint32_t round_ = 0;
  std::vector<State> todo_;
};

}  // namespace

Dfa determinize(const Nfa& nfa, State start, State end) {
  Budget& budget = nfa.budget();
  SetTable sets(budget);
  Closure close(nfa, end);
  std::vector<State> set{start};
  close(set);
  sets.number(set);
  Dfa dfa;
  std::vector<Dfa::Edge> ranges;
  for (State at = 0; at < sets.size(); ++at) {
    ranges.clear();
    std::map<Rule, std::vector<State>> calls;
    std::bitset<257> cut;
    bool accepts = false;
    for (const State s : sets[at]) {
      accepts |= s == end;
      for (std::uint32_t e = nfa.first(s); e != Nfa::kNone; e = nfa.edge(e).next) {
        const Nfa::Edge& edge = nfa.edge(e);
        if (edge.kind == Nfa::Edge::Kind::call) calls[edge.rule].push_back(edge.to);
        if (edge.kind != Nfa::Edge::Kind::bytes) continue;
        ranges.push_back({edge.low, edge.high, edge.to});
        cut[edge.low] = cut[edge.high + 1u] = true;
      }
    }
    for (unsigned low = 0; low < 256 && !ranges.empty();) {
      unsigned next = low + 1;
      while (next < 256 && !cut[next]) ++next;
      set.clear();
      for (const Dfa::Edge& range : ranges)
        if (range.low <= low && low <= range.high) set.push_back(range.to);
      budget.steps(ranges.size());
      if (!set.empty()) {
        close(set);
        const State to = sets.number(set);
        const bool joins =
            dfa.edges.size() > dfa.first_edge.back() && dfa.edges.back().to == to && dfa.edges.back().high + 1u == low;
        if (joins)
          dfa.edges.back().high = static_cast<std::uint8_t>(next - 1);
        else
          dfa.edges.push_back({static_cast<std::uint8_t>(low), static_cast<std::uint8_t>(next - 1), to});
      }
      low = next;
    }
    for (auto& [rule, targets] : calls) {
      close(targets);
      dfa.calls.push_back({rule, sets.number(targets)});
    }
    dfa.close_state(accepts);
  }
  return dfa;
}

Dfa product(const Dfa& a, const Dfa& b, bool inverted, Budget& budget) {
  constexpr State none = ~State{0};  // b has no way on
  std::unordered_map<std::uint64_t, State> known;
  std::vector<std::pair<State, State>> pairs;
  const auto number = [&](State x, State y) {
    const auto [at, fresh] = known.emplace((std::uint64_t{x} << 32) | y, static_cast<State>(pairs.size()));
    if (fresh) {
      budget.states(1);
      pairs.emplace_back(x, y);
    }
    return at->second;
  };
  number(0, 0);
  Dfa out;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const auto [x, y] = pairs[i];
    const auto others = y == none ? std::span<const Dfa::Edge>() : b.edges_of(y);
    budget.steps(1 + a.edges_of(x).size() + others.size());
    const auto put = [&](unsigned low, unsigned high, State to_a, State to_b) {
      if (to_b == none && !inverted) return;
      out.edges.push_back({static_cast<std::uint8_t>(low), static_cast<std::uint8_t>(high), number(to_a, to_b)});
    };
    for (const Dfa::Edge& edge : a.edges_of(x)) {
      unsigned low = edge.low;
      for (const Dfa::Edge& other : others) {
        if (other.high < low || other.low > edge.high) continue;
        if (other.low > low) put(low, other.low - 1u, edge.to, none);
        low = std::max<unsigned>(low, other.low);
        const unsigned high = std::min(edge.high, other.high);
        put(low, high, edge.to, other.to);
        low = high + 1;
      }
      if (low <= edge.high) put(low, edge.high, edge.to, none);
    }
    out.close_state(a.accepting[x] && (y != none && b.accepting[y]) != inverted);
  }
  return out;
}

void splice(Nfa& nfa, State from, const Dfa& dfa, State to) {
  std::vector<State> copy(dfa.size());
  for (State& state : copy) state = nfa.add();
  nfa.empty(from, copy[0]);
  for (State s = 0; s < dfa.size(); ++s) {
    for (const Dfa::Edge& edge : dfa.edges_of(s)) nfa.bytes(copy[s], edge.low, edge.high, copy[edge.to]);
    for (const Dfa::Call& call : dfa.calls_of(s)) nfa.call(copy[s], call.rule, copy[call.to]);
    if (dfa.accepting[s]) nfa.empty(copy[s], to);
  }
}

}  // namespace tap::grammar
