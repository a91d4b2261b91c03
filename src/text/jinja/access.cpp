// Iteration, loops, attributes, items, slices: how a template reaches into values.
#include <algorithm>

#include "text/jinja/interpreter.h"

namespace tap::jinja {

namespace {

// Python's slice.indices: clamped start, and how many steps.
struct Slice {
  std::int64_t start, step, count;
};

std::int64_t slice_bound(const Value& value) {
  if (value.is_int_like()) return value.as_int();
  raise("slice indices must be integers or None");
}

Slice resolve_slice(std::int64_t length, const Value& start, const Value& stop, const Value& step) {
  const std::int64_t by = step.is_none() ? 1 : slice_bound(step);
  if (by == 0) raise("slice step cannot be zero");
  const auto clamp = [&](const Value& value, std::int64_t fallback) {
    if (value.is_none()) return fallback;
    std::int64_t at = slice_bound(value);
    if (at < 0) at = at < -length ? -1 : at + length;
    if (at < 0) return by < 0 ? std::int64_t{-1} : std::int64_t{0};
    return std::min(at, by < 0 ? length - 1 : length);
  };
  const std::int64_t from = clamp(start, by < 0 ? length - 1 : 0), to = clamp(stop, by < 0 ? -1 : length);
  std::int64_t count = 0;
  if (by > 0 && from < to) count = (to - from - 1) / by + 1;
  if (by < 0 && from > to) count = (from - to - 1) / (by == INT64_MIN ? INT64_MAX : -by) + 1;
  return {from, by, count};
}

std::string missing_attribute(const Value& object, std::string_view name) {
  if (object.is_none()) return fmt::format("None has no attribute '{}'", name);
  return fmt::format("'{} object' has no attribute '{}'", type_name(object), name);
}

bool is_dunder(std::string_view name) { return name.size() > 4 && name.starts_with("__") && name.ends_with("__"); }

}  // namespace

std::optional<Iteration> Iteration::over(const Value& value) {
  Iteration out;
  out.source_ = value;
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::text:
    case Kind::list:
    case Kind::tuple:
    case Kind::view:
    case Kind::dict:
    case Kind::range:
    case Kind::generator: return out;
    default: return std::nullopt;
  }
}

bool Iteration::next(Interpreter& interpreter, Value& out) {
  switch (source_.kind()) {
    case Kind::text: {
      const Text& text = source_.text();
      if (position_ >= text.size()) return false;
      const std::size_t begin = position_;
      decode_at(text.view(), position_);
      Text one = text.slice(begin, position_);
      one.markup = false;  // as Python: only indexing keeps it
      out = interpreter.text(std::move(one));
      return true;
    }
    case Kind::list:
    case Kind::tuple:
    case Kind::view:
      if (position_ >= source_.items().size()) return false;
      out = source_.items()[position_++];
      return true;
    case Kind::dict:
      if (position_ >= source_.dict().items.size()) return false;
      out = source_.dict().items[position_++].first;
      return true;
    case Kind::range: {
      const RangeObject& range = source_.range();
      if (static_cast<std::int64_t>(position_) >= range.count) return false;
      out = Value::integer(range.start + static_cast<std::int64_t>(position_++) * range.step);
      return true;
    }
    case Kind::generator: {
      const Interpreter::GeneratorStep nesting(interpreter);
      const Value keep = source_;  // the generator must live while it runs
      return keep.generator().next(interpreter, out);
    }
    default: return false;
  }
}

std::optional<std::size_t> Iteration::length() const {
  switch (source_.kind()) {
    case Kind::undefined: return 0;
    case Kind::text: return count_chars(source_.text().view());
    case Kind::list:
    case Kind::tuple:
    case Kind::view: return source_.items().size();
    case Kind::dict: return source_.dict().items.size();
    case Kind::range: return static_cast<std::size_t>(source_.range().count);
    default: return std::nullopt;
  }
}

bool LoopObject::read_ahead(Interpreter& interpreter) {
  if (rest_at < rest.size()) return true;
  Value item;
  if (!items.next(interpreter, item)) return false;
  rest.assign(1, std::move(item));
  rest_at = 0;
  return true;
}

bool LoopObject::advance(Interpreter& interpreter) {
  if (!read_ahead(interpreter)) return false;
  previous = std::move(current);
  current = std::move(rest[rest_at++]);
  ++index0;
  return true;
}

