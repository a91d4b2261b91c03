// Runs a template. One Interpreter serves one rendering; filters, tests and methods reach values and limits through it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/chat_template.h"
#include "text/jinja/ast.h"
#include "text/jinja/macro.h"
#include "text/jinja/value.h"

namespace tap::jinja {

struct Call {  // evaluated arguments
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Arguments bound to parameter names, as Python binds them: `names` in order, the first `required` of them without
// default.
class Bound {
 public:
  Bound(std::string_view function, const Call& call, std::initializer_list<std::string_view> names,
        std::size_t required = 0);
  bool has(std::size_t i) const { return given_[i]; }  // also when None was given
  const Value& operator[](std::size_t i) const { return values_[i]; }
  bool is_set(std::size_t i) const { return given_[i] && !values_[i].is_none(); }
  bool truth_or(std::size_t i, bool fallback) const { return given_[i] ? truth(values_[i]) : fallback; }
  std::int64_t int_or(std::size_t i, std::int64_t fallback) const;

 private:
  std::vector<Value> values_;
  std::vector<bool> given_;
};

class Interpreter {
 public:
  Interpreter(const TemplateOptions& options, std::vector<std::pair<std::string, Value>> context);
  Text run(const Template& program);
  int line() const { return line_; }  // of what ran last

  // --- limits: all throw Failure
  void step() { work(1); }
  void charge(std::size_t bytes) { work(static_cast<std::int64_t>(bytes / 256)); }
  std::size_t max_string() const { return options_.limits.output_bytes; }
  void check_string(std::size_t bytes) const {
    if (bytes > max_string()) raise_limit(fmt::format("a string of more than {} bytes", max_string()));
  }
  Heap* heap() { return &heap_; }
  const TemplateOptions& options() const { return options_; }

  // --- making values
  Value text(Text value) {
    check_string(value.size());
    charge(value.size());
    return make_text(&heap_, std::move(value));
  }
  Value text(std::string bytes, bool trusted) { return text(Text(std::move(bytes), trusted)); }
  Value list(std::vector<Value> items) { return make_list(&heap_, std::move(items)); }
  Value tuple(std::vector<Value> items) { return make_list(&heap_, std::move(items), Kind::tuple); }
  Value dict(std::unique_ptr<DictObject> dict) { return make_dict(&heap_, std::move(dict)); }
  Value generator(const char* name, const Value& source, std::function<bool(Interpreter&, Value&)> next);
  Value undefined(std::string reason) { return make_undefined(std::move(reason)); }
  Value new_namespace();

  // --- Python's operations, with their cost charged
  Text str(const Value& value) { return charge(value.weight()), jinja::str(value, max_string()); }
  Text repr(const Value& value) { return charge(value.weight()), jinja::repr(value, max_string()); }
  bool equal(const Value& a, const Value& b) { return charge(std::min(a.weight(), b.weight())), jinja::equal(a, b); }
  int order(const Value& a, const Value& b, const char* op) {
    return charge(std::min(a.weight(), b.weight())), jinja::order(a, b, op);
  }
  bool contains(const Value& container, const Value& item);
  std::vector<Value> collect(const Value& iterable);  // list(iterable)
  Iteration iterate(const Value& value);              // Failure when it cannot be iterated
  Value get_attribute(const Value& object, std::string_view name);
  Value get_item(const Value& object, const Value& key);
  Value get_slice(const Value& object, const Value& start, const Value& stop, const Value& step);  // None: not given
  Value binary(Op op, const Value& a, const Value& b);
  Value call(const Value& callee, Call& arguments);
  Value call_method(const Value& self, std::string_view name, Call& arguments);
  Value call_global(Global function, Call& arguments);
  Value call_filter(std::string_view name, const Value& input, Call& arguments);
  bool call_test(std::string_view name, const Value& input, Call& arguments);
  Value loop_attribute(const Value& loop, std::string_view name);
  Value call_loop(const Value& loop, Call& arguments);

