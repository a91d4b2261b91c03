#include "text/grammar/call_grammar.h"

#include "text/grammar/regex.h"
#include "text/grammar/schema.h"

namespace tap::grammar {

namespace {

// Any text that does not hold `mark`.
Dfa text_without(std::string_view mark, Budget& budget) {
  Nfa any(budget), holding(budget);
  State loop = any.add(), end = any.add();
  any.codes(loop, CodeSet::all(), loop);
  any.empty(loop, end);
  const Dfa all = determinize(any, loop, end);
  loop = holding.add();
  const State after = holding.add();
  end = holding.add();
  holding.bytes(loop, 0, 255, loop);
  holding.literal(loop, mark, after);
  holding.bytes(after, 0, 255, after);
  holding.empty(after, end);
  return product(all, determinize(holding, loop, end), true, budget);
}

// Adds rules that call each other; gives the number of their first.
Rule append(GrammarRules& rules, GrammarRules more) {
  const auto base = static_cast<Rule>(rules.size());
  for (RuleAutomaton& rule : more) {
    for (Dfa::Call& call : rule.dfa.calls) call.rule += base;
    rules.push_back(std::move(rule));
  }
  return base;
}

}  // namespace

GrammarRules compile_calls(const CallGrammar& calls) {
  Budget budget("tools");
  GrammarRules rules(1);  // the first is built last
  Nfa nfa(budget);
  const State from = nfa.add(), section = nfa.add(), first = nfa.add(), after = nfa.add(), to = nfa.add();
  nfa.literal(section, calls.section_begin, first);
  for (const CallGrammar::Call& call : calls.calls) {
    const Rule body = append(rules, compile_schema(call.schema, call.what, &budget));
    const State before = nfa.add(), behind = nfa.add();
    nfa.literals(first, call.begins, before);
    nfa.call(before, body, behind);
    nfa.literal(behind, call.end, after);
  }
  if (calls.many) nfa.literal(after, calls.between, first);
  nfa.literal(after, calls.section_end, to);
  if (calls.required) {
    nfa.empty(from, section);
  } else if (calls.content) {
    nfa.empty(from, section);
    nfa.call(from, append(rules, *calls.content), to);
  } else {
    const State text = nfa.add();
    splice(nfa, from, text_without(calls.mark, budget), text);
    nfa.empty(text, section);
    nfa.empty(text, to);
  }
  rules[0].dfa = determinize(nfa, from, to);
  return rules;
}

}  // namespace tap::grammar