std::int64_t LoopObject::length_of(Interpreter& interpreter) {
  if (length) return *length;
  if (const auto known = items.length()) {
    length = static_cast<std::int64_t>(*known);
  } else {
    std::vector<Value> all(rest.begin() + static_cast<std::ptrdiff_t>(rest_at), rest.end());
    for (Value item; items.next(interpreter, item);) {
      interpreter.step();
      all.push_back(item);
    }
    rest = std::move(all);
    rest_at = 0;
    length = index0 + 1 + static_cast<std::int64_t>(rest.size());
  }
  return *length;
}

Value Interpreter::loop_attribute(const Value& value, std::string_view name) {
  LoopObject& loop = as_loop(value);
  if (name == "index") return Value::integer(loop.index0 + 1);
  if (name == "index0") return Value::integer(loop.index0);
  if (name == "first") return Value::boolean(loop.index0 == 0);
  if (name == "last") return Value::boolean(!loop.read_ahead(*this));
  if (name == "length") return Value::integer(loop.length_of(*this));
  if (name == "revindex") return Value::integer(loop.length_of(*this) - loop.index0);
  if (name == "revindex0") return Value::integer(loop.length_of(*this) - loop.index0 - 1);
  if (name == "depth") return Value::integer(loop.depth0 + 1);
  if (name == "depth0") return Value::integer(loop.depth0);
  if (name == "previtem") return loop.index0 == 0 ? undefined("there is no previous item") : loop.previous;
  if (name == "nextitem") return loop.read_ahead(*this) ? loop.rest[loop.rest_at] : undefined("there is no next item");
  return undefined(missing_attribute(value, name));
}

Iteration Interpreter::iterate(const Value& value) {
  if (auto iteration = Iteration::over(value)) return std::move(*iteration);
  raise("'{}' object is not iterable", type_name(value));
}

std::vector<Value> Interpreter::collect(const Value& iterable) {
  std::vector<Value> out;
  Iteration items = iterate(iterable);
  for (Value item; items.next(*this, item);) {
    step();
    if (out.size() % 1024 == 1023 && (out.size() + 1024) * sizeof(Value) > options_.limits.memory_bytes)
      raise_limit("a list that is too long");
    out.push_back(std::move(item));
  }
  return out;
}

Value Interpreter::generator(const char* name, const Value& source, std::function<bool(Interpreter&, Value&)> next) {
  auto object = std::make_shared<GeneratorObject>();
  Extent held;
  held.add(source);
  adopt(*object, &heap_, sizeof(GeneratorObject) + 64, held);
  object->next = std::move(next);
  object->name = name;
  return Value(Kind::generator, std::move(object));
}

bool Interpreter::contains(const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::text:
      if (!item.is_text()) {
        if (item.is_undefined())
          raise("{}", item.undefined_reason() ? item.undefined_reason()->reason : "value is undefined");
        raise("'in <string>' requires string as left operand, not {}", type_name(item));
      }
      charge(container.weight());
      return find_bytes(container.text().view(), item.text().view()) != std::string_view::npos;
    case Kind::dict: return charge(item.weight()), container.dict().find(item) != nullptr;
    default: {
      Iteration items = iterate(container);
      for (Value other; items.next(*this, other);) {
        step();
        if (identical(other, item) || equal(other, item)) return true;
      }
      return false;
    }
  }
}

Value Interpreter::get_attribute(const Value& object, std::string_view name) {
  if (object.is_undefined())
    raise("{}", object.undefined_reason() ? object.undefined_reason()->reason : "value is undefined");
  if (is_dunder(name) || is_mutating_method(object.kind(), name))
    return undefined(fmt::format("access to attribute '{}' of '{}' object is unsafe", name, type_name(object)));
  if (has_method(object.kind(), name)) {
    auto method = std::make_shared<MethodObject>();
    Extent held;
    held.add(object);
    adopt(*method, &heap_, sizeof(MethodObject) + name.size(), held);
    method->self = object;
    method->name = std::string(name);
    return Value(Kind::method, std::move(method));
  }
  switch (object.kind()) {
    case Kind::dict:
      if (const Value* found = object.dict().find(name)) return *found;
      break;
    case Kind::name_space:
      if (const Value* found = object.as_namespace()->find(name)) return *found;
      break;
    case Kind::loop: return loop_attribute(object, name);
    case Kind::tuple: {
      const auto& list = static_cast<const ListObject&>(*object.object());
      if (list.group && name == "grouper") return list.items[0];
      if (list.group && name == "list") return list.items[1];
      break;
    }
    case Kind::cycler: {
      const CyclerObject& cycler = object.cycler();
      if (name == "current") return cycler.items[cycler.position];
      break;
    }
    case Kind::range:
      if (name == "start") return Value::integer(object.range().start);
      if (name == "stop") return Value::integer(object.range().stop);
      if (name == "step") return Value::integer(object.range().step);
      break;
    case Kind::macro:
      if (name == "name") return text(std::string(object.as_macro()->name), true);
      break;
    case Kind::function:
      if (object.as_global() == Global::dict && name == "fromkeys") return Value::of(Global::dict_fromkeys);
      break;
    case Kind::integer:
    case Kind::boolean:
      if (name == "real" || name == "numerator") return Value::integer(object.as_int());
      if (name == "imag") return Value::integer(0);
      if (name == "denominator") return Value::integer(1);
      break;
    case Kind::real:
      if (name == "real") return object;
      if (name == "imag") return Value::real(0);
      break;
    default: break;
  }
  return undefined(missing_attribute(object, name));
}

