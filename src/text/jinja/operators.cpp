// Arithmetic as Python does it, on 64-bit integers (an overflow is an error), and the global functions.
#include <time.h>

#include <cmath>

#include "text/jinja/interpreter.h"

namespace tap::jinja {

namespace {

constexpr std::int64_t max_range = 100000;  // jinja2's sandbox: MAX_RANGE

[[noreturn]] void overflow() { raise("an integer over 64 bits"); }

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  if (b == 0) raise("integer division or modulo by zero");
  if (a == INT64_MIN && b == -1) overflow();
  const std::int64_t quotient = a / b;
  return quotient - ((a % b != 0) && ((a < 0) != (b < 0)) ? 1 : 0);
}

std::int64_t floor_mod(std::int64_t a, std::int64_t b) {
  if (b == 0) raise("integer division or modulo by zero");
  if (b == -1) return 0;
  const std::int64_t rest = a % b;
  return rest != 0 && ((rest < 0) != (b < 0)) ? rest + b : rest;
}

double real_mod(double a, double b) {
  if (b == 0) raise("float modulo");
  double rest = std::fmod(a, b);
  if (rest != 0 && ((rest < 0) != (b < 0))) rest += b;
  if (rest == 0) rest = std::copysign(0.0, b);
  return rest;
}

Value int_pow(std::int64_t base, std::int64_t power) {
  if (power < 0) {
    if (base == 0) raise("0.0 cannot be raised to a negative power");
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(power)));
  }
  std::int64_t out = 1;
  while (power > 0) {
    if ((power & 1) && __builtin_mul_overflow(out, base, &out)) overflow();
    power >>= 1;
    if (power > 0 && __builtin_mul_overflow(base, base, &base)) overflow();
  }
  return Value::integer(out);
}

Value int_binary(Op op, std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  switch (op) {
    case Op::add:
      if (__builtin_add_overflow(a, b, &out)) overflow();
      return Value::integer(out);
    case Op::sub:
      if (__builtin_sub_overflow(a, b, &out)) overflow();
      return Value::integer(out);
    case Op::mul:
      if (__builtin_mul_overflow(a, b, &out)) overflow();
      return Value::integer(out);
    case Op::div:
      if (b == 0) raise("division by zero");
      return Value::real(static_cast<double>(a) / static_cast<double>(b));
    case Op::floordiv: return Value::integer(floor_div(a, b));
    case Op::mod: return Value::integer(floor_mod(a, b));
    default: return int_pow(a, b);
  }
}

Value real_binary(Op op, double a, double b) {
  switch (op) {
    case Op::add: return Value::real(a + b);
    case Op::sub: return Value::real(a - b);
    case Op::mul: return Value::real(a * b);
    case Op::div:
      if (b == 0) raise("float division by zero");
      return Value::real(a / b);
    case Op::floordiv: {
      if (b == 0) raise("float floor division by zero");
      const double quotient = (a - real_mod(a, b)) / b;
      return Value::real(quotient == 0 ? std::copysign(0.0, a / b) : std::round(quotient));
    }
    case Op::mod: return Value::real(real_mod(a, b));
    default: {
      if (a == 0 && b < 0) raise("0.0 cannot be raised to a negative power");
      const double out = std::pow(a, b);
      if (std::isnan(out) && !std::isnan(a) && !std::isnan(b)) raise("complex numbers are not supported");
      if (std::isinf(out) && !std::isinf(a) && !std::isinf(b)) raise("result of ** too large");
      return Value::real(out);
    }
  }
}

constexpr std::string_view op_names[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};

}  // namespace

std::string escape_html(std::string_view piece) {
  std::string out;
  for (const char c : piece) {
    if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '\'') out += "&#39;";
    else if (c == '"') out += "&#34;";
    else out += c;
  }
  return out;
}

Text escaped(const Text& text) {
  if (text.markup) return text;
  Text out = text.map_runs(escape_html);
  out.markup = true;
  return out;
}

Text repeat_text(Interpreter& in, const Text& text, std::int64_t count) {
  Text out;
  out.markup = text.markup;
  if (count <= 0 || text.empty()) return out;
  if (static_cast<std::uint64_t>(count) > in.max_string() / text.size())
    raise_limit(fmt::format("a string of more than {} bytes", in.max_string()));
  for (std::int64_t i = 0; i < count; ++i) {
    in.step();
    out.append(text);
  }
  return out;
}

