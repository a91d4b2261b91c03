#include <algorithm>

#include "text/jinja/parser.h"

namespace tap::jinja {

ExpressionPtr Parser::make(Type type, int line) const {
  auto out = std::make_unique<Expression>();
  out->type = type;
  out->line = line;
  return out;
}

ExpressionPtr Parser::make_over(Type type, int line, ExpressionPtr operand) const {
  ExpressionPtr out = make(type, line);
  out->items.push_back(std::move(operand));
  return out;
}

void Parser::note_filter(const std::string& name, bool is_filter) {
  if (in_branch_ || (is_filter ? filter_exists(name) : test_exists(name))) return;
  unknown_.push_back({now().line, fmt::format("no {} named '{}'", is_filter ? "filter" : "test", name)});
}

ExpressionPtr Parser::parse_expression(bool with_condition) {
  const Level level(*this);
  if (!with_condition) return parse_or();
  const int line = now().line;
  const std::size_t unknown = unknown_.size();
  ExpressionPtr value = parse_or();
  for (int links = 0; skip_name("if"); ++links) {
    if (links > max_postfix_chain) fail("too many inline ifs in a row");
    ExpressionPtr condition = make(Type::condition, line);
    condition->items.push_back(parse_or());
    condition->items.push_back(std::move(value));
    condition->items.push_back(skip_name("else") ? parse_expression() : nullptr);
    value = std::move(condition);
    unknown_.resize(unknown);
  }
  return value;
}

ExpressionPtr Parser::parse_or() {
  const int line = now().line;
  ExpressionPtr left = parse_and();
  if (!is_name("or")) return left;
  ExpressionPtr out = make_over(Type::logic_or, line, std::move(left));
  while (skip_name("or")) out->items.push_back(parse_and());
  return out;
}

ExpressionPtr Parser::parse_and() {
  const int line = now().line;
  ExpressionPtr left = parse_not();
  if (!is_name("and")) return left;
  ExpressionPtr out = make_over(Type::logic_and, line, std::move(left));
  while (skip_name("and")) out->items.push_back(parse_not());
  return out;
}

ExpressionPtr Parser::parse_not() {
  if (!is_name("not")) return parse_compare();
  const Level level(*this);
  const int line = now().line;
  next();
  return make_over(Type::logic_not, line, parse_not());
}

ExpressionPtr Parser::parse_compare() {
  const int line = now().line;
  ExpressionPtr left = parse_sum();
  ExpressionPtr out;
  while (true) {
    Op op;
    if (skip_op("==")) op = Op::eq;
    else if (skip_op("!=")) op = Op::ne;
    else if (skip_op("<")) op = Op::lt;
    else if (skip_op("<=")) op = Op::le;
    else if (skip_op(">")) op = Op::gt;
    else if (skip_op(">=")) op = Op::ge;
    else if (skip_name("in")) op = Op::in;
    else if (is_name("not") && ahead().type == TokenType::name && ahead().text == "in") {
      next(), next();
      op = Op::not_in;
    } else {
      return out ? std::move(out) : std::move(left);
    }
    if (!out) out = make_over(Type::compare, line, std::move(left));
    out->ops.push_back(op);
    out->items.push_back(parse_sum());
  }
}

template <class Next>
ExpressionPtr Parser::parse_chain(Type type, Stop ops, Next next_operand) {
  const int line = now().line;
  ExpressionPtr left = next_operand();
  ExpressionPtr out;
  while (is(TokenType::op) && std::find(ops.begin(), ops.end(), now().text) != ops.end()) {
    const std::string& text = now().text;
    const Op op = text == "+" ? Op::add : text == "-" ? Op::sub : text == "*" ? Op::mul : text == "/" ? Op::div
                : text == "//" ? Op::floordiv : text == "%" ? Op::mod : Op::pow;
    next();
    if (!out) out = make_over(type, line, std::move(left));
    out->ops.push_back(op);
    out->items.push_back(next_operand());
  }
  return out ? std::move(out) : std::move(left);
}

ExpressionPtr Parser::parse_sum() {
  return parse_chain(Type::binary, {"+", "-"}, [&] { return parse_concat(); });
}

ExpressionPtr Parser::parse_concat() {
  return parse_chain(Type::concat, {"~"}, [&] { return parse_product(); });
}

ExpressionPtr Parser::parse_product() {
  return parse_chain(Type::binary, {"*", "/", "//", "%"}, [&] { return parse_power(); });
}

// From the left, unlike Python: 2**3**2 is 64.
ExpressionPtr Parser::parse_power() {
  return parse_chain(Type::binary, {"**"}, [&] { return parse_unary(true); });
}

ExpressionPtr Parser::parse_unary(bool with_filter) {
  const int line = now().line;
  ExpressionPtr node;
  if (is_op("-") || is_op("+")) {
    const Level level(*this);
    const Type type = is_op("-") ? Type::negate : Type::plus;
    next();
    node = make_over(type, line, parse_unary(false));
  } else {
    node = parse_primary();
  }
  return parse_postfix(std::move(node), with_filter);
}

ExpressionPtr Parser::parse_primary(bool with_namespace) {
  const int line = now().line;
  ExpressionPtr node = make(Type::constant, line);
  if (is(TokenType::name)) {
    const std::string name = take_name();
    if (name == "true" || name == "True" || name == "false" || name == "False") {
      node->value = Value::boolean(name == "true" || name == "True");
    } else if (name == "none" || name == "None") {
      node->value = Value::none();
    } else if (with_namespace && skip_op(".")) {
      node->type = Type::namespace_attribute;
      node->name = name;
      node->attribute = take_name();
    } else {
      node->type = Type::name;
      node->name = name;
      mentions_.insert(name);
      for (MacroDefinition* macro : macros_) {
        macro->uses_caller |= name == "caller";
        macro->uses_varargs |= name == "varargs";
        macro->uses_kwargs |= name == "kwargs";
      }
    }
  } else if (is(TokenType::string)) {
    std::string text;
    for (; is(TokenType::string); next()) text += now().text;
    mentions_.insert(text);
    node->value = make_text(nullptr, Text(std::move(text), true));
  } else if (is(TokenType::integer)) {
    node->value = Value::integer(now().integer);
    next();
  } else if (is(TokenType::real)) {
    node->value = Value::real(now().real);
    next();
  } else if (is_op("(")) {
    next();
    const Level level(*this);
    node = parse_tuple(false, true, {}, true, false);
    expect_op(")");
  } else if (is_op("[")) {
    return parse_list();
  } else if (is_op("{")) {
    return parse_dict();
  } else {
    fail(fmt::format("unexpected {}", describe()));
  }
  return node;
}

ExpressionPtr Parser::parse_tuple(bool simplified, bool with_condition, Stop ends, bool explicit_parentheses,
                                  bool with_namespace) {
  const int line = now().line;
  const auto ended = [&] {
    return is(TokenType::variable_end) || is(TokenType::block_end) || is_op(")") || is_any_name(ends);
  };
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) expect_op(",");
    if (ended()) break;
    items.push_back(simplified ? parse_primary(with_namespace) : parse_expression(with_condition));
    if (!is_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items.front());
  if (!is_tuple && !explicit_parentheses) fail(fmt::format("expected an expression, got {}", describe()));
  ExpressionPtr out = make(Type::tuple, line);
  out->items = std::move(items);
  return out;
}

