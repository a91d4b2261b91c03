// Python's str(), repr() and json.dumps of values. The origin follows the characters: what a string contributes keeps
// its own, brackets, separators and numbers are the template's.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/macro.h"
#include "text/jinja/value.h"

namespace tap::jinja {

namespace {

// Namespaces can hold themselves, so depth is counted here too.
struct Limited {
  Text text;
  std::size_t max_bytes;
  void append(std::string_view piece, bool trusted) {
    check(piece.size());
    text.append(piece, trusted);
  }
  void append(const Text& piece) {
    check(piece.size());
    text.append(piece);
  }
  void check(std::size_t more) const {
    if (more > max_bytes - text.size()) raise_limit(fmt::format("a string of more than {} bytes", max_bytes));
  }
};

void write_repr(const Value& value, Limited& out, int depth);

void write_items(const std::vector<Value>& items, const char* open, const char* close, Limited& out, int depth) {
  out.append(open, true);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append(", ", true);
    write_repr(items[i], out, depth);
  }
  out.append(close, true);
}

void write_repr(const Value& value, Limited& out, int depth) {
  if (depth > 2 * max_value_depth) raise_limit("a value that holds itself cannot be printed");
  switch (value.kind()) {
    case Kind::text: {
      const Text& text = value.text();
      const char quote = quote_for(text.view());
      if (text.markup) out.append("Markup(", true);
      out.append(std::string_view(&quote, 1), true);
      text.each_run([&](std::string_view piece, bool trusted) {
        std::string inside;
        repr_string(piece, quote, inside);
        out.append(inside, trusted);
      });
      out.append(std::string_view(&quote, 1), true);
      if (text.markup) out.append(")", true);
      return;
    }
    case Kind::list: return write_items(value.items(), "[", "]", out, depth + 1);
    case Kind::tuple: return write_items(value.items(), "(", value.items().size() == 1 ? ",)" : ")", out, depth + 1);
    case Kind::view:
      out.append(type_name(value), true);
      return write_items(value.items(), "([", "])", out, depth + 1);
    case Kind::dict: {
      const char* separator = "{";
      for (const auto& [key, item] : value.dict().items) {
        out.append(separator, true);
        write_repr(key, out, depth + 1);
        out.append(": ", true);
        write_repr(item, out, depth + 1);
        separator = ", ";
      }
      return out.append(value.dict().items.empty() ? "{}" : "}", true);
    }
    case Kind::name_space: {
      out.append("<Namespace {", true);
      const char* separator = "";
      for (const auto& [name, item] : value.as_namespace()->attributes) {
        out.append(separator, true);
        out.append("'" + name + "': ", true);
        write_repr(item, out, depth + 1);
        separator = ", ";
      }
      return out.append("}>", true);
    }
    case Kind::undefined: return out.append("Undefined", true);
    default: return out.append(str(value, out.max_bytes));
  }
}

std::string json_real(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return real_repr(value);
}

std::string json_inside(std::string_view piece, bool ensure_ascii) {
  std::string out;
  for (std::size_t at = 0; at < piece.size();) {
    const char32_t code = decode_at(piece, at);
    switch (code) {
      case '"': out += "\\\""; continue;
      case '\\': out += "\\\\"; continue;
      case '\n': out += "\\n"; continue;
      case '\r': out += "\\r"; continue;
      case '\t': out += "\\t"; continue;
      case '\f': out += "\\f"; continue;
      case '\b': out += "\\b"; continue;
      default: break;
    }
    if (code < 0x20 || (ensure_ascii && code >= 0x7F && code < 0x10000))
      out += fmt::format("\\u{:04x}", std::uint32_t(code));
    else if (ensure_ascii && code >= 0x10000)
      out += fmt::format("\\u{:04x}\\u{:04x}", std::uint32_t(0xD800 + ((code - 0x10000) >> 10)),
                         std::uint32_t(0xDC00 + ((code - 0x10000) & 0x3FF)));
    else encode_to(out, code);
  }
  return out;
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Limited& out) : style_(style), out_(out) {}

  void write(const Value& value, int level) {
    switch (value.kind()) {
      case Kind::none: return out_.append("null", true);
      case Kind::boolean: return out_.append(value.as_bool() ? "true" : "false", true);
      case Kind::integer: return out_.append(fmt::format("{}", value.as_int()), true);
      case Kind::real: return out_.append(json_real(value.as_real()), true);
      case Kind::text: return write_text(value.text());
      case Kind::list:
      case Kind::tuple: {
        if (value.items().empty()) return out_.append("[]", true);
        out_.append("[", true);
        bool first = true;
        for (const Value& item : value.items()) {
          break_line(first, level + 1);
          write(item, level + 1);
        }
        new_line(level);
        return out_.append("]", true);
      }
      case Kind::dict: return write_dict(value, level);
      default: raise("Object of type {} is not JSON serializable", type_name(value));
    }
  }

