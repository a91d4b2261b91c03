#include "text/grammar/gbnf.h"

#include <algorithm>
#include <map>
#include <optional>

#include "text/grammar/gbnf_tree.h"
#include "text/grammar/regex.h"

namespace tap::grammar {

namespace {

using Kind = Gbnf::Kind;

constexpr std::size_t kSmall = 64;        // states of a rule that is copied to where it is used
constexpr std::size_t kMostAtOnce = 192;  // rules that may end with one byte: GrammarThreads::kMost, and room

// Which rules another one leads to, and where it may do so without a byte in between.
class Uses {
 public:
  Uses(const Gbnf& tree, const Budget& budget) : tree_(tree), budget_(budget), empty_(tree.rules.size(), false) {
    for (bool changed = true; changed;) {
      changed = false;
      for (std::uint32_t rule = 0; rule < tree.rules.size(); ++rule)
        if (!empty_[rule] && may_be_empty(tree.rules[rule].body)) empty_[rule] = changed = true;
    }
    first_.resize(tree.rules.size());
    all_.resize(tree.rules.size());
    for (std::uint32_t rule = 0; rule < tree.rules.size(); ++rule) {
      collect(tree.rules[rule].body, true, first_[rule], all_[rule]);
      for (auto* list : {&first_[rule], &all_[rule]}) {
        std::ranges::sort(*list);
        list->erase(std::unique(list->begin(), list->end()), list->end());
      }
    }
    refuse_left_recursion();
    find_components();
  }

  bool same_component(std::uint32_t a, std::uint32_t b) const { return component_[a] == component_[b]; }
  const std::vector<std::uint32_t>& callees_first() const { return order_; }  // reachable from root

 private:
  bool may_be_empty(std::uint32_t index) const {
    const Gbnf::Node& node = tree_.nodes[index];
    const auto empty = [&](std::uint32_t part) { return may_be_empty(part); };
    switch (node.kind) {
      case Kind::literal: return node.text.empty();
      case Kind::chars: return false;
      case Kind::concat: return std::ranges::all_of(node.parts, empty);
      case Kind::alternate: return std::ranges::any_of(node.parts, empty);
      case Kind::repeat: return node.least == 0 || empty(node.parts[0]);
      case Kind::rule: return empty_[node.rule];
    }
    return false;
  }

  void collect(std::uint32_t index, bool at_first, std::vector<std::uint32_t>& first, std::vector<std::uint32_t>& all) {
    const Gbnf::Node& node = tree_.nodes[index];
    if (node.kind == Kind::rule) {
      all.push_back(node.rule);
      if (at_first) first.push_back(node.rule);
    }
    for (const std::uint32_t part : node.parts) {
      collect(part, at_first, first, all);
      if (node.kind == Kind::concat) at_first = at_first && may_be_empty(part);
    }
  }

  // Depth first, without recursion: a chain of rules may be as long as there are rules.
  template <class Enter, class Back, class Leave>
  void walk(const std::vector<std::vector<std::uint32_t>>& to, std::uint32_t from, std::vector<char>& seen,
            Enter&& enter, Back&& back, Leave&& leave) const {
    std::vector<std::pair<std::uint32_t, std::size_t>> path{{from, 0}};
    seen[from] = 1;
    enter(from);
    while (!path.empty()) {
      auto& [rule, next] = path.back();
      if (next == to[rule].size()) {
        seen[rule] = 2;
        const std::uint32_t left = rule;
        path.pop_back();
        leave(left, path.empty() ? left : path.back().first);
        continue;
      }
      const std::uint32_t other = to[rule][next++];
      if (seen[other] != 0) {
        back(rule, other);
        continue;
      }
      seen[other] = 1;
      enter(other);
      path.emplace_back(other, 0);
    }
  }

  void refuse_left_recursion() const {
    std::vector<char> seen(tree_.rules.size(), 0);
    const auto nothing = [](auto...) {};
    for (std::uint32_t rule = 0; rule < tree_.rules.size(); ++rule)
      if (seen[rule] == 0)
        walk(
            first_, rule, seen, nothing,
            [&](std::uint32_t, std::uint32_t other) {
              if (seen[other] == 1)
                fail(ErrorCode::unsupported, "{}: line {}: the rule {} can begin with itself (left recursion)",
                     budget_.what(), tree_.rules[other].line, tree_.rules[other].name);
            },
            nothing);
  }

