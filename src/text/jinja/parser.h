// Recursive descent over the tokens of a template, after jinja2's grammar. Private to parser*.cpp.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace tap::jinja {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  Template parse();

 private:
  using Type = Expression::Type;
  using Stop = std::initializer_list<std::string_view>;

  // Tokens
  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  bool is(TokenType type) const { return now().type == type; }
  bool is_op(std::string_view text) const { return is(TokenType::op) && now().text == text; }
  bool is_name(std::string_view text) const { return is(TokenType::name) && now().text == text; }
  bool is_any_name(Stop names) const;
  void next() { at_ += at_ + 1 < tokens_.size() ? 1 : 0; }
  bool skip_op(std::string_view text);
  bool skip_name(std::string_view text);
  void expect_op(std::string_view text);
  void expect_name(std::string_view text);
  void expect(TokenType type, std::string_view words);
  std::string take_name();
  std::string describe() const;
  [[noreturn]] void fail(std::string message) const { throw SyntaxFailure{now().line, std::move(message)}; }

  // Statements (parser.cpp)
  void parse_until(Body& body, Stop ends);
  void parse_body(Body& body,
                  Stop ends);  // the end of the tag, then statements; the needle is left as the current token
  void parse_closed_body(Body& body, std::string_view end);
  std::unique_ptr<Statement> parse_statement();
  void parse_set(Statement& out);
  void parse_for(Statement& out);
  void parse_if(Statement& out);
  void parse_with(Statement& out);
  void parse_macro(Statement& out);
  void parse_call_block(Statement& out);
  void parse_signature(MacroDefinition& macro);
  void parse_macro_body(Statement& out, std::string_view end);
  ExpressionPtr parse_target(bool with_namespace, Stop ends);
  void check_target(const Expression& target) const;

  // Expressions (parser_expressions.cpp)
  ExpressionPtr parse_expression(bool with_condition = true);
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_compare();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concat();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_unary(bool with_filter);
  ExpressionPtr parse_primary(bool with_namespace = false);
  ExpressionPtr parse_tuple(bool simplified, bool with_condition, Stop ends, bool explicit_parentheses,
                            bool with_namespace);
  ExpressionPtr parse_any_tuple() { return parse_tuple(false, true, {}, false, false); }
  ExpressionPtr parse_list();
  ExpressionPtr parse_dict();
  ExpressionPtr parse_postfix(ExpressionPtr node, bool with_filter);
  ExpressionPtr parse_subscript(ExpressionPtr node);
  ExpressionPtr parse_subscript_index(ExpressionPtr node);
  ExpressionPtr parse_filter(ExpressionPtr node);  // the name is the current token
  ExpressionPtr parse_filters(ExpressionPtr node); // "|name|name", perhaps none
  ExpressionPtr parse_test(ExpressionPtr node);
  ExpressionPtr parse_call(ExpressionPtr node);
  std::unique_ptr<Arguments> parse_arguments();
  template <class Next>
  ExpressionPtr parse_chain(Type type, Stop ops, Next next_operand);

  ExpressionPtr make(Type type, int line) const;
  ExpressionPtr make_over(Type type, int line, ExpressionPtr operand) const;
  void note_filter(const std::string& name, bool is_filter);

  // Levels of the descent, so that a hostile template cannot exhaust the stack.
  struct Level {
    explicit Level(Parser& parser);
    ~Level() { --parser_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Parser& parser_;
  };

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;          // enclosing for loops of this macro: break and continue need one
  // Inside an if or an inline if, an unknown filter is an error only when it runs, elsewhere it is one at once (as in
  // jinja2).
  bool in_branch_ = false;
  std::vector<SyntaxFailure> unknown_;
  std::vector<MacroDefinition*> macros_;
  std::set<std::string> mentions_;
};

}  // namespace tap::jinja