ExpressionPtr Parser::parse_list() {
  ExpressionPtr out = make(Type::list, now().line);
  expect_op("[");
  while (!is_op("]")) {
    if (!out->items.empty()) expect_op(",");
    if (is_op("]")) break;
    out->items.push_back(parse_expression());
  }
  expect_op("]");
  return out;
}

ExpressionPtr Parser::parse_dict() {
  ExpressionPtr out = make(Type::dict, now().line);
  expect_op("{");
  while (!is_op("}")) {
    if (!out->items.empty()) expect_op(",");
    if (is_op("}")) break;
    out->items.push_back(parse_expression());
    expect_op(":");
    out->items.push_back(parse_expression());
  }
  expect_op("}");
  return out;
}

ExpressionPtr Parser::parse_postfix(ExpressionPtr node, bool with_filter) {
  bool filters = false;  // after the first filter or test a dot no longer binds
  for (int links = 0;; ++links) {
    if (links > max_postfix_chain)
      fail(fmt::format("more than {} attributes, calls and filters in a row", max_postfix_chain));
    if (!filters && is_op(".")) node = parse_subscript(std::move(node));
    else if (!filters && is_op("[")) node = parse_subscript_index(std::move(node));
    else if (is_op("(")) node = parse_call(std::move(node));
    else if (with_filter && is_op("|")) {
      next();
      node = parse_filter(std::move(node));
      filters = true;
    } else if (with_filter && is_name("is")) {
      node = parse_test(std::move(node));
      filters = true;
    } else {
      return node;
    }
  }
}