  // Tarjan's strongly connected components.
  void find_components() {
    std::vector<char> seen(tree_.rules.size(), 0);
    std::vector<std::uint32_t> number(tree_.rules.size(), 0), low(tree_.rules.size(), 0), stack;
    std::uint32_t count = 0;
    component_.assign(tree_.rules.size(), ~std::uint32_t{0});
    const auto enter = [&](std::uint32_t rule) {
      number[rule] = low[rule] = count++;
      stack.push_back(rule);
    };
    const auto back = [&](std::uint32_t rule, std::uint32_t other) {
      if (component_[other] == ~std::uint32_t{0}) low[rule] = std::min(low[rule], number[other]);
    };
    const auto leave = [&](std::uint32_t rule, std::uint32_t parent) {
      order_.push_back(rule);
      if (low[rule] == number[rule]) {
        for (std::uint32_t member = ~std::uint32_t{0}; member != rule;) {
          member = stack.back();
          stack.pop_back();
          component_[member] = rule;
        }
      }
      low[parent] = std::min(low[parent], low[rule]);
    };
    walk(all_, 0, seen, enter, back, leave);
  }

  const Gbnf& tree_;
  const Budget& budget_;
  std::vector<char> empty_;
  std::vector<std::vector<std::uint32_t>> first_, all_;
  std::vector<std::uint32_t> component_, order_;
};

class Compiler {
 public:
  Compiler(std::string_view text, std::string_view what)
      : budget_(std::string(what)), tree_(parse_gbnf(text, budget_)), uses_(tree_, budget_) {}

  GrammarRules run() {
    std::vector<std::optional<Dfa>> made(tree_.rules.size());
    small_.assign(tree_.rules.size(), nullptr);
    for (const std::uint32_t rule : uses_.callees_first()) {
      made[rule] = compile(rule);
      if (made[rule]->calls.empty() && made[rule]->size() <= kSmall) small_[rule] = &*made[rule];
    }
    // Only what is called from the whole is kept, numbered from it.
    std::map<std::uint32_t, Rule> numbers{{0, 0}};
    std::vector<std::uint32_t> kept{0};
    GrammarRules out;
    for (std::size_t i = 0; i < kept.size(); ++i) {
      Dfa dfa = *made[kept[i]];
      for (Dfa::Call& call : dfa.calls) {
        const auto [at, fresh] = numbers.emplace(call.rule, static_cast<Rule>(kept.size()));
        if (fresh) kept.push_back(call.rule);
        call.rule = at->second;
      }
      out.push_back({std::move(dfa)});
    }
    set_levels(out);
    return out;
  }

 private:
  // A rule that another of its component ends with needs no call: the other's body stands in the same automaton. So
  // `list ::= item | item "," list` is a loop and nests nothing.
  Dfa compile(std::uint32_t rule) {
    Nfa nfa(budget_);
    const State from = nfa.add(), to = nfa.add();
    std::map<std::uint32_t, State> bodies{{rule, from}};
    std::vector<std::uint32_t> todo{rule};
    const auto jump = [&](std::uint32_t other, State at) {
      if (!uses_.same_component(rule, other)) return false;
      const auto found = bodies.find(other);
      const State start = found == bodies.end() ? nfa.add() : found->second;
      if (found == bodies.end()) {
        bodies.emplace(other, start);
        todo.push_back(other);
      }
      nfa.empty(at, start);
      return true;
    };
    for (std::size_t i = 0; i < todo.size(); ++i) {
      const State inside = nfa.add();  // nothing but a jump leads to a body's own state
      nfa.empty(bodies.at(todo[i]), inside);
      build(nfa, inside, tree_.rules[todo[i]].body, to, [&](std::uint32_t other, State at) { return jump(other, at); });
    }
    return determinize(nfa, from, to);
  }

  static bool no_jump(std::uint32_t, State) { return false; }