 private:
  void write_text(const Text& text) {
    out_.append("\"", true);
    text.each_run(
        [&](std::string_view piece, bool trusted) { out_.append(json_inside(piece, style_.ensure_ascii), trusted); });
    out_.append("\"", true);
  }

  void break_line(bool& first, int level) {
    if (!first) out_.append(style_.item_separator);
    first = false;
    new_line(level);
  }
  void new_line(int level) {
    if (!style_.has_indent) return;
    out_.append("\n", true);
    for (int i = 0; i < level; ++i) out_.append(style_.indent);
  }

  Text key_of(const Value& key) {
    switch (key.kind()) {
      case Kind::text: return key.text();
      case Kind::none: return Text("null", true);
      case Kind::boolean: return Text(key.as_bool() ? "true" : "false", true);
      case Kind::integer: return Text(fmt::format("{}", key.as_int()), true);
      case Kind::real: return Text(json_real(key.as_real()), true);
      default: raise("keys must be str, int, float, bool or None, not {}", type_name(key));
    }
  }

  void write_dict(const Value& value, int level) {
    const auto& items = value.dict().items;
    if (items.empty()) return out_.append("{}", true);
    std::vector<const std::pair<Value, Value>*> sorted;
    for (const auto& item : items) sorted.push_back(&item);
    if (style_.sort_keys)
      std::stable_sort(sorted.begin(), sorted.end(),
                       [](const auto* a, const auto* b) { return order(a->first, b->first, "<") == -1; });
    out_.append("{", true);
    bool first = true;
    for (const auto* item : sorted) {
      break_line(first, level + 1);
      write_text(key_of(item->first));
      out_.append(style_.key_separator);
      write(item->second, level + 1);
    }
    new_line(level);
    out_.append("}", true);
  }

  const JsonStyle& style_;
  Limited& out_;
};

}  // namespace

std::string real_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  std::string_view shortest(buffer, static_cast<std::size_t>(end - buffer));  // -d.ddde+xx
  std::string out;
  if (shortest.front() == '-') {
    out += '-';
    shortest.remove_prefix(1);
  }
  const std::size_t e = shortest.find('e');
  std::string digits(shortest.substr(0, e));
  std::erase(digits, '.');
  int exponent = 0;
  const std::string_view power = shortest.substr(e + 1);
  std::from_chars(power.data() + (power.front() == '+' ? 1 : 0), power.data() + power.size(), exponent);
  const auto count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (count > 1) out += '.' + digits.substr(1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1)
    return out + digits + std::string(static_cast<std::size_t>(exponent + 1 - count), '0') + ".0";
  return out + digits.substr(0, static_cast<std::size_t>(exponent + 1)) + "." +
         digits.substr(static_cast<std::size_t>(exponent + 1));
}

char quote_for(std::string_view text) {
  return text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
}

void repr_string(std::string_view piece, char quote, std::string& out) {
  for (std::size_t at = 0; at < piece.size();) {
    const char32_t code = decode_at(piece, at);
    if (code == static_cast<char32_t>(quote) || code == '\\') (out += '\\') += static_cast<char>(code);
    else if (code == '\n') out += "\\n";
    else if (code == '\r') out += "\\r";
    else if (code == '\t') out += "\\t";
    else if (is_printable(code)) encode_to(out, code);
    else if (code < 0x100) out += fmt::format("\\x{:02x}", std::uint32_t(code));
    else if (code < 0x10000) out += fmt::format("\\u{:04x}", std::uint32_t(code));
    else out += fmt::format("\\U{:08x}", std::uint32_t(code));
  }
}

Text str(const Value& value, std::size_t max_bytes) {
  switch (value.kind()) {
    case Kind::undefined: return Text();
    case Kind::none: return Text("None", true);
    case Kind::boolean: return Text(value.as_bool() ? "True" : "False", true);
    case Kind::integer: return Text(fmt::format("{}", value.as_int()), true);
    case Kind::real: return Text(real_repr(value.as_real()), true);
    case Kind::text: return value.text();
    case Kind::range: {
      const RangeObject& range = value.range();
      return Text(range.step == 1 ? fmt::format("range({}, {})", range.start, range.stop)
                                  : fmt::format("range({}, {}, {})", range.start, range.stop, range.step), true);
    }
    case Kind::macro: return Text(fmt::format("<Macro '{}'>", value.as_macro()->name), true);
    case Kind::method:
      return Text(fmt::format("<built-in method {} of {} object>", value.method().name, type_name(value.method().self)),
                  true);
    case Kind::generator:
    case Kind::function:
    case Kind::loop:
    case Kind::cycler:
    case Kind::joiner: return Text(fmt::format("<{} object>", type_name(value)), true);
    default: return repr(value, max_bytes);
  }
}

Text repr(const Value& value, std::size_t max_bytes) {
  Limited out{{}, max_bytes};
  write_repr(value, out, 0);
  return std::move(out.text);
}

Text dump_json(const Value& value, const JsonStyle& style) {
  Limited out{{}, style.max_bytes};
  JsonWriter(style, out).write(value, 0);
  return std::move(out.text);
}

}  // namespace tap::jinja