Value Interpreter::get_item(const Value& object, const Value& key) {
  switch (object.kind()) {
    case Kind::undefined: return get_attribute(object, "");
    case Kind::dict: {
      charge(key.weight());
      if (key.is(Kind::list) || key.is(Kind::dict)) break;  // not hashable
      if (const Value* found = object.dict().find(key)) return *found;
      break;
    }
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::text: {
      if (!key.is_int_like()) break;
      const bool is_text = object.is_text();
      if (is_text) charge(object.text().size());
      const auto length = static_cast<std::int64_t>(*Iteration::over(object)->length());
      const std::int64_t at = key.as_int() < 0 ? key.as_int() + length : key.as_int();
      if (at < 0 || at >= length) break;
      if (object.is(Kind::range)) return Value::integer(object.range().start + at * object.range().step);
      if (!is_text) return object.items()[static_cast<std::size_t>(at)];
      const std::size_t begin = byte_of_char(object.text().view(), static_cast<std::size_t>(at));
      std::size_t end = begin;
      decode_at(object.text().view(), end);
      return text(object.text().slice(begin, end));
    }
    default: break;
  }
  if (key.is_text() && !object.is_dict()) return get_attribute(object, key.text().view());
  if (key.is_text()) {  // an item was not there: methods remain
    const std::string_view name = key.text().view();
    if (has_method(Kind::dict, name) || is_mutating_method(Kind::dict, name)) return get_attribute(object, name);
    return undefined(missing_attribute(object, name));
  }
  return undefined(fmt::format("{} object has no element {}", type_name(object), str(key).view()));
}

Value Interpreter::get_slice(const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (object.is_text()) {
    const Text& whole = object.text();
    charge(whole.size());
    const bool ascii = count_chars(whole.view()) == whole.size();
    const Slice slice =
        resolve_slice(static_cast<std::int64_t>(ascii ? whole.size() : count_chars(whole.view())), start, stop, step);
    if (slice.count == 0) return text(Text());
    if (slice.step == 1) {
      const auto from = static_cast<std::size_t>(slice.start), to = static_cast<std::size_t>(slice.start + slice.count);
      return ascii ? text(whole.slice(from, to))
                   : text(whole.slice(byte_of_char(whole.view(), from), byte_of_char(whole.view(), to)));
    }
    std::vector<std::size_t> begins;  // bytes of all code points, and the end
    for (std::size_t at = 0; at < whole.size(); decode_at(whole.view(), at)) begins.push_back(at);
    begins.push_back(whole.size());
    Text out;
    for (std::int64_t i = 0; i < slice.count; ++i) {
      const auto at = static_cast<std::size_t>(slice.start + i * slice.step);
      out.append(whole, begins[at], begins[at + 1]);
    }
    return text(std::move(out));
  }
  if (!object.is_sequence() && !object.is(Kind::range)) {
    if (object.is_undefined()) return get_attribute(object, "");
    raise("'{}' object cannot be sliced", type_name(object));
  }
  const bool range = object.is(Kind::range);
  const Slice slice =
      resolve_slice(range ? object.range().count : static_cast<std::int64_t>(object.items().size()), start, stop, step);
  std::vector<Value> out;
  out.reserve(static_cast<std::size_t>(slice.count));
  for (std::int64_t i = 0; i < slice.count; ++i) {
    this->step();
    const std::int64_t at = slice.start + i * slice.step;
    out.push_back(range ? Value::integer(object.range().start + at * object.range().step)
                        : object.items()[static_cast<std::size_t>(at)]);
  }
  return make_list(&heap_, std::move(out), object.is(Kind::tuple) ? Kind::tuple : Kind::list);
}

}  // namespace tap::jinja
