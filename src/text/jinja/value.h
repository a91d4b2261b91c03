// Values of the template interpreter, with Python's meaning of truth, equality, order, str() and repr().
// Everything but namespaces is immutable, so values form no cycles; containers know their depth, so that no recursion
// over them (destruction, comparison, printing) can exhaust the stack.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "io/json.h"
#include "text/jinja/text.h"

namespace tap::jinja {

class Interpreter;
class Value;
struct Macro;
struct Namespace;

constexpr int max_value_depth = 200;  // the JSON door lets 128 through

// An error of the running template: the interpreter adds the name and the line.
struct Failure {
  std::string message;
  bool verbatim = false;  // raise_exception: exactly this message
  bool limit = false;
};
template <class... Args>
[[noreturn]] void raise(fmt::format_string<Args...> format, Args&&... args) {
  throw Failure{fmt::format(format, std::forward<Args>(args)...)};
}

[[noreturn]] inline void raise_limit(std::string message) { throw Failure{std::move(message), false, true}; }

// Bytes of values alive; the charge goes back when the object dies.
class Heap {
 public:
  explicit Heap(std::size_t limit) : limit_(limit) {}
  void charge(std::size_t bytes) {
    live_ += bytes;
    if (live_ > limit_) throw Failure{fmt::format("values of more than {} bytes", limit_), false, true};
  }
  void release(std::size_t bytes) { live_ -= bytes; }

 private:
  std::size_t limit_, live_ = 0;
};

enum class Kind : std::uint8_t {
  undefined,
  none,
  boolean,
  integer,
  real,
  text,
  list,
  tuple,
  dict,
  view,
  range,
  generator,
  name_space,
  macro,
  method,
  function,
  loop,
  cycler,
  joiner
};

struct Object {
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() {
    if (heap) heap->release(charged);
  }
  Heap* heap = nullptr;
  std::size_t charged = 0;
  int depth = 1;
  std::size_t weight = 0;  // bytes when written out with everything inside, saturating: shared parts count each time
};

struct TextObject;
struct ListObject;
struct DictObject;
struct RangeObject;
struct GeneratorObject;
struct UndefinedObject;
struct MethodObject;
struct LoopObject;
struct CyclerObject;
struct JoinerObject;
enum class Global : std::uint8_t;

class Value {
 public:
  Value() : kind_(Kind::undefined), integer_(0) {}
  static Value none() { return Value(Kind::none, 0); }
  static Value boolean(bool value) { return Value(Kind::boolean, value ? 1 : 0); }
  static Value integer(std::int64_t value) { return Value(Kind::integer, value); }
  static Value size(std::size_t value) { return integer(static_cast<std::int64_t>(value)); }
  static Value real(double value) {
    Value v(Kind::real, 0);
    v.real_ = value;
    return v;
  }
  static Value of(Namespace* value) {
    Value v(Kind::name_space, 0);
    v.name_space_ = value;
    return v;
  }
  static Value of(Macro* value) {
    Value v(Kind::macro, 0);
    v.macro_ = value;
    return v;
  }
  static Value of(Global value) { return Value(Kind::function, static_cast<std::int64_t>(value)); }
  Value(Kind kind, std::shared_ptr<Object> object) : kind_(kind), integer_(0), object_(std::move(object)) {}

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return kind_ == Kind::undefined; }
  bool is_none() const { return kind_ == Kind::none; }
  bool is_text() const { return kind_ == Kind::text; }
  bool is_dict() const { return kind_ == Kind::dict; }
  bool is_int_like() const { return kind_ == Kind::integer || kind_ == Kind::boolean; }
  bool is_number() const { return is_int_like() || kind_ == Kind::real; }
  bool is_sequence() const { return kind_ == Kind::list || kind_ == Kind::tuple; }

  std::int64_t as_int() const { return integer_; }  // integers and booleans
  bool as_bool() const { return integer_ != 0; }
  double as_real() const { return kind_ == Kind::real ? real_ : static_cast<double>(integer_); }
  Namespace* as_namespace() const { return name_space_; }
  Macro* as_macro() const { return macro_; }
  Global as_global() const { return static_cast<Global>(integer_); }
  const Text& text() const;
  const std::vector<Value>& items() const;  // list, tuple, view
  const DictObject& dict() const;
  const RangeObject& range() const;
  GeneratorObject& generator() const;
  const MethodObject& method() const;
  LoopObject& loop() const;
  CyclerObject& cycler() const;
  JoinerObject& joiner() const;
  const UndefinedObject* undefined_reason() const;
  const Object* object() const { return object_.get(); }
  int depth() const { return object_ ? object_->depth : 0; }
  std::size_t weight() const { return object_ ? object_->weight : 8; }

