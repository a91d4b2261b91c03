// GBNF grammars of constrained answers: they compile or are refused, within the budget of steps.
#include "fuzz.h"
#include "text/grammar/grammar.h"

namespace {

using namespace tap;

void run(fuzz::Bytes bytes) {
  const auto grammar = Grammar::from_gbnf(fuzz::text_of(bytes), "grammar.gbnf");
  if (!grammar) return fuzz::require_readable(grammar.error());
  // What may be written next leads somewhere: a text that goes on can end.
  GrammarState state(*grammar);
  for (int i = 0; i < 64 && state.can_go_on(); ++i) {
    bool stepped = false;
    for (int byte = 0; byte < 256 && !stepped; ++byte) {
      const char c = static_cast<char>(byte);
      stepped = state.advance({&c, 1});
    }
    fuzz::require(stepped, "a byte may follow where the grammar says so");
  }
}

const fuzz::FuzzTarget target("gbnf", run);

}  // namespace
