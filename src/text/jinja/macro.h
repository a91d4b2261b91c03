// What a running template makes besides plain values: scopes, macros, loops.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace tap::jinja {

struct MacroDefinition;
struct Statement;

// The variables of a block. Assignment goes to the innermost scope, reading goes outwards.
struct Scope {
  explicit Scope(std::shared_ptr<Scope> outer_scope) : outer(std::move(outer_scope)) {}
  std::shared_ptr<Scope> outer;
  std::vector<std::pair<std::string_view, Value>> variables;  // names live in the syntax tree or the context

  void set(std::string_view name, Value value) {
    for (auto& [key, old] : variables)
      if (key == name) return static_cast<void>(old = std::move(value));
    variables.emplace_back(name, std::move(value));
  }
  const Value* find_here(std::string_view name) const {
    for (const auto& [key, value] : variables)
      if (key == name) return &value;
    return nullptr;
  }
};

struct Macro {  // owned by the interpreter, which breaks the cycles of closures at its end
  std::string_view name;
  const MacroDefinition* definition = nullptr;
  std::shared_ptr<Scope> closure;
};

// One pass over anything that can be iterated.
class Iteration {
 public:
  static std::optional<Iteration> over(const Value& value);  // nullopt: not iterable
  bool next(Interpreter& interpreter, Value& out);
  std::optional<std::size_t> length() const;  // known for all but generators

 private:
  Value source_;
  std::size_t position_ = 0;  // item, or byte of a text
};

struct LoopObject final : Object {
  Value iterable;
  Iteration items;
  std::int64_t index0 = -1;
  std::optional<std::int64_t> length;
  std::vector<Value> rest;   // items read ahead of the loop
  std::size_t rest_at = 0;
  Value current, previous, last_changed;
  bool has_changed = false;
  int depth0 = 0;
  const Statement* statement = nullptr;  // recursive loops only; null when the loop has ended
  std::shared_ptr<Scope>* scope = nullptr;

  bool advance(Interpreter& interpreter);
  bool read_ahead(Interpreter& interpreter);  // false: this is the last item
  std::int64_t length_of(Interpreter& interpreter);
};
inline LoopObject& as_loop(const Value& value) {
  return const_cast<LoopObject&>(static_cast<const LoopObject&>(*value.object()));
}

enum class Global : std::uint8_t {
  range,
  dict,
  name_space,
  raise_exception,
  strftime_now,
  cycler,
  joiner,
  dict_fromkeys
};

}  // namespace tap::jinja