 private:
  Value(Kind kind, std::int64_t integer) : kind_(kind), integer_(integer) {}
  Kind kind_;
  union {
    std::int64_t integer_;
    double real_;
    Namespace* name_space_;
    Macro* macro_;
  };
  std::shared_ptr<Object> object_;
};

struct TextObject final : Object {
  Text text;
};
struct ListObject final : Object {
  std::vector<Value> items;
  const char* view_name = nullptr;  // "dict_items"
  bool group = false;               // a tuple of groupby: .grouper and .list
};
struct DictObject final : Object {
  std::vector<std::pair<Value, Value>> items;            // in order of insertion
  std::unordered_multimap<std::size_t, std::uint32_t> index;  // hash to item, from 16 items on

  const Value* find(const Value& key) const;       // the key must be hashable
  const Value* find(std::string_view key) const;
  void set(const Value& key, const Value& value);  // a key that is there keeps its place
};
struct RangeObject final : Object {
  std::int64_t start = 0, stop = 0, step = 1, count = 0;
};
struct GeneratorObject final : Object {
  std::function<bool(Interpreter&, Value&)> next;  // false: no more
  const char* name = "generator";
};
struct UndefinedObject final : Object {
  std::string reason;
};
struct MethodObject final : Object {
  Value self;
  std::string name;
};
struct CyclerObject final : Object {
  std::vector<Value> items;
  std::size_t position = 0;
};
struct JoinerObject final : Object {
  Value separator;
  bool used = false;
};
struct Namespace {  // owned by the interpreter: the only values that can hold themselves
  std::vector<std::pair<std::string, Value>> attributes;
  Value* find(std::string_view name);
};

inline const Text& Value::text() const { return static_cast<const TextObject&>(*object_).text; }
inline const std::vector<Value>& Value::items() const { return static_cast<const ListObject&>(*object_).items; }
inline const DictObject& Value::dict() const { return static_cast<const DictObject&>(*object_); }
inline const RangeObject& Value::range() const { return static_cast<const RangeObject&>(*object_); }
inline GeneratorObject& Value::generator() const { return static_cast<GeneratorObject&>(*object_); }
inline const MethodObject& Value::method() const { return static_cast<const MethodObject&>(*object_); }
inline CyclerObject& Value::cycler() const { return static_cast<CyclerObject&>(*object_); }
inline JoinerObject& Value::joiner() const { return static_cast<JoinerObject&>(*object_); }
inline const UndefinedObject* Value::undefined_reason() const {
  return static_cast<const UndefinedObject*>(object_.get());
}

// --- making values; heap may be null (constants, variables)
// -------------------------------------------------------------------
Value make_text(Heap* heap, Text text);
Value make_list(Heap* heap, std::vector<Value> items, Kind kind = Kind::list, const char* view_name = nullptr);
Value make_dict(Heap* heap, std::unique_ptr<DictObject> dict);
Value make_undefined(std::string reason);
// What an object holds, for its depth and weight.
struct Extent {
  int depth = 0;
  std::size_t weight = 0;
  void add(const Value& child);
};
// Sets charge, depth and weight; throws Failure when the nesting is too deep or the heap is full.
void adopt(Object& object, Heap* heap, std::size_t bytes, const Extent& held);

// The variables of a rendering. `trusted` holds for all strings below.
Value from_json(const Json& json, bool trusted, int depth = 0);
// The whole context: which strings are trusted is told at ChatTemplate::render.
std::vector<std::pair<std::string, Value>> context_from_json(const Json& variables);

// --- Python's meaning of values
// ---------------------------------------------------------------------------------------------
const char* type_name(const Value& value);  // "str"
bool truth(const Value& value);
bool equal(const Value& a, const Value& b);
int order(const Value& a, const Value& b,
          const char* op);  // -1, 0, 1, 2 (unordered: NaN); Failure for types without order
std::size_t hash_of(const Value& value);                    // Failure for what is not hashable
bool identical(const Value& a, const Value& b);             // `is`
Text str(const Value& value, std::size_t max_bytes);  // Failure when the result is longer
Text repr(const Value& value, std::size_t max_bytes);
std::string real_repr(double value);
void repr_string(std::string_view piece, char quote, std::string& out);  // the inside of Python's quotes
char quote_for(std::string_view text);

struct JsonStyle {
  bool ensure_ascii = false;
  bool has_indent = false;
  Text indent;
  bool sort_keys = false;
  Text item_separator{", ", true}, key_separator{": ", true};
  std::size_t max_bytes = 0;
};
Text dump_json(const Value& value, const JsonStyle& style);  // Python's json.dumps

}  // namespace tap::jinja
