#include "text/jinja/value.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace tap::jinja {

namespace {

constexpr std::size_t index_from = 16;

std::size_t mix(std::size_t seed, std::size_t value) {
  return seed ^ (value + 0x9E3779B97F4A7C15ULL + (seed << 6) + (seed >> 2));
}

bool is_well_known_role(std::string_view role) {
  constexpr std::array<std::string_view, 12> roles = {"system",      "user",    "assistant",     "tool",
                                                      "developer",   "ipython", "function",      "model",
                                                      "observation", "human",   "tool_response", "chatbot"};
  return std::find(roles.begin(), roles.end(), role) != roles.end();
}

bool is_token_variable(std::string_view name) {
  constexpr std::array<std::string_view, 10> names = {"bos_token",   "eos_token",  "unk_token",  "sep_token",
                                                      "pad_token",   "cls_token",  "mask_token", "image_token",
                                                      "video_token", "audio_token"};
  return std::find(names.begin(), names.end(), name) != names.end();
}

template <class T>
int sign_of(const T& a, const T& b) {
  return a < b ? -1 : a > b ? 1 : a == b ? 0 : 2;
}

// Exact, where a double cannot hold the integer.
int compare_numbers(const Value& a, const Value& b) {
  if (a.is_int_like() && b.is_int_like()) return sign_of(a.as_int(), b.as_int());
  if (a.is(Kind::real) && b.is(Kind::real)) return sign_of(a.as_real(), b.as_real());
  if (a.is(Kind::real)) {
    const int reversed = compare_numbers(b, a);
    return reversed == 2 ? 2 : -reversed;
  }
  const double real = b.as_real();
  if (std::isnan(real)) return 2;
  if (real >= 9223372036854775808.0) return -1;
  if (real < -9223372036854775808.0) return 1;
  const double whole = std::floor(real);
  const int by_whole = sign_of(a.as_int(), static_cast<std::int64_t>(whole));
  return by_whole != 0 ? by_whole : (real > whole ? -1 : 0);
}

}  // namespace

void Extent::add(const Value& child) {
  depth = std::max(depth, child.depth());
  if (__builtin_add_overflow(weight, child.weight() + 2, &weight)) weight = SIZE_MAX / 2;
}

void adopt(Object& object, Heap* heap, std::size_t bytes, const Extent& held) {
  if (held.depth >= max_value_depth) raise_limit(fmt::format("values nested more than {} deep", max_value_depth));
  object.depth = held.depth + 1;
  object.weight = std::min(held.weight, SIZE_MAX / 2) + 8;
  if (!heap) return;
  object.heap = heap;
  object.charged = bytes;
  heap->charge(bytes);  // when it throws, the object dies and gives the charge back
}

Value make_text(Heap* heap, Text text) {
  auto object = std::make_shared<TextObject>();
  adopt(*object, heap, sizeof(TextObject) + text.size(), {0, text.size()});
  object->text = std::move(text);
  return Value(Kind::text, std::move(object));
}

Value make_list(Heap* heap, std::vector<Value> items, Kind kind, const char* view_name) {
  Extent held;
  for (const Value& item : items) held.add(item);
  auto object = std::make_shared<ListObject>();
  adopt(*object, heap, sizeof(ListObject) + items.size() * sizeof(Value), held);
  object->items = std::move(items);
  object->view_name = view_name;
  return Value(kind, std::move(object));
}

Value make_dict(Heap* heap, std::unique_ptr<DictObject> dict) {
  Extent held;
  for (const auto& [key, value] : dict->items) held.add(key), held.add(value);
  std::shared_ptr<DictObject> object = std::move(dict);
  adopt(*object, heap, sizeof(DictObject) + object->items.size() * (2 * sizeof(Value) + 48), held);
  return Value(Kind::dict, std::move(object));
}

Value make_undefined(std::string reason) {
  auto object = std::make_shared<UndefinedObject>();
  object->reason = std::move(reason);
  return Value(Kind::undefined, std::move(object));
}

Value* Namespace::find(std::string_view name) {
  for (auto& [key, value] : attributes)
    if (key == name) return &value;
  return nullptr;
}

