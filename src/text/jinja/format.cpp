// Python's "%" on strings and str.format. What the format string says keeps its origin, what is inserted keeps its own.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/interpreter.h"

namespace tap::jinja {

namespace {

struct Spec {
  Text fill{" ", true};
  char align = '\0', sign = '-', type = '\0', grouping = '\0';
  bool alternate = false;
  std::int64_t width = 0, precision = -1;
};

void check_width(Interpreter& in, std::int64_t size) {
  if (size < 0 || static_cast<std::uint64_t>(size) > in.max_string())
    raise_limit(fmt::format("a string of more than {} bytes", in.max_string()));
}

std::string in_base(std::uint64_t value, unsigned base, bool upper) {
  char buffer[66];
  std::string out(buffer, std::to_chars(buffer, buffer + sizeof buffer, value, static_cast<int>(base)).ptr);
  return upper ? to_upper(out) : out;
}

std::string grouped(const std::string& digits, char separator, std::size_t every) {
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % every == 0) out += separator;
    out += digits[i];
  }
  return out;
}

std::string real_digits(double value, char type, std::int64_t precision, bool alternate) {  // value >= 0
  if (std::isnan(value)) return type >= 'A' && type <= 'Z' ? "NAN" : "nan";
  if (std::isinf(value)) return type >= 'A' && type <= 'Z' ? "INF" : "inf";
  const std::string form = std::string("%") + (alternate ? "#" : "") + ".*" + type;
  const int places = static_cast<int>(precision);
  const int size = std::snprintf(nullptr, 0, form.c_str(), places, value);
  std::string out(static_cast<std::size_t>(size) + 1, '\0');
  std::snprintf(out.data(), out.size(), form.c_str(), places, value);
  out.pop_back();
  return out;
}

// Sign and digits of a number; text padding is left to pad().
struct Digits {
  std::string sign, digits;
};

Digits format_real(double value, const Spec& spec, Interpreter& in) {
  Digits out;
  if (std::signbit(value) && !std::isnan(value)) out.sign = "-";
  else if (spec.sign != '-') out.sign = std::string(1, spec.sign);
  const double size = std::fabs(value);
  check_width(in, std::clamp<std::int64_t>(spec.precision, 0, INT32_MAX) + 400);  // a precision of "*" has 64 bits
  if (spec.type == '\0' && spec.precision < 0) out.digits = real_repr(size);
  else if (spec.type == '%')
    out.digits = real_digits(size * 100, 'f', spec.precision < 0 ? 6 : spec.precision, spec.alternate) + "%";
  else {
    std::int64_t precision = spec.precision < 0 ? 6 : spec.precision;
    if (spec.type == '\0' || spec.type == 'n') precision = std::max<std::int64_t>(precision, 1);
    out.digits = real_digits(size, spec.type == '\0' || spec.type == 'n' ? 'g' : spec.type, precision, spec.alternate);
    if (spec.type == '\0' && out.digits.find_first_of(".eni") == std::string::npos) out.digits += ".0";
  }
  if (spec.grouping) {
    const std::size_t whole = out.digits.find_first_not_of("0123456789");
    out.digits = grouped(out.digits.substr(0, whole), spec.grouping, 3) +
                 (whole == std::string::npos ? "" : out.digits.substr(whole));
  }
  return out;
}

Digits format_int(std::int64_t value, const Spec& spec) {
  Digits out;
  if (value < 0) out.sign = "-";
  else if (spec.sign != '-') out.sign = std::string(1, spec.sign);
  const std::uint64_t size = value < 0 ? ~static_cast<std::uint64_t>(value) + 1 : static_cast<std::uint64_t>(value);
  const bool upper = spec.type == 'X';
  const unsigned base = spec.type == 'x' || upper ? 16 : spec.type == 'o' ? 8 : spec.type == 'b' ? 2 : 10;
  out.digits = in_base(size, base, upper);
  if (spec.grouping) out.digits = grouped(out.digits, spec.grouping, base == 10 ? 3 : 4);
  if (spec.alternate && base != 10) out.sign += base == 16 ? (upper ? "0X" : "0x") : base == 8 ? "0o" : "0b";
  return out;
}

Text pad(Interpreter& in, const Text& body, const Spec& spec, char default_align) {
  const std::int64_t missing = spec.width - static_cast<std::int64_t>(count_chars(body.view()));
  if (missing <= 0) return body;
  check_width(in, spec.width);
  const char align = spec.align ? spec.align : default_align;
  const std::int64_t left = align == '>' ? missing : align == '^' ? missing / 2 : 0;
  Text out = repeat_text(in, spec.fill, left);
  out.append(body);
  out.append(repeat_text(in, spec.fill, missing - left));
  return out;
}