 private:
  enum class Flow { normal, loop_break, loop_continue };

  void work(std::int64_t steps);
  void check_time();
  void write(const Text& text);

  Flow run_body(const Body& body);
  Flow run_statement(const Statement& statement);
  Flow run_branch(const Statement& statement);
  Flow run_loop(const Statement& statement);
  void run_loop_over(const Statement& statement, const Value& iterable, int depth0,
                     const std::shared_ptr<Scope>& outer);
  void run_with(const Statement& statement);
  void run_call_block(const Statement& statement);
  Flow run_in_scope(const Body& body);
  Value capture(const Body& body, const std::shared_ptr<Scope>& scope);  // the body's output
  void assign(const Expression& target, const Value& value);
  Value call_macro(const Macro& macro, Call& arguments);
  Value make_macro(const MacroDefinition& definition);

  Value evaluate(const Expression& expression);
  Value lookup(std::string_view name);
  Value evaluate_slice(const Expression& expression);
  Value evaluate_binary(const Expression& expression);
  Value evaluate_compare(const Expression& expression);
  Value evaluate_logic(const Expression& expression);
  Value evaluate_concat(const Expression& expression);
  Value evaluate_dict(const Expression& expression);
  Value evaluate_call(const Expression& expression);
  Value evaluate_filter(const Expression& expression, const Value* block_input);
  Value evaluate_sign(const Expression& expression);
  Call evaluate_arguments(const Arguments& arguments);

  struct Nesting {  // counts evaluations within each other
    explicit Nesting(Interpreter& interpreter);
    ~Nesting() { --interpreter_.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    Interpreter& interpreter_;
  };
  struct CallDepth {
    explicit CallDepth(Interpreter& interpreter);
    ~CallDepth() { --interpreter_.calls_; }
    CallDepth(const CallDepth&) = delete;
    CallDepth& operator=(const CallDepth&) = delete;

   private:
    Interpreter& interpreter_;
  };

  const TemplateOptions& options_;
  Heap heap_;  // before everything that holds values
  std::vector<std::pair<std::string, Value>> context_;
  std::vector<std::unique_ptr<Macro>> macros_;
  std::vector<std::unique_ptr<Namespace>> namespaces_;
  std::shared_ptr<Scope> scope_;
  Text* out_ = nullptr;
  std::int64_t steps_ = 0, next_time_check_ = 0, cpu_start_ns_ = 0;
  int line_ = 1, nesting_ = 0, calls_ = 0;

 public:
  // Generators within generators recurse too.
  class GeneratorStep {
   public:
    explicit GeneratorStep(Interpreter& interpreter) : nesting_(interpreter) {}

   private:
    Nesting nesting_;
  };
};

// Which methods exist, and which of them the sandbox refuses because they change their object.
bool has_method(Kind kind, std::string_view name);
bool is_mutating_method(Kind kind, std::string_view name);
Text format_percent(Interpreter& interpreter, const Text& format, const Value& arguments);  // Python's "%" on strings
Text format_braces(Interpreter& interpreter, const Text& format, const Call& call);         // str.format
std::string escape_html(std::string_view piece);
Text escaped(const Text& text);  // Markup as it is, else &<>'" replaced
std::string format_time(const std::string& format, std::int64_t unix_seconds);
Value call_text_method(Interpreter& in, const Value& self, std::string_view name, Call& arguments);

// Text operations that filters and methods share.
Text replace_text(Interpreter& in, const Text& text, const Text& old, const Text& with, std::int64_t count);
Text strip_text(const Text& text, const Value* chars, bool left, bool right);
Text capitalize_text(const Text& text);
Text join_texts(Interpreter& in, const Text& separator, const std::vector<Text>& items);
Text repeat_text(Interpreter& in, const Text& text, std::int64_t count);
std::int64_t want_int(const Value& value, std::string_view what);
double parse_real(std::string_view text, bool& good);  // Python's float(str)

}  // namespace tap::jinja