Value Interpreter::binary(Op op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_int_like() && b.is_int_like()) return int_binary(op, a.as_int(), b.as_int());
    return real_binary(op, a.as_real(), b.as_real());
  }
  for (const Value* side : {&a, &b})
    if (side->is_undefined() && !(op == Op::mod && a.is_text()))
      raise("{}", side->undefined_reason() ? side->undefined_reason()->reason : "value is undefined");
  if (a.is_text() && op == Op::mod) return text(format_percent(*this, a.text(), b));
  if (op == Op::add) {
    if (a.is_text() && b.is_text()) {
      const bool markup = a.text().markup || b.text().markup;
      Text out = markup ? escaped(a.text()) : a.text();
      const Text right = markup ? escaped(b.text()) : b.text();
      check_string(out.size() + right.size());
      out.append(right);
      return text(std::move(out));
    }
    if (a.is_sequence() && a.kind() == b.kind()) {
      charge((a.items().size() + b.items().size()) * sizeof(Value));
      std::vector<Value> out = a.items();
      out.insert(out.end(), b.items().begin(), b.items().end());
      return make_list(&heap_, std::move(out), a.kind());
    }
  }
  if (op == Op::mul) {
    const bool swapped = a.is_int_like();
    const Value &sequence = swapped ? b : a, &count = swapped ? a : b;
    if (count.is_int_like() && sequence.is_text()) return text(repeat_text(*this, sequence.text(), count.as_int()));
    if (count.is_int_like() && sequence.is_sequence()) {
      const std::int64_t times = std::max<std::int64_t>(count.as_int(), 0);
      const auto size = static_cast<std::int64_t>(sequence.items().size());
      if (size > 0 && times > static_cast<std::int64_t>(options_.limits.memory_bytes / sizeof(Value)) / size)
        raise_limit("a list that is too long");
      charge(static_cast<std::size_t>(times * size) * sizeof(Value));
      std::vector<Value> out;
      out.reserve(static_cast<std::size_t>(times * size));
      for (std::int64_t i = 0; size > 0 && i < times; ++i)
        out.insert(out.end(), sequence.items().begin(), sequence.items().end());
      return make_list(&heap_, std::move(out), sequence.kind());
    }
  }
  raise("unsupported operand type(s) for {}: '{}' and '{}'", op_names[static_cast<std::size_t>(op)], type_name(a),
        type_name(b));
}

std::string format_time(const std::string& format, std::int64_t unix_seconds) {
  const time_t seconds = unix_seconds;
  tm parts{};
  if (!localtime_r(&seconds, &parts)) raise("the time {} is out of range", unix_seconds);
  // Python's naive datetime has no zone: %z and %Z are empty; microseconds are 0 here.
  std::string plain;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 >= format.size()) plain += format[i];
    else if (format[i + 1] == 'z' || format[i + 1] == 'Z') ++i;
    else if (format[i + 1] == 'f') plain += "000000", ++i;
    else (plain += '%') += format[++i];
  }
  if (plain.empty()) return {};
  if (plain.size() > 1000) raise("strftime_now: a format of more than 1000 bytes");
  std::string out(plain.size() * 128 + 64, '\0');
  out.resize(::strftime(out.data(), out.size(), plain.c_str(), &parts));
  return out;
}

