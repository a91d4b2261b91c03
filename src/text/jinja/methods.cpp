// Methods of strings, dicts, lists, tuples and numbers. The lists below are all that a template can reach.
#include <algorithm>
#include <cmath>
#include <span>

#include "text/jinja/interpreter.h"

namespace tap::jinja {

namespace {

constexpr std::string_view text_methods[] = {
    "capitalize",   "casefold",     "center",     "count",      "endswith",    "expandtabs", "find",
    "format",       "format_map",   "index",      "isalnum",    "isalpha",     "isascii",    "isdecimal",
    "isdigit",      "isidentifier", "islower",    "isnumeric",  "isprintable", "isspace",    "istitle",
    "isupper",      "join",         "ljust",      "lower",      "lstrip",      "partition",  "removeprefix",
    "removesuffix", "replace",      "rfind",      "rindex",     "rjust",       "rpartition", "rsplit",
    "rstrip",       "split",        "splitlines", "startswith", "strip",       "swapcase",   "title",
    "upper",        "zfill"};
constexpr std::string_view dict_methods[] = {"copy", "fromkeys", "get", "items", "keys", "values"};
constexpr std::string_view list_methods[] = {"copy", "count", "index"};
constexpr std::string_view tuple_methods[] = {"count", "index"};
constexpr std::string_view dict_mutators[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view list_mutators[] = {"append", "clear",  "extend",  "insert",
                                              "pop",    "remove", "reverse", "sort"};
constexpr std::string_view int_methods[] = {"bit_length"};
constexpr std::string_view real_methods[] = {"is_integer"};
constexpr std::string_view loop_methods[] = {"changed", "cycle"};
constexpr std::string_view cycler_methods[] = {"next", "reset"};

std::span<const std::string_view> methods_of(Kind kind) {
  switch (kind) {
    case Kind::text: return text_methods;
    case Kind::dict: return dict_methods;
    case Kind::list: return list_methods;
    case Kind::tuple:
    case Kind::range: return tuple_methods;
    case Kind::integer:
    case Kind::boolean: return int_methods;
    case Kind::real: return real_methods;
    case Kind::loop: return loop_methods;
    case Kind::cycler: return cycler_methods;
    default: return {};
  }
}

bool among(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Value call_dict_method(Interpreter& in, const Value& self, std::string_view name, Call& arguments) {
  const auto& items = self.dict().items;
  if (name == "get") {
    const Bound bound("get", arguments, {"key", "default"}, 1);
    in.charge(bound[0].weight());
    const Value* found = self.dict().find(bound[0]);
    return found ? *found : bound.has(1) ? bound[1] : Value::none();
  }
  if (name == "fromkeys") return in.call_global(Global::dict_fromkeys, arguments);
  const Bound none(name, arguments, {});
  in.charge(items.size() * sizeof(Value));
  if (name == "copy") {
    auto out = std::make_unique<DictObject>();
    for (const auto& [key, value] : items) out->set(key, value);
    return in.dict(std::move(out));
  }
  std::vector<Value> out;
  for (const auto& [key, value] : items) {
    if (name == "items") out.push_back(in.tuple({key, value}));
    else out.push_back(name == "keys" ? key : value);
  }
  return make_list(in.heap(), std::move(out), Kind::view,
                   name == "items"  ? "dict_items"
                   : name == "keys" ? "dict_keys"
                                    : "dict_values");
}

Value call_list_method(Interpreter& in, const Value& self, std::string_view name, Call& arguments) {
  if (name == "copy") return in.list(in.collect(self));
  const Bound bound(name, arguments, {"value", "start", "stop"}, 1);
  const std::vector<Value> items = self.is(Kind::range) ? in.collect(self) : self.items();
  const auto size = static_cast<std::int64_t>(items.size());
  std::int64_t from = bound.int_or(1, 0), to = bound.int_or(2, size), count = 0;
  from = std::clamp<std::int64_t>(from < 0 ? from + size : from, 0, size);
  to = std::clamp<std::int64_t>(to < 0 ? to + size : to, 0, size);
  for (std::int64_t i = from; i < to; ++i) {
    in.step();
    if (!in.equal(items[static_cast<std::size_t>(i)], bound[0])) continue;
    if (name == "index") return Value::integer(i);
    ++count;
  }
  if (name == "index") raise("{} is not in {}", in.repr(bound[0]).view(), type_name(self));
  return Value::integer(count);
}

Value call_loop_method(Interpreter& in, const Value& self, std::string_view name, Call& arguments) {
  LoopObject& loop = as_loop(self);
  if (name == "cycle") {
    if (arguments.positional.empty()) raise("no items for cycling given");
    return arguments.positional[static_cast<std::size_t>(loop.index0) % arguments.positional.size()];
  }
  const Value now = in.tuple(arguments.positional);
  const bool changed = !loop.has_changed || !in.equal(loop.last_changed, now);
  if (changed) loop.last_changed = now;
  loop.has_changed = true;
  return Value::boolean(changed);
}

}  // namespace

bool has_method(Kind kind, std::string_view name) { return among(methods_of(kind), name); }

bool is_mutating_method(Kind kind, std::string_view name) {
  return (kind == Kind::dict && among(dict_mutators, name)) || (kind == Kind::list && among(list_mutators, name));
}

Value Interpreter::call_method(const Value& self, std::string_view name, Call& arguments) {
  switch (self.kind()) {
    case Kind::text: return call_text_method(*this, self, name, arguments);
    case Kind::dict: return call_dict_method(*this, self, name, arguments);
    case Kind::list:
    case Kind::tuple:
    case Kind::range: return call_list_method(*this, self, name, arguments);
    case Kind::loop: return call_loop_method(*this, self, name, arguments);
    case Kind::cycler: {
      CyclerObject& cycler = self.cycler();
      if (name == "reset") return cycler.position = 0, Value::none();
      const Value out = cycler.items[cycler.position];
      cycler.position = (cycler.position + 1) % cycler.items.size();
      return out;
    }
    case Kind::real: return Value::boolean(std::floor(self.as_real()) == self.as_real());
    case Kind::integer:
    case Kind::boolean: {
      std::uint64_t left = static_cast<std::uint64_t>(self.as_int() < 0 ? -(self.as_int() + 1) : self.as_int()) +
                           (self.as_int() < 0 ? 1U : 0U);
      std::int64_t bits = 0;
      for (; left > 0; left >>= 1) ++bits;
      return Value::integer(bits);
    }
    default: raise("'{}' has no method '{}'", type_name(self), name);
  }
}

}  // namespace tap::jinja