  // `jump`: takes the call of a rule with which the whole ends. The depth of recursion is bounded by the parser.
  template <class Jump>
  void build(Nfa& nfa, State from, std::uint32_t index, State to, const Jump& jump) {
    const Gbnf::Node& node = tree_.nodes[index];
    budget_.steps(1);
    switch (node.kind) {
      case Kind::literal: return nfa.literal(from, node.text, to);
      case Kind::chars: return nfa.codes(from, node.set, to);
      case Kind::alternate:
        for (const std::uint32_t part : node.parts) build(nfa, from, part, to, jump);
        return;
      case Kind::concat:
        if (node.parts.empty()) return nfa.empty(from, to);
        for (std::size_t i = 0; i + 1 < node.parts.size(); ++i) {
          const State next = nfa.add();
          build(nfa, from, node.parts[i], next, no_jump);
          from = next;
        }
        return build(nfa, from, node.parts.back(), to, jump);
      case Kind::rule:
        if (jump(node.rule, from)) return;
        if (small_[node.rule]) return splice(nfa, from, *small_[node.rule], to);
        return nfa.call(from, node.rule, to);
      case Kind::repeat:
        if (node.least > 0 || node.most != 1) return repeat(nfa, from, node, to);
        nfa.empty(from, to);
        return build(nfa, from, node.parts[0], to, jump);
    }
  }

  void repeat(Nfa& nfa, State from, const Gbnf::Node& node, State to) {
    const auto once = [&](State before) {
      const State after = nfa.add();
      build(nfa, before, node.parts[0], after, no_jump);
      return after;
    };
    for (std::uint32_t i = 0; i < node.least; ++i) from = once(from);
    if (node.most == kNoMost) {
      const State loop = nfa.add(), body = nfa.add();
      nfa.empty(from, loop);
      nfa.empty(loop, body);
      build(nfa, body, node.parts[0], loop, no_jump);
      return nfa.empty(loop, to);
    }
    nfa.empty(from, to);
    for (std::uint32_t i = node.least; i < node.most; ++i) {
      from = once(from);
      nfa.empty(from, to);
    }
  }

  // Every ring of calls opens levels of nesting, in one rule of it; as many that all the rules which may then be open
  // can end at once.
  void set_levels(GrammarRules& rules) const {
    std::vector<char> seen(rules.size(), 0), ring(rules.size(), 0);
    std::vector<std::size_t> depth(rules.size(), 1);  // of calls below, as far as rings
    std::vector<std::pair<Rule, std::size_t>> path{{0, 0}};
    seen[0] = 1;
    while (!path.empty()) {
      auto& [rule, next] = path.back();
      const std::vector<Dfa::Call>& calls = rules[rule].dfa.calls;
      if (next == calls.size()) {
        seen[rule] = 2;
        const std::size_t below = depth[rule] + 1;
        path.pop_back();
        if (!path.empty()) depth[path.back().first] = std::max(depth[path.back().first], below);
        continue;
      }
      const Rule other = calls[next++].rule;
      if (seen[other] == 1) {
        ring[other] = 1;
      } else if (seen[other] == 2) {
        depth[rule] = std::max(depth[rule], depth[other] + 1);
      } else {
        seen[other] = 1;
        path.emplace_back(other, 0);
      }
    }
    const std::size_t longest = depth[0];
    if (longest > kMostAtOnce)
      fail(ErrorCode::limit, "{}: more than {} rules within each other", budget_.what(), kMostAtOnce);
    const std::size_t levels = (kMostNesting * longest + kMostAtOnce - 1) / kMostAtOnce;
    for (std::size_t i = 0; i < rules.size(); ++i)
      if (ring[i]) rules[i].levels = static_cast<std::uint8_t>(std::min(levels, kMostNesting));
  }

  Budget budget_;
  Gbnf tree_;
  Uses uses_;
  std::vector<const Dfa*> small_;  // by rule: what is copied instead of called
};

}  // namespace

GrammarRules compile_gbnf(std::string_view text, std::string_view what) { return Compiler(text, what).run(); }

}  // namespace tap::grammar