const Value* DictObject::find(std::string_view key) const {
  if (items.size() < index_from) {
    for (const auto& [k, v] : items)
      if (k.is_text() && k.text().view() == key) return &v;
    return nullptr;
  }
  const auto [first, last] = index.equal_range(std::hash<std::string_view>{}(key));
  for (auto it = first; it != last; ++it) {
    const auto& [k, v] = items[it->second];
    if (k.is_text() && k.text().view() == key) return &v;
  }
  return nullptr;
}

const Value* DictObject::find(const Value& key) const {
  if (key.is_text()) return find(key.text().view());
  const std::size_t hash = hash_of(key);
  if (items.size() < index_from) {
    for (const auto& [k, v] : items)
      if (equal(k, key)) return &v;
    return nullptr;
  }
  const auto [first, last] = index.equal_range(hash);
  for (auto it = first; it != last; ++it)
    if (equal(items[it->second].first, key)) return &items[it->second].second;
  return nullptr;
}

void DictObject::set(const Value& key, const Value& value) {
  if (const Value* there = find(key)) {
    *const_cast<Value*>(there) = value;  // NOLINT: find is const for readers; this object is not
    return;
  }
  items.emplace_back(key, value);
  if (items.size() == index_from) {
    for (std::uint32_t i = 0; i < items.size(); ++i) index.emplace(hash_of(items[i].first), i);
  } else if (items.size() > index_from) {
    index.emplace(hash_of(key), static_cast<std::uint32_t>(items.size() - 1));
  }
}

Value from_json(const Json& json, bool trusted, int depth) {
  if (depth > max_value_depth) raise_limit(fmt::format("variables nested more than {} deep", max_value_depth));
  switch (json.type()) {
    case Json::value_t::null:
    case Json::value_t::discarded: return Value::none();
    case Json::value_t::boolean: return Value::boolean(json.get<bool>());
    case Json::value_t::number_integer: return Value::integer(json.get<std::int64_t>());
    case Json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(INT64_MAX))
        raise("the integer {} of the variables is over {}", number, INT64_MAX);
      return Value::integer(static_cast<std::int64_t>(number));
    }
    case Json::value_t::number_float: return Value::real(json.get<double>());
    case Json::value_t::string:
      return make_text(nullptr, Text(valid_utf8(json.get_ref<const std::string&>()), trusted));
    case Json::value_t::binary: return Value::none();
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(from_json(item, trusted, depth + 1));
      return make_list(nullptr, std::move(items));
    }
    case Json::value_t::object: {
      auto dict = std::make_unique<DictObject>();
      for (const auto& [key, item] : json.items())
        dict->set(make_text(nullptr, Text(valid_utf8(key), trusted)), from_json(item, trusted, depth + 1));
      return make_dict(nullptr, std::move(dict));
    }
  }
  return Value::none();
}

std::vector<std::pair<std::string, Value>> context_from_json(const Json& variables) {
  if (!variables.is_object()) raise("the variables must be a JSON object, not {}", variables.type_name());
  std::vector<std::pair<std::string, Value>> context;
  for (const auto& [name, json] : variables.items()) {
    Value value = from_json(json, is_token_variable(name));
    if (name == "messages" && value.is(Kind::list)) {
      for (const Value& message : value.items()) {
        if (!message.is_dict()) continue;
        const Value* role = message.dict().find("role");
        if (role && role->is_text() && is_well_known_role(role->text().view()))
          *const_cast<Value*>(role) =
              make_text(nullptr, Text(role->text().bytes(), true));  // NOLINT: nobody else has it yet
      }
    }
    context.emplace_back(name, std::move(value));
  }
  return context;
}

const char* type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined: return "Undefined";
    case Kind::none: return "NoneType";
    case Kind::boolean: return "bool";
    case Kind::integer: return "int";
    case Kind::real: return "float";
    case Kind::text: return "str";
    case Kind::list: return "list";
    case Kind::tuple: return "tuple";
    case Kind::dict: return "dict";
    case Kind::view: return static_cast<const ListObject&>(*value.object()).view_name;
    case Kind::range: return "range";
    case Kind::generator: return value.generator().name;
    case Kind::name_space: return "Namespace";
    case Kind::macro: return "Macro";
    case Kind::method: return "builtin_function_or_method";
    case Kind::function: return "function";
    case Kind::loop: return "LoopContext";
    case Kind::cycler: return "Cycler";
    case Kind::joiner: return "Joiner";
  }
  return "";
}

