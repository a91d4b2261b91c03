// Filters and tests by name. A filter gets its input and evaluated arguments; the tables are the whole list.
#pragma once

#include <string_view>

#include "text/jinja/interpreter.h"

namespace tap::jinja {

using FilterFunction = Value (*)(Interpreter&, const Value&, Call&);
struct NamedFilter {
  std::string_view name;
  FilterFunction function;
};

FilterFunction find_text_filter(std::string_view name);
FilterFunction find_sequence_filter(std::string_view name);

}  // namespace tap::jinja
