// JSON Schemas of constrained answers: they compile or are refused, within the budget of steps.
#include "fuzz.h"
#include "text/grammar/grammar.h"

namespace {

using namespace tap;

void run(fuzz::Bytes bytes) {
  const auto grammar = Grammar::from_schema(fuzz::text_of(bytes), "schema.json");
  if (!grammar) fuzz::require_readable(grammar.error());
}

const fuzz::FuzzTarget target("schema", run);

}  // namespace