bool truth(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::none: return false;
    case Kind::boolean:
    case Kind::integer: return value.as_int() != 0;
    case Kind::real: return value.as_real() != 0;
    case Kind::text: return !value.text().empty();
    case Kind::list:
    case Kind::tuple:
    case Kind::view: return !value.items().empty();
    case Kind::dict: return !value.dict().items.empty();
    case Kind::range: return value.range().count != 0;
    default: return true;
  }
}

bool identical(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::undefined: return a.object() == b.object() && a.object() != nullptr;
    case Kind::none: return true;
    case Kind::boolean:
    case Kind::integer: return a.as_int() == b.as_int();
    case Kind::real: return a.as_real() == b.as_real();
    case Kind::text: return a.object() == b.object() || a.text().view() == b.text().view();
    case Kind::name_space: return a.as_namespace() == b.as_namespace();
    case Kind::macro: return a.as_macro() == b.as_macro();
    case Kind::function: return a.as_global() == b.as_global();
    default: return a.object() == b.object();
  }
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::undefined: return true;
    case Kind::text: return a.text().view() == b.text().view();
    case Kind::list:
    case Kind::tuple:
    case Kind::view:
      if (a.object() == b.object()) return true;
      return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(), equal);
    case Kind::dict: {
      if (a.object() == b.object()) return true;
      if (a.dict().items.size() != b.dict().items.size()) return false;
      for (const auto& [key, value] : a.dict().items) {
        const Value* other = b.dict().find(key);
        if (!other || !equal(value, *other)) return false;
      }
      return true;
    }
    case Kind::range: {
      const RangeObject &x = a.range(), &y = b.range();
      return x.count == y.count && (x.count == 0 || (x.start == y.start && (x.count == 1 || x.step == y.step)));
    }
    default: return identical(a, b);
  }
}

int order(const Value& a, const Value& b, const char* op) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b);
  if (a.is_text() && b.is_text())
    return sign_of(a.text().view().compare(b.text().view()), 0);  // UTF-8 keeps code point order
  if (a.is_sequence() && a.kind() == b.kind()) {
    const auto &x = a.items(), &y = b.items();
    for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i)
      if (!equal(x[i], y[i])) return order(x[i], y[i], op);
    return sign_of(x.size(), y.size());
  }
  if (a.is_undefined() || b.is_undefined()) {
    const UndefinedObject* reason = (a.is_undefined() ? a : b).undefined_reason();
    raise("{}", reason ? reason->reason : "value is undefined");
  }
  raise("'{}' not supported between instances of '{}' and '{}'", op, type_name(a), type_name(b));
}

std::size_t hash_of(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::none: return 0x5EED + static_cast<std::size_t>(value.kind());
    case Kind::boolean:
    case Kind::integer: return std::hash<std::int64_t>{}(value.as_int());
    case Kind::real: {
      const double real = value.as_real();  // 1.0 and 1 are the same key
      if (std::floor(real) == real && std::fabs(real) < 9e18)
        return std::hash<std::int64_t>{}(static_cast<std::int64_t>(real));
      return std::hash<double>{}(real);
    }
    case Kind::text: return std::hash<std::string_view>{}(value.text().view());
    case Kind::tuple: {
      std::size_t hash = 0x7091E;
      for (const Value& item : value.items()) hash = mix(hash, hash_of(item));
      return hash;
    }
    case Kind::list:
    case Kind::dict:
    case Kind::view: raise("unhashable type: '{}'", type_name(value));
    case Kind::name_space: return std::hash<const void*>{}(value.as_namespace());
    case Kind::macro: return std::hash<const void*>{}(value.as_macro());
    case Kind::function: return 0xF00 + static_cast<std::size_t>(value.as_global());
    default: return std::hash<const void*>{}(value.object());
  }
}

}  // namespace tap::jinja