ExpressionPtr Parser::parse_subscript(ExpressionPtr node) {
  const int line = now().line;
  next();
  if (is(TokenType::name)) {
    ExpressionPtr out = make_over(Type::attribute, line, std::move(node));
    out->name = take_name();
    mentions_.insert(out->name);
    return out;
  }
  if (!is(TokenType::integer)) fail("expected name or number");
  ExpressionPtr out = make_over(Type::item, line, std::move(node));
  out->items.push_back(make(Type::constant, line));
  out->items.back()->value = Value::integer(now().integer);
  next();
  return out;
}

ExpressionPtr Parser::parse_subscript_index(ExpressionPtr node) {
  const int line = now().line;
  next();
  ExpressionPtr first;
  if (!is_op(":")) first = parse_expression();
  if (!is_op(":")) {
    ExpressionPtr out = make_over(Type::item, line, std::move(node));
    if (is_op(",")) {  // a[1, 2]: a tuple as key
      ExpressionPtr tuple = make_over(Type::tuple, line, std::move(first));
      while (skip_op(",")) tuple->items.push_back(parse_expression());
      first = std::move(tuple);
    }
    out->items.push_back(std::move(first));
    expect_op("]");
    return out;
  }
  ExpressionPtr out = make_over(Type::slice, line, std::move(node));
  out->items.push_back(std::move(first));
  for (int bound = 0; bound < 2; ++bound) {
    const bool colon = skip_op(":");
    out->items.push_back(colon && !is_op(":") && !is_op("]") ? parse_expression() : nullptr);
  }
  expect_op("]");
  return out;
}

ExpressionPtr Parser::parse_filter(ExpressionPtr node) {
  ExpressionPtr out = make_over(Type::filter, now().line, std::move(node));
  out->name = take_name();
  while (skip_op(".")) out->name += "." + take_name();
  note_filter(out->name, true);
  out->arguments = is_op("(") ? parse_arguments() : std::make_unique<Arguments>();
  return out;
}

ExpressionPtr Parser::parse_filters(ExpressionPtr node) {
  for (int links = 0; skip_op("|"); ++links) {
    if (links > max_postfix_chain) fail(fmt::format("more than {} filters in a row", max_postfix_chain));
    node = parse_filter(std::move(node));
  }
  return node;
}

ExpressionPtr Parser::parse_test(ExpressionPtr node) {
  const int line = now().line;
  next();
  const bool negated = skip_name("not");
  ExpressionPtr out = make_over(Type::test, line, std::move(node));
  out->name = take_name();
  while (skip_op(".")) out->name += "." + take_name();
  note_filter(out->name, false);
  const bool argument = is(TokenType::name) || is(TokenType::string) || is(TokenType::integer) || is(TokenType::real) ||
                        is_op("[") || is_op("{");
  if (is_op("(")) {
    out->arguments = parse_arguments();
  } else {
    out->arguments = std::make_unique<Arguments>();
    if (argument && !is_any_name({"else", "or", "and"})) {
      if (is_name("is")) fail("you cannot chain multiple tests with is");
      const Level level(*this);
      out->arguments->positional.push_back(parse_postfix(parse_primary(), false));
    }
  }
  return negated ? make_over(Type::logic_not, line, std::move(out)) : std::move(out);
}

ExpressionPtr Parser::parse_call(ExpressionPtr node) {
  ExpressionPtr out = make_over(Type::call, now().line, std::move(node));
  out->arguments = parse_arguments();
  return out;
}

std::unique_ptr<Arguments> Parser::parse_arguments() {
  auto out = std::make_unique<Arguments>();
  expect_op("(");
  bool comma = false;
  const auto ensure = [&](bool good) {
    if (!good) fail("invalid syntax for function call expression");
  };
  while (!is_op(")")) {
    if (comma) {
      expect_op(",");
      if (is_op(")")) break;
    }
    comma = true;
    if (skip_op("*")) {
      ensure(!out->star && !out->star_star);
      out->star = parse_expression();
    } else if (skip_op("**")) {
      ensure(!out->star_star);
      out->star_star = parse_expression();
    } else if (is(TokenType::name) && ahead().type == TokenType::op && ahead().text == "=") {
      ensure(!out->star_star);
      std::string name = take_name();
      next();
      out->named.emplace_back(std::move(name), parse_expression());
    } else {
      ensure(!out->star && !out->star_star && out->named.empty());
      out->positional.push_back(parse_expression());
    }
  }
  expect_op(")");
  return out;
}

}  // namespace tap::jinja
