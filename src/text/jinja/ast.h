// The syntax tree of a template. Immutable after parsing; names are views into strings that the tree owns.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace tap::jinja {

constexpr int max_syntax_depth = 64;   // blocks and brackets within each other, as the parser descends
constexpr int max_postfix_chain = 64;  // a.b.c(...)[0]|f|g

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

enum class Op : std::uint8_t { add, sub, mul, div, floordiv, mod, pow, eq, ne, lt, le, gt, ge, in, not_in };

struct Arguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr star, star_star;  // *args, **kwargs
};

struct Expression {
  enum class Type : std::uint8_t {
    constant,     // value
    name,         // name
    attribute,    // items[0].name
    item,         // items[0][items[1]]
    slice,        // items[0][items[1]:items[2]:items[3]], each bound may be null
    call,         // items[0](arguments)
    filter,       // items[0]|name(arguments); items[0] is null in a filter block
    test,         // items[0] is name(arguments)
    list, tuple,  // items
    dict,         // items: key, value, key, value
    binary,       // items[0] ops[0] items[1] ops[1] items[2], from left to right
    compare,      // items and ops, chained as in Python
    concat,       // items joined by ~
    logic_and, logic_or,  // items
    logic_not, negate, plus,  // items[0]
    condition,    // items[1] if items[0] else items[2], which may be null
    namespace_attribute,  // target only: name.attribute
  };
  Type type;
  int line = 0;
  std::string name, attribute;
  Value value;
  std::vector<ExpressionPtr> items;
  std::vector<Op> ops;
  std::unique_ptr<Arguments> arguments;
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

struct Parameter {
  std::string name;
  ExpressionPtr fallback;  // may be null
};

struct MacroDefinition {
  std::string name;
  std::vector<Parameter> parameters;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
  Body* body = nullptr;
};

struct Statement {
  enum class Type : std::uint8_t {
    text,       // text
    output,     // expressions
    assign,     // target = value
    assign_block,  // target = body, through filter value (may be null)
    branch,     // branches: test and body; the last test may be null
    loop,       // for target in value if test: body; otherwise
    with,       // targets, expressions, body
    macro,      // macro
    call_block, // value is the call, macro the caller
    filter_block,  // value is the filter, body
    scope,      // body in a scope of its own (block, generation)
    loop_break, loop_continue,
  };
  Type type;
  int line = 0;
  Value text;  // made once, shared by all renderings
  ExpressionPtr target, value, test;
  std::vector<ExpressionPtr> targets, expressions;
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  Body body, otherwise;
  bool recursive = false;
  std::unique_ptr<MacroDefinition> macro;
};

struct Template {
  Body body;
  std::vector<std::string> mentions;  // names, attributes and constant keys the template reads, sorted
};

// Throws tap::Error (bad_input): "what: line 3: ...".
Template parse_template(std::string_view source, std::string_view what);

bool filter_exists(std::string_view name);
bool test_exists(std::string_view name);

}  // namespace tap::jinja