Text pad_number(Interpreter& in, const Digits& number, const Spec& spec) {
  if (spec.align != '=') return pad(in, Text(number.sign + number.digits, true), spec, '>');
  const std::int64_t missing = spec.width - static_cast<std::int64_t>(number.sign.size() + number.digits.size());
  Text out(number.sign, true);
  if (missing > 0) check_width(in, spec.width), out.append(repeat_text(in, spec.fill, missing));
  out.append(number.digits, true);
  return out;
}

Text cut(const Text& text, std::int64_t precision) {
  if (precision < 0) return text;
  return text.slice(0, byte_of_char(text.view(), static_cast<std::size_t>(precision)));
}

std::int64_t read_digits(std::string_view text, std::size_t& at) {
  std::int64_t value = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    value = value * 10 + (text[at] - '0');
    if (value > INT32_MAX) raise("too many decimal digits in format string");
  }
  return value;
}

bool is_digit_at(std::string_view text, std::size_t at) {
  return at < text.size() && text[at] >= '0' && text[at] <= '9';
}

// The mini-language of str.format: [[fill]align][sign][#][0][width][,][.precision][type]
Spec parse_spec(const Text& text) {
  Spec spec;
  const std::string_view view = text.view();
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  std::size_t at = 0, second = 0;
  if (!view.empty()) decode_at(view, second);
  if (second > 0 && second < view.size() && is_align(view[second])) {
    spec.fill = text.slice(0, second);
    spec.align = view[second];
    at = second + 1;
  } else if (!view.empty() && is_align(view[0])) {
    spec.align = view[at++];
  }
  if (at < view.size() && (view[at] == '+' || view[at] == '-' || view[at] == ' ')) spec.sign = view[at++];
  if (at < view.size() && view[at] == '#') spec.alternate = true, ++at;
  if (at < view.size() && view[at] == '0') {
    ++at;
    if (!spec.align) spec.fill = Text("0", true), spec.align = '=';
  }
  spec.width = read_digits(view, at);
  if (at < view.size() && (view[at] == ',' || view[at] == '_')) spec.grouping = view[at++];
  if (at < view.size() && view[at] == '.') {
    ++at;
    if (!is_digit_at(view, at)) raise("format specifier missing precision");
    spec.precision = read_digits(view, at);
  }
  if (at < view.size()) spec.type = view[at++];
  if (at != view.size()) raise("invalid format specifier '{}'", view);
  return spec;
}

Text format_value(Interpreter& in, const Value& value, const Text& spec_text) {
  if (spec_text.empty()) return in.str(value);
  Spec spec = parse_spec(spec_text);
  const auto bad_type = [&] { raise("unknown format code '{}' for object of type '{}'", spec.type, type_name(value)); };
  if (value.is(Kind::real) ||
      (value.is_int_like() && std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos && spec.type)) {
    if (spec.type && std::string_view("eEfFgGn%").find(spec.type) == std::string_view::npos) bad_type();
    return pad_number(in, format_real(value.as_real(), spec, in), spec);
  }
  if (value.is_int_like()) {
    if (spec.precision >= 0) raise("precision not allowed in integer format specifier");
    if (spec.type == 'c') {
      if (value.as_int() < 0 || value.as_int() > 0x10FFFF) raise("%c arg not in range(0x110000)");
      std::string one;
      encode_to(one, static_cast<char32_t>(value.as_int()));
      return pad(in, Text(one, false), spec, '<');  // a number may be the user's: no trusted text is made of it
    }
    if (spec.type && std::string_view("bdnoxX").find(spec.type) == std::string_view::npos) bad_type();
    return pad_number(in, format_int(value.as_int(), spec), spec);
  }
  if (!value.is_text() && !value.is_undefined())
    raise("unsupported format string passed to {}.__format__", type_name(value));
  if (value.is_undefined()) raise("unsupported format string passed to Undefined.__format__");
  if (spec.type && spec.type != 's') bad_type();
  if (spec.sign != '-' || spec.alternate || spec.grouping || (spec.align == '=' && spec.fill.view() != "0"))
    raise("invalid format specifier '{}' for a string", spec_text.view());
  if (spec.align == '=') spec.align = '<';
  return pad(in, cut(value.text(), spec.precision), spec, '<');
}

class BraceFormat {
 public:
  BraceFormat(Interpreter& in, const Call& call) : in_(in), call_(call) {}

