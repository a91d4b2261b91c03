#include "text/jinja/parser.h"

#include <algorithm>

namespace tap::jinja {

Parser::Level::Level(Parser& parser) : parser_(parser) {
  if (parser.depth_ >= max_syntax_depth) parser.fail(fmt::format("nested more than {} deep", max_syntax_depth));
  ++parser.depth_;
}

bool Parser::is_any_name(Stop names) const {
  return is(TokenType::name) && std::find(names.begin(), names.end(), now().text) != names.end();
}

bool Parser::skip_op(std::string_view text) {
  if (!is_op(text)) return false;
  next();
  return true;
}

bool Parser::skip_name(std::string_view text) {
  if (!is_name(text)) return false;
  next();
  return true;
}

void Parser::expect_op(std::string_view text) {
  if (!skip_op(text)) fail(fmt::format("expected token '{}', got {}", text, describe()));
}

void Parser::expect_name(std::string_view text) {
  if (!skip_name(text)) fail(fmt::format("expected token '{}', got {}", text, describe()));
}

void Parser::expect(TokenType type, std::string_view words) {
  if (!is(type)) fail(fmt::format("expected {}, got {}", words, describe()));
  next();
}

std::string Parser::take_name() {
  if (!is(TokenType::name)) fail(fmt::format("expected a name, got {}", describe()));
  std::string name = now().text;
  next();
  return name;
}

std::string Parser::describe() const {
  switch (now().type) {
    case TokenType::data: return "template text";
    case TokenType::variable_begin: return "'{{'";
    case TokenType::variable_end: return "'}}'";
    case TokenType::block_begin: return "'{%'";
    case TokenType::block_end: return "'%}'";
    case TokenType::name:
    case TokenType::op: return fmt::format("'{}'", now().text);
    case TokenType::string: return "a string";
    case TokenType::integer: return fmt::format("{}", now().integer);
    case TokenType::real: return fmt::format("{}", now().real);
    case TokenType::end: return "the end of the template";
  }
  return {};
}

Template Parser::parse() {
  Template out;
  parse_until(out.body, {});
  if (!unknown_.empty()) throw unknown_.front();
  out.mentions.assign(mentions_.begin(), mentions_.end());
  return out;
}

void Parser::parse_until(Body& body, Stop ends) {
  const Level level(*this);
  while (!is(TokenType::end)) {
    const int line = now().line;
    if (is(TokenType::data)) {
      auto text = std::make_unique<Statement>(
          Statement{Statement::Type::text, line, {}, {}, {}, {}, {}, {}, {}, {}, {}, false, {}});
      text->text = make_text(nullptr, Text(now().text, true));
      body.push_back(std::move(text));
      next();
    } else if (is(TokenType::variable_begin)) {
      next();
      auto output = std::make_unique<Statement>();
      output->type = Statement::Type::output;
      output->line = line;
      output->expressions.push_back(parse_any_tuple());
      body.push_back(std::move(output));
      expect(TokenType::variable_end, "'}}'");
    } else {
      expect(TokenType::block_begin, "'{%'");
      if (is_any_name(ends)) return;
      body.push_back(parse_statement());
      expect(TokenType::block_end, "'%}'");
    }
  }
  if (ends.size() > 0) fail(fmt::format("unexpected end of the template: '{}' is missing", *ends.begin()));
}

void Parser::parse_body(Body& body, Stop ends) {
  skip_op(":");
  expect(TokenType::block_end, "'%}'");
  parse_until(body, ends);
}

void Parser::parse_closed_body(Body& body, std::string_view end) {
  const bool outer = std::exchange(in_branch_, false);
  parse_body(body, {end});
  in_branch_ = outer;
  next();
}

std::unique_ptr<Statement> Parser::parse_statement() {
  auto out = std::make_unique<Statement>();
  out->line = now().line;
  const std::string tag = is(TokenType::name) ? now().text : std::string();
  if (tag.empty()) fail(fmt::format("tag name expected, got {}", describe()));
  const auto simple = [&](Statement::Type type) {
    next();
    out->type = type;
  };
  if (tag == "set") parse_set(*out);
  else if (tag == "for") parse_for(*out);
  else if (tag == "if") parse_if(*out);
  else if (tag == "with") parse_with(*out);
  else if (tag == "macro") parse_macro(*out);
  else if (tag == "call") parse_call_block(*out);
  else if (tag == "filter") {
    simple(Statement::Type::filter_block);
    out->value = parse_filter(nullptr);
    out->value = parse_filters(std::move(out->value));
    parse_closed_body(out->body, "endfilter");
  } else if (tag == "generation") {
    simple(Statement::Type::scope);
    parse_closed_body(out->body, "endgeneration");
  } else if (tag == "block") {
    simple(Statement::Type::scope);
    const std::string name = take_name();
    skip_name("scoped");
    skip_name("required");
    parse_closed_body(out->body, "endblock");
    skip_name(name);
  } else if (tag == "print") {
    simple(Statement::Type::output);
    while (!is(TokenType::block_end)) {
      if (!out->expressions.empty()) expect_op(",");
      out->expressions.push_back(parse_expression());
    }
  } else if (tag == "break" || tag == "continue") {
    if (loops_ == 0) fail(fmt::format("'{}' outside of a loop", tag));
    simple(tag == "break" ? Statement::Type::loop_break : Statement::Type::loop_continue);
  } else {
    fail(fmt::format("encountered unknown tag '{}'", tag));
  }
  return out;
}

void Parser::check_target(const Expression& target) const {
  if (target.type == Type::tuple) {
    for (const ExpressionPtr& item : target.items) check_target(*item);
  } else if (target.type != Type::name && target.type != Type::namespace_attribute) {
    fail("can't assign to this expression");
  }
}

ExpressionPtr Parser::parse_target(bool with_namespace, Stop ends) {
  ExpressionPtr target = parse_tuple(true, true, ends, false, with_namespace);
  check_target(*target);
  return target;
}

void Parser::parse_set(Statement& out) {
  next();
  out.target = parse_target(true, {});
  if (skip_op("=")) {
    out.type = Statement::Type::assign;
    out.value = parse_any_tuple();
    return;
  }
  out.type = Statement::Type::assign_block;
  out.value = parse_filters(nullptr);
  parse_closed_body(out.body, "endset");
}

void Parser::parse_for(Statement& out) {
  next();
  out.type = Statement::Type::loop;
  out.target = parse_target(false, {"in"});
  expect_name("in");
  out.value = parse_tuple(false, false, {"recursive"}, false, false);
  const bool outer = std::exchange(in_branch_, false);
  if (skip_name("if")) out.test = parse_expression();
  out.recursive = skip_name("recursive");
  ++loops_;
  parse_body(out.body, {"endfor", "else"});
  --loops_;
  if (take_name() == "else") {
    parse_body(out.otherwise, {"endfor"});
    next();
  }
  in_branch_ = outer;
}

void Parser::parse_if(Statement& out) {
  out.type = Statement::Type::branch;
  const bool outer = std::exchange(in_branch_, true);
  next();
  while (true) {
    ExpressionPtr test = parse_tuple(false, false, {}, false, false);
    Body& body = out.branches.emplace_back(std::move(test), Body()).second;
    parse_body(body, {"elif", "else", "endif"});
    const std::string end = take_name();
    if (end == "elif") continue;
    if (end == "else") {
      parse_body(out.branches.emplace_back(nullptr, Body()).second, {"endif"});
      next();
    }
    break;
  }
  in_branch_ = outer;
}

void Parser::parse_with(Statement& out) {
  next();
  out.type = Statement::Type::with;
  while (!is(TokenType::block_end) && !is(TokenType::end)) {
    if (!out.targets.empty()) expect_op(",");
    out.targets.push_back(parse_target(false, {}));
    expect_op("=");
    out.expressions.push_back(parse_expression());
  }
  parse_closed_body(out.body, "endwith");
}

void Parser::parse_signature(MacroDefinition& macro) {
  expect_op("(");
  while (!is_op(")")) {
    if (!macro.parameters.empty()) expect_op(",");
    Parameter parameter{take_name(), nullptr};
    if (skip_op("=")) parameter.fallback = parse_expression();
    else if (!macro.parameters.empty() && macro.parameters.back().fallback)
      fail("non-default argument follows default argument");
    macro.parameters.push_back(std::move(parameter));
  }
  expect_op(")");
}

void Parser::parse_macro_body(Statement& out, std::string_view end) {
  const int outer_loops = std::exchange(loops_, 0);
  macros_.push_back(out.macro.get());
  parse_closed_body(out.body, end);
  macros_.pop_back();
  loops_ = outer_loops;
  out.macro->body = &out.body;
}

void Parser::parse_macro(Statement& out) {
  next();
  out.type = Statement::Type::macro;
  out.macro = std::make_unique<MacroDefinition>();
  out.macro->name = take_name();
  parse_signature(*out.macro);
  parse_macro_body(out, "endmacro");
}

void Parser::parse_call_block(Statement& out) {
  next();
  out.type = Statement::Type::call_block;
  out.macro = std::make_unique<MacroDefinition>();
  out.macro->name = "caller";
  if (is_op("(")) parse_signature(*out.macro);
  out.value = parse_expression();
  if (out.value->type != Type::call) fail("expected call");
  parse_macro_body(out, "endcall");
}

Template parse_template(std::string_view source, std::string_view what) {
  try {
    return Parser(tokenize(source)).parse();
  } catch (const SyntaxFailure& failure) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: line {}: {}", what, failure.line, failure.message),
                std::string(what));
  } catch (const Failure& failure) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: {}", what, failure.message), std::string(what));
  }
}

}  // namespace tap::jinja
