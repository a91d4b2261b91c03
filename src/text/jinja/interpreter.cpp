#include "text/jinja/interpreter.h"

#include <time.h>

#include <algorithm>

namespace tap::jinja {

namespace {

constexpr int max_nesting = 1500;           // evaluations within each other: bounds the stack
constexpr std::int64_t steps_per_time_check = 512;

std::int64_t thread_cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

constexpr std::pair<std::string_view, Global> globals[] = {
    {"range", Global::range},
    {"dict", Global::dict},
    {"namespace", Global::name_space},
    {"raise_exception", Global::raise_exception},
    {"cycler", Global::cycler},
    {"joiner", Global::joiner},
    {"strftime_now", Global::strftime_now},
};

// Puts a value back when a block is left, by an exception too.
template <class T>
class Restore {
 public:
  Restore(T& place, T value) : place_(place), old_(std::exchange(place, std::move(value))) {}
  ~Restore() { place_ = std::move(old_); }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  T& place_;
  T old_;
};

}  // namespace

Interpreter::Nesting::Nesting(Interpreter& interpreter) : interpreter_(interpreter) {
  if (interpreter.nesting_ >= max_nesting) raise_limit(fmt::format("evaluations more than {} deep", max_nesting));
  ++interpreter.nesting_;
}

Interpreter::CallDepth::CallDepth(Interpreter& interpreter) : interpreter_(interpreter) {
  const int limit = interpreter.options_.limits.depth;
  if (interpreter.calls_ >= limit) raise_limit(fmt::format("calls more than {} deep", limit));
  ++interpreter.calls_;
}

Interpreter::Interpreter(const TemplateOptions& options, std::vector<std::pair<std::string, Value>> context)
    : options_(options),
      heap_(options.limits.memory_bytes),
      context_(std::move(context)),
      cpu_start_ns_(thread_cpu_ns()) {
  scope_ = std::make_shared<Scope>(nullptr);
  for (const auto& [name, value] : context_) scope_->variables.emplace_back(name, value);
  scope_ = std::make_shared<Scope>(scope_);
}

Text Interpreter::run(const Template& program) {
  Text out;
  out_ = &out;
  run_body(program.body);
  return out;
}

void Interpreter::work(std::int64_t steps) {
  steps_ += steps;
  if (steps_ > options_.limits.steps) raise_limit(fmt::format("more than {} steps", options_.limits.steps));
  if (steps_ >= next_time_check_) check_time();
}

void Interpreter::check_time() {
  next_time_check_ = steps_ + steps_per_time_check;
  if (thread_cpu_ns() - cpu_start_ns_ > options_.limits.cpu_ms * 1'000'000)
    raise_limit(fmt::format("more than {} ms of processor time", options_.limits.cpu_ms));
}

void Interpreter::write(const Text& text) {
  if (text.size() > max_string() - std::min(max_string(), out_->size()))
    raise_limit(fmt::format("output of more than {} bytes", max_string()));
  charge(text.size());
  heap_.charge(text.size());  // given back by capture(), which owns the buffer
  out_->append(text);
}

Value Interpreter::new_namespace() {
  heap_.charge(sizeof(Namespace) + 64);
  namespaces_.push_back(std::make_unique<Namespace>());
  return Value::of(namespaces_.back().get());
}

// --- statements
// -------------------------------------------------------------------------------------------------------------

Interpreter::Flow Interpreter::run_body(const Body& body) {
  for (const auto& statement : body)
    if (const Flow flow = run_statement(*statement); flow != Flow::normal) return flow;
  return Flow::normal;
}

Interpreter::Flow Interpreter::run_statement(const Statement& statement) {
  const Nesting nesting(*this);
  step();
  line_ = statement.line;
  using Type = Statement::Type;
  switch (statement.type) {
    case Type::text: write(statement.text.text()); break;
    case Type::output:
      for (const auto& expression : statement.expressions) write(str(evaluate(*expression)));
      break;
    case Type::assign: assign(*statement.target, evaluate(*statement.value)); break;
    case Type::assign_block: {
      const auto inner = std::make_shared<Scope>(scope_);
      Value value = capture(statement.body, inner);
      if (statement.value) {
        const Restore<std::shared_ptr<Scope>> scope(scope_, inner);
        value = evaluate_filter(*statement.value, &value);
      }
      assign(*statement.target, value);
      break;
    }
    case Type::branch: return run_branch(statement);
    case Type::loop: return run_loop(statement);
    case Type::with: run_with(statement); break;
    case Type::macro: scope_->set(statement.macro->name, make_macro(*statement.macro)); break;
    case Type::call_block: run_call_block(statement); break;
    case Type::filter_block: {
      const auto inner = std::make_shared<Scope>(scope_);
      const Value value = capture(statement.body, inner);
      write(str(evaluate_filter(*statement.value, &value)));
      break;
    }
    case Type::scope: return run_in_scope(statement.body);
    case Type::loop_break: return Flow::loop_break;
    case Type::loop_continue: return Flow::loop_continue;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::run_in_scope(const Body& body) {
  const Restore<std::shared_ptr<Scope>> scope(scope_, std::make_shared<Scope>(scope_));
  return run_body(body);
}

Interpreter::Flow Interpreter::run_branch(const Statement& statement) {
  for (const auto& [test, body] : statement.branches)
    if (!test || truth(evaluate(*test))) return run_body(body);
  return Flow::normal;
}

Interpreter::Flow Interpreter::run_loop(const Statement& statement) {
  const Value iterable = evaluate(*statement.value);
  run_loop_over(statement, iterable, 0, scope_);
  return Flow::normal;
}

void Interpreter::run_loop_over(const Statement& statement, const Value& iterable, int depth0,
                                const std::shared_ptr<Scope>& outer) {
  line_ = statement.line;
  std::shared_ptr<Scope> around = outer;
  Value source = iterable;
  if (statement.test) {
    auto items = std::make_shared<Iteration>(iterate(iterable));
    source = generator("generator", iterable, [this, &statement, items, around](Interpreter& in, Value& out) {
      while (items->next(in, out)) {
        const Restore<std::shared_ptr<Scope>> scope(scope_, std::make_shared<Scope>(around));
        assign(*statement.target, out);
        if (truth(evaluate(*statement.test))) return true;
      }
      return false;
    });
  }
  auto loop = std::make_shared<LoopObject>();
  Extent held;
  held.add(iterable);
  adopt(*loop, &heap_, sizeof(LoopObject), held);
  loop->iterable = source;
  loop->items = iterate(source);
  loop->depth0 = depth0;
  loop->statement = statement.recursive ? &statement : nullptr;
  loop->scope = &around;
  const Value loop_value(Kind::loop, loop);
  // What the loop holds must not outlive it: chains of saved loops would be as long as a template likes.
  struct End {
    LoopObject& loop;
    ~End() {
      loop.statement = nullptr;
      loop.scope = nullptr;
      loop.items = Iteration();
      loop.iterable = loop.current = loop.previous = loop.last_changed = Value();
      loop.rest.clear();
      loop.rest_at = 0;
    }
  } end{*loop};

  bool ran = false;
  while (loop->advance(*this)) {
    ran = true;
    step();
    const Restore<std::shared_ptr<Scope>> scope(scope_, std::make_shared<Scope>(around));
    assign(*statement.target, loop->current);
    scope_->set("loop", loop_value);
    if (run_body(statement.body) == Flow::loop_break) break;
  }
  if (!ran) {
    const Restore<std::shared_ptr<Scope>> scope(scope_, std::make_shared<Scope>(around));
    run_body(statement.otherwise);
  }
}

void Interpreter::run_with(const Statement& statement) {
  std::vector<Value> values;
  for (const auto& expression : statement.expressions) values.push_back(evaluate(*expression));
  const Restore<std::shared_ptr<Scope>> scope(scope_, std::make_shared<Scope>(scope_));
  for (std::size_t i = 0; i < values.size(); ++i) assign(*statement.targets[i], values[i]);
  run_body(statement.body);
}

void Interpreter::run_call_block(const Statement& statement) {
  const Expression& called = *statement.value;
  const Value callee = evaluate(*called.items[0]);
  Call arguments = evaluate_arguments(*called.arguments);
  arguments.named.emplace_back("caller", make_macro(*statement.macro));
  line_ = called.line;
  write(str(call(callee, arguments)));
}

Value Interpreter::capture(const Body& body, const std::shared_ptr<Scope>& scope) {
  struct Buffer {
    Text text;
    Heap& heap;
    ~Buffer() { heap.release(text.size()); }
  } buffer{{}, heap_};
  {
    const Restore<Text*> out(out_, &buffer.text);
    const Restore<std::shared_ptr<Scope>> inner(scope_, scope);
    run_body(body);
  }
  return text(buffer.text);
}

void Interpreter::assign(const Expression& target, const Value& value) {
  switch (target.type) {
    case Expression::Type::name: return scope_->set(target.name, value);
    case Expression::Type::namespace_attribute: {
      const Value space = lookup(target.name);
      if (!space.is(Kind::name_space)) raise("cannot assign attribute on non-namespace object");
      if (target.attribute.starts_with('_'))
        raise("a namespace cannot hold the name '{}': it starts with an underscore", target.attribute);
      Namespace& names = *space.as_namespace();
      if (Value* there = names.find(target.attribute)) *there = value;
      else {
        heap_.charge(sizeof(Value) + target.attribute.size() + 32);
        names.attributes.emplace_back(target.attribute, value);
      }
      return;
    }
    default: break;
  }
  const std::vector<Value> parts = collect(value);
  if (parts.size() != target.items.size())
    raise("cannot unpack {} values into {} names", parts.size(), target.items.size());
  for (std::size_t i = 0; i < parts.size(); ++i) assign(*target.items[i], parts[i]);
}

// --- macros
// -----------------------------------------------------------------------------------------------------------------

Value Interpreter::make_macro(const MacroDefinition& definition) {
  heap_.charge(256);
  auto macro = std::make_unique<Macro>();
  macro->name = definition.name;
  macro->definition = &definition;
  macro->closure = scope_;
  macros_.push_back(std::move(macro));
  return Value::of(macros_.back().get());
}

Value Interpreter::call_macro(const Macro& macro, Call& arguments) {
  const CallDepth depth(*this);
  const MacroDefinition& definition = *macro.definition;
  const auto scope = std::make_shared<Scope>(macro.closure);
  const auto take_named = [&](std::string_view name) -> std::optional<Value> {
    for (auto it = arguments.named.begin(); it != arguments.named.end(); ++it) {
      if (it->first != name) continue;
      Value value = std::move(it->second);
      arguments.named.erase(it);
      return value;
    }
    return std::nullopt;
  };
  bool has_caller = false;
  std::vector<const Parameter*> missing;
  for (std::size_t i = 0; i < definition.parameters.size(); ++i) {
    const Parameter& parameter = definition.parameters[i];
    has_caller |= parameter.name == "caller";
    if (i < arguments.positional.size()) scope->set(parameter.name, arguments.positional[i]);
    else if (auto named = take_named(parameter.name)) scope->set(parameter.name, std::move(*named));
    else missing.push_back(&parameter);
  }
  if (definition.uses_caller && !has_caller) {
    auto caller = take_named("caller");
    scope->set("caller", caller ? std::move(*caller) : undefined("No caller defined"));
  }
  if (definition.uses_kwargs) {
    auto rest = std::make_unique<DictObject>();
    for (const auto& [name, value] : arguments.named) rest->set(text(name, true), value);
    scope->set("kwargs", dict(std::move(rest)));
  } else if (!arguments.named.empty()) {
    raise("macro '{}' takes no keyword argument '{}'", macro.name, arguments.named.front().first);
  }
  const std::size_t taken = std::min(arguments.positional.size(), definition.parameters.size());
  if (definition.uses_varargs)
    scope->set("varargs",
               tuple({arguments.positional.begin() + static_cast<std::ptrdiff_t>(taken), arguments.positional.end()}));
  else if (arguments.positional.size() > taken)
    raise("macro '{}' takes not more than {} argument(s)", macro.name, definition.parameters.size());
  {
    const Restore<std::shared_ptr<Scope>> inner(scope_, scope);
    for (const Parameter* parameter : missing)
      scope->set(parameter->name, parameter->fallback
                                      ? evaluate(*parameter->fallback)
                                      : undefined(fmt::format("parameter '{}' was not provided", parameter->name)));
  }
  return capture(*definition.body, scope);
}

Value Interpreter::call_loop(const Value& value, Call& arguments) {
  const LoopObject& loop = as_loop(value);
  if (!loop.statement) raise("the loop must have the 'recursive' marker to be called recursively");
  if (arguments.positional.size() != 1 || !arguments.named.empty()) raise("loop() takes one argument, the items");
  const CallDepth depth(*this);
  struct Buffer {
    Text text;
    Heap& heap;
    ~Buffer() { heap.release(text.size()); }
  } buffer{{}, heap_};
  {
    const Restore<Text*> out(out_, &buffer.text);
    run_loop_over(*loop.statement, arguments.positional[0], loop.depth0 + 1, *loop.scope);
  }
  return text(buffer.text);
}

// --- expressions
// ------------------------------------------------------------------------------------------------------------

Value Interpreter::lookup(std::string_view name) {
  for (const Scope* scope = scope_.get(); scope; scope = scope->outer.get())
    if (const Value* found = scope->find_here(name)) return *found;
  for (const auto& [global, function] : globals)
    if (name == global) return Value::of(function);
  return undefined(fmt::format("'{}' is undefined", name));
}

Value Interpreter::evaluate(const Expression& expression) {
  const Nesting nesting(*this);
  step();
  line_ = expression.line;
  using Type = Expression::Type;
  switch (expression.type) {
    case Type::constant: return expression.value;
    case Type::name: return lookup(expression.name);
    case Type::attribute: {
      const Value object = evaluate(*expression.items[0]);
      line_ = expression.line;
      return get_attribute(object, expression.name);
    }
    case Type::item: {
      const Value object = evaluate(*expression.items[0]);
      const Value key = evaluate(*expression.items[1]);
      line_ = expression.line;
      return get_item(object, key);
    }
    case Type::slice: return evaluate_slice(expression);
    case Type::call: return evaluate_call(expression);
    case Type::filter: return evaluate_filter(expression, nullptr);
    case Type::test: {
      const Value input = evaluate(*expression.items[0]);
      Call arguments = evaluate_arguments(*expression.arguments);
      line_ = expression.line;
      return Value::boolean(call_test(expression.name, input, arguments));
    }
    case Type::list:
    case Type::tuple: {
      std::vector<Value> items;
      for (const auto& item : expression.items) items.push_back(evaluate(*item));
      return make_list(&heap_, std::move(items), expression.type == Type::list ? Kind::list : Kind::tuple);
    }
    case Type::dict: return evaluate_dict(expression);
    case Type::binary: return evaluate_binary(expression);
    case Type::compare: return evaluate_compare(expression);
    case Type::concat: return evaluate_concat(expression);
    case Type::logic_and:
    case Type::logic_or: return evaluate_logic(expression);
    case Type::logic_not: return Value::boolean(!truth(evaluate(*expression.items[0])));
    case Type::negate:
    case Type::plus: return evaluate_sign(expression);
    case Type::condition:
      if (truth(evaluate(*expression.items[0]))) return evaluate(*expression.items[1]);
      if (expression.items[2]) return evaluate(*expression.items[2]);
      return undefined("the inline if-expression evaluated to false and no else section was defined");
    case Type::namespace_attribute: break;
  }
  return {};
}

Value Interpreter::evaluate_slice(const Expression& expression) {
  const Value object = evaluate(*expression.items[0]);
  Value bounds[3];
  for (std::size_t i = 0; i < 3; ++i)
    bounds[i] = expression.items[i + 1] ? evaluate(*expression.items[i + 1]) : Value::none();
  line_ = expression.line;
  return get_slice(object, bounds[0], bounds[1], bounds[2]);
}

Value Interpreter::evaluate_binary(const Expression& expression) {
  Value left = evaluate(*expression.items[0]);
  for (std::size_t i = 0; i < expression.ops.size(); ++i) {
    const Value right = evaluate(*expression.items[i + 1]);
    line_ = expression.line;
    left = binary(expression.ops[i], left, right);
  }
  return left;
}

Value Interpreter::evaluate_compare(const Expression& expression) {
  Value left = evaluate(*expression.items[0]);
  for (std::size_t i = 0; i < expression.ops.size(); ++i) {
    Value right = evaluate(*expression.items[i + 1]);
    line_ = expression.line;
    bool holds = false;
    switch (expression.ops[i]) {
      case Op::eq: holds = equal(left, right); break;
      case Op::ne: holds = !equal(left, right); break;
      case Op::lt: holds = order(left, right, "<") == -1; break;
      case Op::gt: holds = order(left, right, ">") == 1; break;
      case Op::le: {
        const int sign = order(left, right, "<=");
        holds = sign == -1 || sign == 0;
        break;
      }
      case Op::ge: {
        const int sign = order(left, right, ">=");
        holds = sign == 1 || sign == 0;
        break;
      }
      case Op::in: holds = contains(right, left); break;
      case Op::not_in: holds = !contains(right, left); break;
      default: break;
    }
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate_logic(const Expression& expression) {
  const bool stop_at = expression.type == Expression::Type::logic_or;
  Value value;
  for (const auto& item : expression.items) {
    value = evaluate(*item);
    if (truth(value) == stop_at) return value;
  }
  return value;
}

Value Interpreter::evaluate_concat(const Expression& expression) {
  Text out;
  for (const auto& item : expression.items) {
    const Text piece = str(evaluate(*item));
    check_string(out.size() + piece.size());
    out.append(piece);
  }
  return text(std::move(out));
}

Value Interpreter::evaluate_dict(const Expression& expression) {
  auto out = std::make_unique<DictObject>();
  for (std::size_t i = 0; i + 1 < expression.items.size(); i += 2) {
    const Value key = evaluate(*expression.items[i]);
    charge(key.weight());
    out->set(key, evaluate(*expression.items[i + 1]));
  }
  return dict(std::move(out));
}

Value Interpreter::evaluate_sign(const Expression& expression) {
  const Value value = evaluate(*expression.items[0]);
  line_ = expression.line;
  const bool negate = expression.type == Expression::Type::negate;
  if (value.is(Kind::real)) return Value::real(negate ? -value.as_real() : value.as_real());
  if (!value.is_int_like()) {
    if (value.is_undefined() && value.undefined_reason()) raise("{}", value.undefined_reason()->reason);
    raise("bad operand type for unary {}: '{}'", negate ? '-' : '+', type_name(value));
  }
  if (negate && value.as_int() == INT64_MIN) raise("integer overflow");
  return Value::integer(negate ? -value.as_int() : value.as_int());
}

Call Interpreter::evaluate_arguments(const Arguments& arguments) {
  Call out;
  for (const auto& item : arguments.positional) out.positional.push_back(evaluate(*item));
  for (const auto& [name, item] : arguments.named) out.named.emplace_back(name, evaluate(*item));
  if (arguments.star)
    for (Value& item : collect(evaluate(*arguments.star))) out.positional.push_back(std::move(item));
  if (arguments.star_star) {
    const Value more = evaluate(*arguments.star_star);
    if (!more.is_dict()) raise("argument after ** must be a mapping, not {}", type_name(more));
    for (const auto& [key, value] : more.dict().items) {
      if (!key.is_text()) raise("keywords must be strings");
      out.named.emplace_back(key.text().bytes(), value);
    }
  }
  return out;
}

Value Interpreter::evaluate_call(const Expression& expression) {
  const Value callee = evaluate(*expression.items[0]);
  Call arguments = evaluate_arguments(*expression.arguments);
  line_ = expression.line;
  return call(callee, arguments);
}

Value Interpreter::evaluate_filter(const Expression& expression, const Value* block_input) {
  const Nesting nesting(*this);
  // A filter block's chain ends in the block's own text.
  const Value input = expression.items[0] ? (block_input ? evaluate_filter(*expression.items[0], block_input)
                                                         : evaluate(*expression.items[0]))
                                          : *block_input;
  Call arguments = evaluate_arguments(*expression.arguments);
  line_ = expression.line;
  return call_filter(expression.name, input, arguments);
}

Value Interpreter::call(const Value& callee, Call& arguments) {
  step();
  switch (callee.kind()) {
    case Kind::macro: return call_macro(*callee.as_macro(), arguments);
    case Kind::method: {
      const Value self = callee.method().self;
      return call_method(self, callee.method().name, arguments);
    }
    case Kind::function: return call_global(callee.as_global(), arguments);
    case Kind::loop: return call_loop(callee, arguments);
    case Kind::joiner: {
      JoinerObject& joiner = callee.joiner();
      if (std::exchange(joiner.used, true)) return joiner.separator;
      return text(Text());
    }
    case Kind::undefined:
      raise("{}", callee.undefined_reason() ? callee.undefined_reason()->reason : "value is undefined");
    default: raise("'{}' object is not callable", type_name(callee));
  }
}

}  // namespace tap::jinja