  Text run(const Text& format, int depth) {
    if (depth > 2) raise("Max string recursion exceeded");
    const std::string_view view = format.view();
    Text out;
    for (std::size_t at = 0; at < view.size();) {
      in_.step();
      const std::size_t brace = view.find_first_of("{}", at);
      out.append(format, at, std::min(brace, view.size()));
      if (brace == std::string_view::npos) break;
      if (brace + 1 < view.size() && view[brace + 1] == view[brace]) {
        out.append(format, brace, brace + 1);
        at = brace + 2;
        continue;
      }
      if (view[brace] == '}') raise("Single '}}' encountered in format string");
      std::size_t end = brace + 1;
      for (int open = 1; end < view.size(); ++end) {
        if (view[end] == '{') ++open;
        if (view[end] == '}' && --open == 0) break;
      }
      if (end >= view.size()) raise("expected '}}' before end of string");
      const Text piece = field(format, brace + 1, end, depth);
      in_.check_string(out.size() + piece.size());
      out.append(piece);
      at = end + 1;
    }
    return out;
  }

 private:
  Text field(const Text& format, std::size_t begin, std::size_t end, int depth) {
    const std::string_view view = format.view();
    std::size_t name_end = begin;
    for (bool index = false; name_end < end; ++name_end) {
      if (view[name_end] == '[') index = true;
      if (view[name_end] == ']') index = false;
      if (!index && (view[name_end] == '!' || view[name_end] == ':')) break;
    }
    std::size_t at = name_end;
    char conversion = '\0';
    if (at < end && view[at] == '!') {
      if (at + 1 >= end) raise("end of string while looking for conversion specifier");
      conversion = view[at + 1];
      at += 2;
      if (at < end && view[at] != ':') raise("expected ':' after conversion specifier");
    }
    Value value = resolve(view.substr(begin, name_end - begin));
    const Text spec = at < end ? run(format.slice(at + 1, end), depth + 1) : Text();
    if (conversion == 'r' || conversion == 'a') value = in_.text(in_.repr(value));
    else if (conversion == 's') value = in_.text(in_.str(value));
    else if (conversion) raise("Unknown conversion specifier '{}'", conversion);
    return format_value(in_, value, spec);
  }

  Value resolve(std::string_view name) {
    const std::size_t first_end = std::min(name.find_first_of(".["), name.size());
    const std::string_view first = name.substr(0, first_end);
    Value value;
    if (first.empty() || is_digit_at(first, 0)) {
      std::size_t index = next_index_, at = 0;
      if (first.empty()) {
        if (manual_) raise("cannot switch from manual field specification to automatic field numbering");
        automatic_ = true;
        ++next_index_;
      } else {
        if (automatic_) raise("cannot switch from automatic field numbering to manual field specification");
        manual_ = true;
        index = static_cast<std::size_t>(read_digits(first, at));
      }
      if (index >= call_.positional.size()) raise("Replacement index {} out of range for positional args tuple", index);
      value = call_.positional[index];
    } else {
      const auto found =
          std::find_if(call_.named.begin(), call_.named.end(), [&](const auto& item) { return item.first == first; });
      if (found == call_.named.end()) raise("'{}'", first);
      value = found->second;
    }
    for (std::size_t at = first_end; at < name.size();) {
      if (name[at] == '.') {
        const std::size_t stop = std::min(name.find_first_of(".[", at + 1), name.size());
        value = in_.get_attribute(value, name.substr(at + 1, stop - at - 1));
        at = stop;
      } else {
        const std::size_t stop = name.find(']', at);
        if (name[at] != '[' || stop == std::string_view::npos) raise("Missing ']' in format string");
        const std::string_view key = name.substr(at + 1, stop - at - 1);
        const bool number =
            !key.empty() && std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
        std::size_t digits = 0;
        value =
            in_.get_item(value, number ? Value::integer(read_digits(key, digits)) : in_.text(std::string(key), true));
        at = stop + 1;
      }
    }
    return value;
  }

  Interpreter& in_;
  const Call& call_;
  std::size_t next_index_ = 0;
  bool automatic_ = false, manual_ = false;
};

