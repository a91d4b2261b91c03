// The tests behind "is", and dispatch of filters and tests by name.
#include <algorithm>
#include <cmath>

#include "text/jinja/filters.h"

namespace tap::jinja {

namespace {

constexpr std::string_view test_names[] = {
    "odd",     "even",   "divisibleby", "defined",  "undefined", "filter", "test",    "none",
    "boolean", "false",  "true",        "integer",  "float",     "lower",  "upper",   "string",
    "mapping", "number", "sequence",    "iterable", "callable",  "sameas", "escaped", "in",
    "==",      "eq",     "equalto",     "!=",       "ne",        ">",      "gt",      "greaterthan",
    "ge",      ">=",     "<",           "lt",       "lessthan",  "<=",     "le"};

bool is_callable(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::macro:
    case Kind::method:
    case Kind::function:
    case Kind::loop:
    case Kind::joiner: return true;
    default: return false;
  }
}

bool is_case(Interpreter& in, const Value& input, std::string_view method) {
  Call none;
  return truth(call_text_method(in, in.text(in.str(input)), method, none));
}

bool compares(Interpreter& in, std::string_view name, const Value& a, const Value& b) {
  if (name == "==" || name == "eq" || name == "equalto") return in.equal(a, b);
  if (name == "!=" || name == "ne") return !in.equal(a, b);
  if (name == ">" || name == "gt" || name == "greaterthan") return in.order(a, b, ">") == 1;
  if (name == "<" || name == "lt" || name == "lessthan") return in.order(a, b, "<") == -1;
  const bool less = name == "<=" || name == "le";
  const int sign = in.order(a, b, less ? "<=" : ">=");
  return sign == 0 || sign == (less ? -1 : 1);
}

}  // namespace

bool filter_exists(std::string_view name) { return find_text_filter(name) || find_sequence_filter(name); }
bool test_exists(std::string_view name) {
  return std::find(std::begin(test_names), std::end(test_names), name) != std::end(test_names);
}

Value Interpreter::call_filter(std::string_view name, const Value& input, Call& arguments) {
  step();
  FilterFunction filter = find_text_filter(name);
  if (!filter) filter = find_sequence_filter(name);
  if (!filter) raise("No filter named '{}'.", name);
  return filter(*this, input, arguments);
}

bool Interpreter::call_test(std::string_view name, const Value& input, Call& call) {
  step();
  if (!test_exists(name)) raise("No test named '{}'.", name);
  const auto argument = [&](std::string_view parameter) { return Bound(name, call, {parameter}, 1)[0]; };
  if (name == "divisibleby")
    return truth(Value::boolean(equal(binary(Op::mod, input, argument("num")), Value::integer(0))));
  if (name == "sameas") return identical(input, argument("other"));
  if (name == "in") return contains(argument("seq"), input);
  const bool comparison = std::find(std::begin(test_names), std::end(test_names), name) >=
                          std::find(std::begin(test_names), std::end(test_names), "==");
  if (comparison) return compares(*this, name, input, argument("other"));

  const Bound none(name, call, {});
  if (name == "odd") return equal(binary(Op::mod, input, Value::integer(2)), Value::integer(1));
  if (name == "even") return equal(binary(Op::mod, input, Value::integer(2)), Value::integer(0));
  if (name == "defined") return !input.is_undefined();
  if (name == "undefined") return input.is_undefined();
  if (name == "filter") return input.is_text() && filter_exists(input.text().view());
  if (name == "test") return input.is_text() && test_exists(input.text().view());
  if (name == "none") return input.is_none();
  if (name == "boolean") return input.is(Kind::boolean);
  if (name == "false") return input.is(Kind::boolean) && !input.as_bool();
  if (name == "true") return input.is(Kind::boolean) && input.as_bool();
  if (name == "integer") return input.is(Kind::integer);
  if (name == "float") return input.is(Kind::real);
  if (name == "number") return input.is_number();
  if (name == "string") return input.is_text();
  if (name == "mapping") return input.is_dict();
  if (name == "iterable") return Iteration::over(input).has_value() || input.is(Kind::loop);
  if (name == "sequence")
    return input.is_text() || input.is_sequence() || input.is_dict() || input.is(Kind::range) || input.is_undefined();
  if (name == "callable") return is_callable(input);
  if (name == "escaped") return input.is_text() && input.text().markup;
  return is_case(*this, input, name == "lower" ? "islower" : "isupper");
}

}  // namespace tap::jinja