namespace {

void set_items(Interpreter& in, DictObject& out, const Call& arguments, std::string_view what) {
  if (arguments.positional.size() > 1)
    raise("{} expected at most 1 argument, got {}", what, arguments.positional.size());
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (source.is_dict()) {
      for (const auto& [key, value] : source.dict().items) out.set(key, value);
    } else {
      for (const Value& item : in.collect(source)) {
        const std::vector<Value> pair = in.collect(item);
        if (pair.size() != 2) raise("{}: an element has length {}; 2 is required", what, pair.size());
        out.set(pair[0], pair[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) out.set(in.text(name, true), value);
}

}  // namespace

Value Interpreter::call_global(Global function, Call& arguments) {
  switch (function) {
    case Global::range: {
      std::int64_t bounds[3] = {0, 0, 1};
      const std::size_t count = arguments.positional.size();
      if (count < 1 || count > 3 || !arguments.named.empty()) raise("range takes 1 to 3 arguments");
      for (std::size_t i = 0; i < count; ++i) bounds[count == 1 ? 1 : i] = want_int(arguments.positional[i], "range");
      const auto [start, stop, step] = bounds;
      if (step == 0) raise("range() arg 3 must not be zero");
      const auto span = step > 0 ? static_cast<__int128>(stop) - start : static_cast<__int128>(start) - stop;
      const auto stride = step > 0 ? static_cast<__int128>(step) : -static_cast<__int128>(step);
      const __int128 length = span > 0 ? (span - 1) / stride + 1 : 0;
      if (length > max_range) raise("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", max_range);
      auto object = std::make_shared<RangeObject>();
      adopt(*object, &heap_, sizeof(RangeObject), {});
      object->start = start, object->stop = stop, object->step = step,
      object->count = static_cast<std::int64_t>(length);
      return Value(Kind::range, std::move(object));
    }
    case Global::dict: {
      auto out = std::make_unique<DictObject>();
      set_items(*this, *out, arguments, "dict");
      return dict(std::move(out));
    }
    case Global::dict_fromkeys: {
      const Bound bound("fromkeys", arguments, {"iterable", "value"}, 1);
      auto out = std::make_unique<DictObject>();
      for (const Value& key : collect(bound[0])) out->set(key, bound.has(1) ? bound[1] : Value::none());
      return dict(std::move(out));
    }
    case Global::name_space: {
      DictObject attributes;
      set_items(*this, attributes, arguments, "namespace");
      const Value out = new_namespace();
      for (const auto& [key, value] : attributes.items) {
        if (!key.is_text()) raise("the names of a namespace must be strings");
        if (key.text().view().starts_with('_'))
          raise("a namespace cannot hold the name '{}': it starts with an underscore", key.text().view());
        heap_.charge(sizeof(Value) + key.text().size() + 32);
        out.as_namespace()->attributes.emplace_back(key.text().bytes(), value);
      }
      return out;
    }
    case Global::raise_exception: {
      const Bound bound("raise_exception", arguments, {"message"}, 1);
      throw Failure{str(bound[0]).bytes(), true, false};
    }
    case Global::strftime_now: {
      const Bound bound("strftime_now", arguments, {"format"}, 1);
      if (!bound[0].is_text()) raise("strftime_now: the format must be a string, not {}", type_name(bound[0]));
      const std::int64_t now = options_.now_unix ? *options_.now_unix : static_cast<std::int64_t>(::time(nullptr));
      return text(valid_utf8(format_time(bound[0].text().bytes(), now)), bound[0].text().all_trusted());
    }
    case Global::cycler: {
      if (arguments.positional.empty()) raise("at least one item has to be provided");
      auto object = std::make_shared<CyclerObject>();
      Extent held;
      for (const Value& item : arguments.positional) held.add(item);
      adopt(*object, &heap_, sizeof(CyclerObject) + arguments.positional.size() * sizeof(Value), held);
      object->items = arguments.positional;
      return Value(Kind::cycler, std::move(object));
    }
    case Global::joiner: {
      const Bound bound("joiner", arguments, {"sep"});
      auto object = std::make_shared<JoinerObject>();
      Extent held;
      if (bound.has(0)) held.add(bound[0]);
      adopt(*object, &heap_, sizeof(JoinerObject), held);
      object->separator = bound.has(0) ? bound[0] : make_text(nullptr, Text(", ", true));
      return Value(Kind::joiner, std::move(object));
    }
  }
  return {};
}

Bound::Bound(std::string_view function, const Call& call, std::initializer_list<std::string_view> names,
             std::size_t required)
    : values_(names.size()), given_(names.size()) {
  if (call.positional.size() > names.size())
    raise("{}() takes at most {} argument(s), got {}", function, names.size(), call.positional.size());
  for (std::size_t i = 0; i < call.positional.size(); ++i) values_[i] = call.positional[i], given_[i] = true;
  for (const auto& [name, value] : call.named) {
    std::size_t i = 0;
    while (i < names.size() && names.begin()[i] != name) ++i;
    if (i == names.size()) raise("{}() got an unexpected keyword argument '{}'", function, name);
    if (given_[i]) raise("{}() got multiple values for argument '{}'", function, name);
    values_[i] = value, given_[i] = true;
  }
  for (std::size_t i = 0; i < required; ++i)
    if (!given_[i]) raise("{}() is missing the argument '{}'", function, names.begin()[i]);
}

std::int64_t want_int(const Value& value, std::string_view what) {
  if (value.is_int_like()) return value.as_int();
  if (value.is_undefined() && value.undefined_reason()) raise("{}", value.undefined_reason()->reason);
  raise("{}: '{}' object cannot be interpreted as an integer", what, type_name(value));
}

std::int64_t Bound::int_or(std::size_t i, std::int64_t fallback) const {
  return given_[i] ? want_int(values_[i], "argument") : fallback;
}

}  // namespace tap::jinja