// One "%" conversion of an argument.
Text percent_value(Interpreter& in, const Value& value, Spec& spec, bool zero, bool left, bool markup) {
  spec.align = left ? '<' : '>';
  switch (spec.type) {
    case 's':
    case 'r':
    case 'a': {
      Text body = spec.type == 's' ? in.str(value) : in.repr(value);
      if (markup) body = escaped(body);
      return pad(in, cut(body, spec.precision), spec, '>');
    }
    case 'c': {
      if (value.is_text() && count_chars(value.text().view()) == 1) return pad(in, value.text(), spec, '>');
      std::string one;
      const std::int64_t code = want_int(value, "%c");
      if (code < 0 || code > 0x10FFFF) raise("%c arg not in range(0x110000)");
      encode_to(one, static_cast<char32_t>(code));
      return pad(in, Text(one, false), spec, '>');
    }
    default: break;
  }
  if (!value.is_number()) raise("%{} format: a real number is required, not {}", spec.type, type_name(value));
  if (zero && !left) spec.fill = Text("0", true), spec.align = '=';
  if (std::string_view("eEfFgG").find(spec.type) != std::string_view::npos)
    return pad_number(in, format_real(value.as_real(), spec, in), spec);
  std::int64_t integer = value.as_int();
  if (value.is(Kind::real)) {
    if (std::string_view("xXo").find(spec.type) != std::string_view::npos)
      raise("%{} format: an integer is required, not float", spec.type);
    const double real = std::trunc(value.as_real());
    if (!(std::fabs(real) < 9e18)) raise("cannot convert float to a 64-bit integer");
    integer = static_cast<std::int64_t>(real);
  }
  Digits digits = format_int(integer, spec);
  if (spec.precision > 0) {
    check_width(in, spec.precision);
    if (static_cast<std::size_t>(spec.precision) > digits.digits.size())
      digits.digits.insert(0, static_cast<std::size_t>(spec.precision) - digits.digits.size(), '0');
  }
  return pad_number(in, digits, spec);
}

}  // namespace

Text format_braces(Interpreter& in, const Text& format, const Call& call) {
  Text out = BraceFormat(in, call).run(format, 0);
  out.markup = format.markup;
  return out;
}

Text format_percent(Interpreter& in, const Text& format, const Value& arguments) {
  const std::string_view view = format.view();
  Text out;
  out.markup = format.markup;
  std::size_t next = 0;
  bool used_mapping = false;
  const bool is_tuple = arguments.is(Kind::tuple);
  const auto take = [&]() -> Value {
    const std::size_t count = is_tuple ? arguments.items().size() : 1;
    if (next >= count) raise("not enough arguments for format string");
    return is_tuple ? arguments.items()[next++] : (++next, arguments);
  };
  for (std::size_t at = 0; at < view.size();) {
    in.step();
    const std::size_t percent = std::min(view.find('%', at), view.size());
    in.check_string(out.size() + percent - at);
    out.append(format, at, percent);
    if (percent == view.size()) break;
    at = percent + 1;
    Value value;
    bool has_value = false, zero = false, left = false;
    if (at < view.size() && view[at] == '(') {
      const std::size_t close = view.find(')', at);
      if (close == std::string_view::npos) raise("incomplete format key");
      if (!arguments.is_dict()) raise("format requires a mapping");
      const std::string_view key = view.substr(at + 1, close - at - 1);
      const Value* found = arguments.dict().find(key);
      if (!found) raise("'{}'", key);
      value = *found;
      has_value = used_mapping = true;
      at = close + 1;
    }
    Spec spec;
    for (; at < view.size() && std::string_view("#0- +").find(view[at]) != std::string_view::npos; ++at) {
      if (view[at] == '#') spec.alternate = true;
      if (view[at] == '0') zero = true;
      if (view[at] == '-') left = true;
      if (view[at] == '+') spec.sign = '+';
      if (view[at] == ' ' && spec.sign != '+') spec.sign = ' ';
    }
    const auto number = [&](std::int64_t fallback) {
      if (at >= view.size() || view[at] != '*') return is_digit_at(view, at) ? read_digits(view, at) : fallback;
      ++at;
      return want_int(take(), "* wants int");
    };
    spec.width = number(0);
    if (spec.width < 0) left = true, spec.width = spec.width < -INT32_MAX ? INT32_MAX : -spec.width;
    if (at < view.size() && view[at] == '.') ++at, spec.precision = std::max<std::int64_t>(number(0), 0);
    while (at < view.size() && (view[at] == 'h' || view[at] == 'l' || view[at] == 'L')) ++at;
    if (at >= view.size()) raise("incomplete format");
    spec.type = view[at++];
    if (spec.type == '%') {
      out.append(format, percent, percent + 1);
      continue;
    }
    if (std::string_view("sracdiuxXoeEfFgG").find(spec.type) == std::string_view::npos)
      raise("unsupported format character '{}'", spec.type);
    if (!has_value) value = take();
    const Text piece = percent_value(in, value, spec, zero, left, format.markup);
    in.check_string(out.size() + piece.size());
    out.append(piece);
  }
  // What has items may be left over: Python takes it for a mapping.
  const bool has_items =
      arguments.is_dict() || arguments.is(Kind::list) || arguments.is(Kind::range) || arguments.is_undefined();
  if (!used_mapping && !has_items && next < (is_tuple ? arguments.items().size() : 1))
    raise("not all arguments converted during string formatting");
  return out;
}

}  // namespace tap::jinja
