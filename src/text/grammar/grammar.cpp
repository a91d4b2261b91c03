#include "text/grammar/grammar.h"

#include <algorithm>

#include "text/grammar/gbnf.h"
#include "text/grammar/regex.h"
#include "text/grammar/schema.h"
#include "text/tokenizer_unicode.h"

namespace tap {

using grammar::Budget;
using grammar::Dfa;
using grammar::kMostNesting;

namespace {

constexpr std::size_t kMostChoices = 10'000, kMostChoiceBytes = 64 << 10;

template <class Make>
Result<GrammarPtr> as_result(Make&& make) {
  try {
    return make();
  } catch (const Error& error) {
    return error;
  }
}

}  // namespace

grammar::GrammarRules grammar::choice_rules(std::span<const std::string> choices) {
  if (choices.empty() || choices.size() > kMostChoices)
    fail(ErrorCode::bad_input, "choices: got {}, wanted 1 to {}", choices.size(), kMostChoices);
  std::size_t bytes = 0;
  for (const std::string& choice : choices) {
    if (choice.empty()) fail(ErrorCode::bad_input, "choices: one of them is empty");
    if (!uni::is_valid_utf8(choice)) fail(ErrorCode::bad_input, "choices: {} is not UTF-8", uni::quoted(choice));
    if ((bytes += choice.size()) > kMostChoiceBytes)
      fail(ErrorCode::limit, "choices: more than {} bytes in all", kMostChoiceBytes);
  }
  Budget budget("choices");
  Nfa nfa(budget);
  const State from = nfa.add(), to = nfa.add();
  nfa.literals(from, choices, to);
  return {{determinize(nfa, from, to)}};
}

grammar::GrammarRules grammar::regex_rules(std::string_view pattern) {
  Budget budget("regex");
  return {{compile_regex(pattern, Match::whole, Encoding::utf8, budget)}};
}

Result<GrammarPtr> Grammar::from_choices(std::span<const std::string> choices) {
  return as_result([&] { return join(grammar::choice_rules(choices), "choices"); });
}

Result<GrammarPtr> Grammar::from_regex(std::string_view pattern) {
  return as_result([&] { return join(grammar::regex_rules(pattern), "regex"); });
}

Result<GrammarPtr> Grammar::from_schema(std::string_view text, std::string_view what) {
  return as_result([&] { return join(grammar::compile_schema(text, what), what); });
}

Result<GrammarPtr> Grammar::from_gbnf(std::string_view text, std::string_view what) {
  return as_result([&] { return join(grammar::compile_gbnf(text, what), what); });
}

GrammarPtr Grammar::join(std::span<const grammar::RuleAutomaton> rules, std::string_view what) {
  auto made = std::make_shared<Grammar>();
  for (const grammar::RuleAutomaton& rule : rules) {
    const auto base = static_cast<State>(made->size());
    made->rule_starts_.push_back(base);
    made->rule_levels_.push_back(rule.levels);
    for (State s = 0; s < rule.dfa.size(); ++s) {
      for (const Dfa::Edge& edge : rule.dfa.edges_of(s)) made->edges_.push_back({edge.low, edge.high, base + edge.to});
      for (const Dfa::Call& call : rule.dfa.calls_of(s)) made->calls_.push_back({call.rule, base + call.to});
      made->first_edge_.push_back(static_cast<std::uint32_t>(made->edges_.size()));
      made->first_call_.push_back(static_cast<std::uint32_t>(made->calls_.size()));
      made->accepting_.push_back(rule.dfa.accepting[s]);
    }
  }
  made->find_needed();
  if (made->levels_needed(made->start()) > kMostNesting)
    fail(ErrorCode::bad_input, "{}: no answer can satisfy it", what);
  made->cut_dead();
  return made;
}

GrammarPtr Grammar::restricted_to(const std::bitset<256>& bytes) const {
  auto made = std::make_shared<Grammar>(*this);
  made->edges_.clear();
  for (State s = 0; s < size(); ++s) {
    for (const Dfa::Edge& edge : edges_of(s))
      for (unsigned low = edge.low; low <= edge.high; ++low) {
        if (!bytes[low]) continue;
        unsigned high = low;
        while (high < edge.high && bytes[high + 1]) ++high;
        made->edges_.push_back({static_cast<std::uint8_t>(low), static_cast<std::uint8_t>(high), edge.to});
        low = high;
      }
    made->first_edge_[s + 1] = static_cast<std::uint32_t>(made->edges_.size());
  }
  made->find_needed();
  if (made->levels_needed(made->start()) > kMostNesting)
    fail(ErrorCode::unsupported, "the model's vocabulary has no tokens for the bytes that every allowed answer needs");
  made->cut_dead();
  return made;
}

// A shortest-path problem where the length of a path is its largest edge: repeated relaxation along reversed edges.
void Grammar::find_needed() {
  needed_.assign(size(), kNever);
  std::vector<std::uint32_t> count(size() + 1, 0);
  std::vector<std::vector<State>> callers(rule_starts_.size());
  for (State s = 0; s < size(); ++s) {
    for (const Dfa::Edge& edge : edges_of(s)) ++count[edge.to + 1];
    for (const Dfa::Call& call : calls_of(s)) {
      ++count[call.to + 1];
      callers[call.rule].push_back(s);
    }
  }
  for (std::size_t s = 0; s < size(); ++s) count[s + 1] += count[s];
  std::vector<State> before(count.back());
  std::vector<std::uint32_t> place(count.begin(), count.end() - 1);
  std::vector<State> todo;
  for (State s = 0; s < size(); ++s) {
    for (const Dfa::Edge& edge : edges_of(s)) before[place[edge.to]++] = s;
    for (const Dfa::Call& call : calls_of(s)) before[place[call.to]++] = s;
    if (accepting_[s]) {
      needed_[s] = 0;
      todo.push_back(s);
    }
  }
  std::vector<std::vector<grammar::Rule>> rules_at(size());
  for (grammar::Rule rule = 0; rule < rule_starts_.size(); ++rule) rules_at[rule_starts_[rule]].push_back(rule);
  const auto relax = [&](State s) {
    std::uint8_t least = needed_[s];
    for (const Dfa::Edge& edge : edges_of(s)) least = std::min(least, needed_[edge.to]);
    for (const Dfa::Call& call : calls_of(s)) {
      const unsigned inside = needed_[rule_starts_[call.rule]];
      if (inside == kNever || needed_[call.to] == kNever) continue;
      const unsigned levels = std::max<unsigned>(inside + rule_levels_[call.rule], needed_[call.to]);
      least = std::min(least, static_cast<std::uint8_t>(std::min<unsigned>(levels, kNever)));
    }
    if (least < needed_[s]) {
      needed_[s] = least;
      todo.push_back(s);
    }
  };
  while (!todo.empty()) {
    const State s = todo.back();
    todo.pop_back();
    for (std::uint32_t i = count[s]; i < count[s + 1]; ++i) relax(before[i]);
    for (const grammar::Rule rule : rules_at[s])
      for (const State caller : callers[rule]) relax(caller);
  }
}

void Grammar::cut_dead() {
  const auto alive = [&](State s) { return needed_[s] <= kMostNesting; };
  std::vector<Dfa::Edge> edges;
  std::vector<Dfa::Call> calls;
  std::vector<std::uint32_t> first_edge{0}, first_call{0};
  for (State s = 0; s < size(); ++s) {
    for (const Dfa::Edge& edge : edges_of(s))
      if (alive(edge.to)) edges.push_back(edge);
    for (const Dfa::Call& call : calls_of(s))
      if (alive(call.to) && alive(rule_starts_[call.rule])) calls.push_back(call);
    first_edge.push_back(static_cast<std::uint32_t>(edges.size()));
    first_call.push_back(static_cast<std::uint32_t>(calls.size()));
  }
  edges_ = std::move(edges);
  calls_ = std::move(calls);
  first_edge_ = std::move(first_edge);
  first_call_ = std::move(first_call);
}

std::uint32_t GrammarStacks::push(std::uint32_t parent, grammar::State back, std::uint32_t levels) {
  for (std::uint32_t child = frames_[parent].child; child != 0; child = frames_[child].sibling)
    if (frames_[child].back == back && frames_[child].levels == levels) return child;
  const auto fresh = static_cast<std::uint32_t>(frames_.size());
  frames_.push_back({back, parent, 0, frames_[parent].child, levels});
  frames_[parent].child = fresh;
  return fresh;
}

void add_thread(const Grammar& grammar, GrammarStacks& stacks, GrammarThread thread, GrammarThreads& out) {
  const std::uint32_t levels = stacks[thread.frame].levels;
  out.most_levels = std::max(out.most_levels, levels + grammar.levels_needed(thread.state));
  // Without a way to end within the limit on nesting this thread would be a dead end.
  if (levels + grammar.levels_needed(thread.state) > kMostNesting) return;
  if (std::ranges::find(out.list, thread) != out.list.end() || out.list.size() >= GrammarThreads::kMost) return;
  out.list.push_back(thread);
  for (const Dfa::Call& call : grammar.calls_of(thread.state)) {
    const std::uint32_t inside = levels + grammar.levels_of(call.rule);
    if (levels + grammar.levels_needed(call.to) > kMostNesting) continue;
    const std::uint32_t frame = stacks.push(thread.frame, call.to, inside);
    add_thread(grammar, stacks, {grammar.start_of(call.rule), frame}, out);
  }
  if (!grammar.accepts(thread.state)) return;
  if (thread.frame == 0)
    out.at_end = true;
  else
    add_thread(grammar, stacks, {stacks[thread.frame].back, stacks[thread.frame].parent}, out);
}

void step_threads(const Grammar& grammar, GrammarStacks& stacks, const GrammarThreads& from, unsigned char byte,
                  GrammarThreads& out) {
  out.clear();
  for (const GrammarThread& thread : from.list)
    for (const Dfa::Edge& edge : grammar.edges_of(thread.state)) {
      if (byte < edge.low) break;
      if (byte > edge.high) continue;
      add_thread(grammar, stacks, {edge.to, thread.frame}, out);
      break;
    }
}

GrammarState::GrammarState(GrammarPtr grammar) : grammar_(std::move(grammar)) {
  add_thread(*grammar_, stacks_, {grammar_->start(), 0}, threads_);
}

bool GrammarState::advance(std::string_view bytes) {
  GrammarThreads at = threads_;
  for (const char c : bytes) {
    step_threads(*grammar_, stacks_, at, static_cast<unsigned char>(c), next_);
    if (next_.list.empty()) return false;
    std::swap(at, next_);
  }
  threads_ = std::move(at);
  return true;
}

bool GrammarState::can_go_on() const {
  return std::ranges::any_of(threads_.list,
                             [&](const GrammarThread& thread) { return !grammar_->edges_of(thread.state).empty(); });
}

}  // namespace tap
