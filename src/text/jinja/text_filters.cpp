// Filters over strings and numbers, and tojson.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/filters.h"

namespace tap::jinja {

namespace {

const Text& only_text(const Value& value, std::string_view filter) {
  if (!value.is_text()) raise("{}: a string is needed, not '{}'", filter, type_name(value));
  return value.text();
}

template <std::string (*map)(std::string_view)>
Value mapped(Interpreter& in, const Value& input, Call& call) {
  const Bound none("filter", call, {});
  return in.text(in.str(input).map_runs(map));
}

Value capitalize(Interpreter& in, const Value& input, Call& call) {
  const Bound none("capitalize", call, {});
  return in.text(capitalize_text(in.str(input)));
}

// Words begin after characters of [-\s({\[<].
Value title(Interpreter& in, const Value& input, Call& call) {
  const Bound none("title", call, {});
  bool first = true;
  return in.text(in.str(input).map_runs([&](std::string_view piece) {
    std::string out;
    for (std::size_t at = 0; at < piece.size();) {
      const std::size_t begin = at;
      const char32_t code = decode_at(piece, at);
      const std::string_view one = piece.substr(begin, at - begin);
      const bool boundary = code == '-' || code == '(' || code == '{' || code == '[' || code == '<' || is_space(code);
      out += first || boundary ? to_upper(one) : to_lower(one);
      first = boundary;
    }
    return out;
  }));
}

Value trim(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("trim", call, {"chars"});
  return in.text(strip_text(in.str(input), bound.has(0) ? &bound[0] : nullptr, true, true));
}

Value string(Interpreter& in, const Value& input, Call& call) {
  const Bound none("string", call, {});
  return input.is_text() ? input : in.text(in.str(input));
}

Value safe(Interpreter& in, const Value& input, Call& call) {
  const Bound none("safe", call, {});
  Text out = in.str(input);
  out.markup = true;
  return in.text(std::move(out));
}

Value escape(Interpreter& in, const Value& input, Call& call) {
  const Bound none("escape", call, {});
  return in.text(escaped(in.str(input)));
}

Value force_escape(Interpreter& in, const Value& input, Call& call) {
  const Bound none("forceescape", call, {});
  Text out = in.str(input);
  out.markup = false;
  return in.text(escaped(out));
}

Value replace(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("replace", call, {"old", "new", "count"}, 2);
  Text text = in.str(input);
  text.markup = false;
  return in.text(
      replace_text(in, text, in.str(bound[0]), in.str(bound[1]), bound.is_set(2) ? bound.int_or(2, -1) : -1));
}

Value format(Interpreter& in, const Value& input, Call& call) {
  if (!call.positional.empty() && !call.named.empty())
    raise("can't handle positional and keyword arguments at the same time");
  const Text text = in.str(input);
  if (call.named.empty()) return in.text(format_percent(in, text, in.tuple(call.positional)));
  auto named = std::make_unique<DictObject>();
  for (const auto& [name, value] : call.named) named->set(in.text(name, true), value);
  return in.text(format_percent(in, text, in.dict(std::move(named))));
}

Value center(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("center", call, {"width"});
  Call width{{Value::integer(bound.int_or(0, 80))}, {}};
  return call_text_method(in, in.text(in.str(input)), "center", width);
}

Value indent(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("indent", call, {"width", "first", "blank"});
  const Text& text = only_text(input, "indent");
  const Text margin =
      bound.has(0) && bound[0].is_text() ? bound[0].text() : repeat_text(in, Text(" ", true), bound.int_or(0, 4));
  const bool first = bound.truth_or(1, false), blank = bound.truth_or(2, false);
  Text with_end = text;
  with_end.append("\n", true);  // so that the last line is one of the lines
  Text out;
  out.markup = text.markup;
  bool begun = false, trusted_break = true;  // a line break stays whose it was
  for (const LineSpan& line : split_lines(with_end.view())) {
    in.step();
    in.check_string(out.size() + margin.size() + line.end - line.begin);
    if (begun) out.append("\n", trusted_break);
    if (begun ? blank || line.end > line.begin : first) out.append(margin);
    out.append(with_end, line.begin, line.end);
    trusted_break = with_end.slice(line.end, line.next).all_trusted();
    begun = true;
  }
  return in.text(std::move(out));
}

Value truncate(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("truncate", call, {"length", "killwords", "end", "leeway"});
  const Text& text = only_text(input, "truncate");
  const std::int64_t length = bound.int_or(0, 255), leeway = bound.is_set(3) ? bound.int_or(3, 5) : 5;
  const Text end = bound.has(2) ? only_text(bound[2], "truncate") : Text("...", true);
  const auto end_chars = static_cast<std::int64_t>(count_chars(end.view()));
  if (length < end_chars) raise("expected length >= {}, got {}", end_chars, length);
  if (leeway < 0) raise("expected leeway >= 0, got {}", leeway);
  const auto size = static_cast<std::int64_t>(count_chars(text.view()));
  if (size <= length || size - length <= leeway) return input;
  Text out = text.slice(0, byte_of_char(text.view(), static_cast<std::size_t>(length - end_chars)));
  if (!bound.truth_or(1, false)) {
    const std::size_t space = out.view().rfind(' ');
    if (space != std::string_view::npos) out = out.slice(0, space);
  }
  out.append(end);
  return in.text(std::move(out));
}

Value wordcount(Interpreter& in, const Value& input, Call& call) {
  const Bound none("wordcount", call, {});
  const Text text = in.str(input);
  std::int64_t words = 0;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t code = decode_at(text.view(), at);
    const bool word = code == '_' || is_alpha(code) || is_numeric(code);
    words += word && !inside ? 1 : 0;
    inside = word;
  }
  return Value::integer(words);
}

std::string percent_encoded(std::string_view piece, bool query) {
  std::string out;
  for (const char c : piece) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("_.-~").find(c) != std::string_view::npos;
    if (plain || (c == '/' && !query)) out += c;
    else if (c == ' ' && query) out += '+';
    else out += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
  }
  return out;
}

Value urlencode(Interpreter& in, const Value& input, Call& call) {
  const Bound none("urlencode", call, {});
  const auto quote = [&](const Value& value, bool query) {
    return in.str(value).map_runs([query](std::string_view piece) { return percent_encoded(piece, query); });
  };
  const auto iteration = input.is_text() ? std::nullopt : Iteration::over(input);
  if (!iteration) return in.text(quote(input, false));
  std::vector<std::pair<Value, Value>> pairs;
  if (input.is_dict()) pairs = input.dict().items;
  else
    for (const Value& item : in.collect(input)) {
      const std::vector<Value> pair = in.collect(item);
      if (pair.size() != 2) raise("urlencode: pairs are needed");
      pairs.emplace_back(pair[0], pair[1]);
    }
  Text out;
  for (const auto& [key, value] : pairs) {
    if (!out.empty()) out.append("&", true);
    out.append(quote(key, true));
    out.append("=", true);
    out.append(quote(value, true));
    in.check_string(out.size());
  }
  return in.text(std::move(out));
}

Value striptags(Interpreter& in, const Value& input, Call& call) {
  const Bound none("striptags", call, {});
  const Text text = in.str(input);
  Text bare;
  const std::string_view view = text.view();
  for (std::size_t at = 0; at < view.size();) {  // comments first, then tags, as markupsafe
    const std::size_t open = std::min(view.find('<', at), view.size());
    bare.append(text, at, open);
    if (open == view.size()) break;
    const bool comment = view.substr(open).starts_with("<!--");
    const std::size_t close = comment ? find_bytes(view, "-->", open) : view.find('>', open);
    if (close == std::string_view::npos) {
      bare.append(text, open, view.size());
      break;
    }
    at = close + (comment ? 3 : 1);
  }
  std::vector<Text> words;
  Call none_given;
  for (const Value& word : in.collect(call_text_method(in, in.text(bare), "split", none_given)))
    words.push_back(word.text());
  const Text joined = join_texts(in, Text(" ", text.all_trusted()), words);
  static constexpr std::pair<std::string_view, std::string_view> entities[] = {
      {"&lt;", "<"},   {"&gt;", ">"},          {"&quot;", "\""}, {"&#39;", "'"},
      {"&#34;", "\""}, {"&nbsp;", "\xC2\xA0"}, {"&amp;", "&"}};
  return in.text(joined.map_runs([](std::string_view piece) {
    std::string out;
    for (std::size_t at = 0; at < piece.size();) {
      const auto* found = std::find_if(std::begin(entities), std::end(entities),
                                       [&](const auto& entity) { return piece.substr(at).starts_with(entity.first); });
      if (piece[at] == '&' && found != std::end(entities)) {
        out += found->second;
        at += found->first.size();
      } else {
        out += piece[at++];
      }
    }
    return out;
  }));
}

Value xmlattr(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("xmlattr", call, {"autospace"});
  if (!input.is_dict()) raise("xmlattr: a mapping is needed, not '{}'", type_name(input));
  Text out;
  for (const auto& [key, value] : input.dict().items) {
    if (value.is_none() || value.is_undefined()) continue;
    if (in.str(key).view().find_first_of(" \t\n\r\f\v/>=") != std::string_view::npos)
      raise("Invalid character in attribute name: {}", in.repr(key).view());
    if (!out.empty()) out.append(" ", true);
    Text name = escaped(in.str(key)), content = escaped(in.str(value));
    out.append(name);
    out.append("=\"", true);
    out.append(content);
    out.append("\"", true);
    in.check_string(out.size());
  }
  Text spaced(bound.truth_or(0, true) && !out.empty() ? " " : "", true);
  spaced.append(out);
  return in.text(std::move(spaced));
}

Value pprint(Interpreter& in, const Value& input, Call& call) {
  const Bound none("pprint", call, {});
  return in.text(in.repr(input));
}

bool parse_int(std::string_view text, std::int64_t base, std::int64_t& out) {
  const Trim trim = trim_space(text, true, true);
  text = text.substr(trim.begin, trim.end - trim.begin);
  bool negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) negative = text[0] == '-', text.remove_prefix(1);
  if (text.size() > 2 && text[0] == '0') {
    const char mark = static_cast<char>(text[1] | 32);
    const std::int64_t marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (marked != 0 && (base == marked || base == 0)) {
      base = marked;
      text.remove_prefix(2);
      if (text.starts_with('_')) text.remove_prefix(1);
    }
  }
  if (base == 0) base = 10;
  if (base < 2 || base > 36 || text.empty()) return false;
  __int128 value = 0;
  bool digit_before = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t code = decode_at(text, at);
    if (code == '_') {
      if (!digit_before) return false;
      digit_before = false;
      continue;
    }
    int digit = decimal_value(code);
    if (digit < 0 && code < 128 && (code | 32) >= 'a' && (code | 32) <= 'z')
      digit = static_cast<int>((code | 32) - 'a') + 10;
    if (digit < 0 || digit >= base) return false;
    value = value * base + digit;
    if (value > static_cast<__int128>(INT64_MAX) + 1) raise("int: {} is over 64 bits", text.substr(0, 40));
    digit_before = true;
  }
  if (!digit_before) return false;
  if (negative) value = -value;
  if (value > INT64_MAX) raise("int: {} is over 64 bits", text.substr(0, 40));
  out = static_cast<std::int64_t>(value);
  return true;
}

Value to_int(Interpreter&, const Value& input, Call& call) {
  const Bound bound("int", call, {"default", "base"});
  const Value fallback = bound.has(0) ? bound[0] : Value::integer(0);
  double real = 0;
  if (input.is_undefined())
    raise("{}", input.undefined_reason() ? input.undefined_reason()->reason : "value is undefined");
  if (input.is_int_like()) return Value::integer(input.as_int());
  if (input.is_text()) {
    std::int64_t out = 0;
    if (parse_int(input.text().view(), bound.int_or(1, 10), out)) return Value::integer(out);
    bool good = false;
    real = parse_real(input.text().view(), good);
    if (!good) return fallback;
  } else if (input.is(Kind::real)) {
    real = input.as_real();
    if (std::isinf(real)) raise("cannot convert float infinity to integer");
  } else {
    return fallback;
  }
  if (!std::isfinite(real)) return fallback;
  if (std::fabs(real) >= 9.2e18) raise("int: {} is over 64 bits", real);
  return Value::integer(static_cast<std::int64_t>(real));
}

Value to_float(Interpreter&, const Value& input, Call& call) {
  const Bound bound("float", call, {"default"});
  const Value fallback = bound.has(0) ? bound[0] : Value::real(0.0);
  if (input.is_undefined())
    raise("{}", input.undefined_reason() ? input.undefined_reason()->reason : "value is undefined");
  if (input.is_number()) return Value::real(input.as_real());
  if (!input.is_text()) return fallback;
  bool good = false;
  const double real = parse_real(input.text().view(), good);
  return good ? Value::real(real) : fallback;
}

Value absolute(Interpreter&, const Value& input, Call& call) {
  const Bound none("abs", call, {});
  if (input.is(Kind::real)) return Value::real(std::fabs(input.as_real()));
  const std::int64_t value = want_int(input, "abs");
  if (value == INT64_MIN) raise("an integer over 64 bits");
  return Value::integer(value < 0 ? -value : value);
}

Value round_number(Interpreter&, const Value& input, Call& call) {
  const Bound bound("round", call, {"precision", "method"});
  const std::int64_t precision = bound.int_or(0, 0);
  const std::string method = bound.has(1) && bound[1].is_text() ? bound[1].text().bytes() : "common";
  if (method != "common" && method != "ceil" && method != "floor") raise("method must be common, ceil or floor");
  if (!input.is_number()) raise("round: a number is needed, not '{}'", type_name(input));
  if (method != "common") {
    const double scale = std::pow(10.0, static_cast<double>(precision));
    const double scaled = input.as_real() * scale;
    return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
  }
  if (input.is_int_like()) {
    if (precision >= 0) return Value::integer(input.as_int());
    if (precision < -18) return Value::integer(0);
    std::int64_t unit = 1;
    for (std::int64_t i = 0; i < -precision; ++i) unit *= 10;
    const std::int64_t rest = ((input.as_int() % unit) + unit) % unit;  // half to even
    __int128 down = static_cast<__int128>(input.as_int()) - rest;
    if (rest * 2 > unit || (rest * 2 == unit && (down / unit) % 2 != 0)) down += unit;
    if (down > INT64_MAX || down < INT64_MIN) raise("an integer over 64 bits");
    return Value::integer(static_cast<std::int64_t>(down));
  }
  const double value = input.as_real();
  if (!std::isfinite(value) || precision > 300) return input;
  if (precision < 0) {
    if (precision < -308) return Value::real(std::copysign(0.0, value));
    const double scale = std::pow(10.0, static_cast<double>(-precision));
    return Value::real(std::nearbyint(value / scale) * scale);
  }
  return Value::real(std::strtod(fmt::format("{:.{}f}", value, precision).c_str(), nullptr));  // decimal, half to even
}

Value filesizeformat(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("filesizeformat", call, {"binary"});
  Call nan{{Value::real(std::nan(""))}, {}};
  const Value as_real = to_float(in, input, nan);
  if (std::isnan(as_real.as_real())) raise("filesizeformat: a number is needed, not '{}'", type_name(input));
  const bool binary = bound.truth_or(0, false);
  const double bytes = as_real.as_real(), base = binary ? 1024 : 1000;
  if (bytes == 1) return in.text("1 Byte", true);
  if (std::isinf(bytes)) raise("cannot convert float infinity to integer");
  if (bytes < base) return in.text(fmt::format("{:.0f} Bytes", std::trunc(bytes) + 0.0), true);  // + 0.0: no "-0"
  static constexpr std::string_view prefixes = "kMGTPEZY";
  double unit = base;
  for (std::size_t i = 0; i < prefixes.size(); ++i) {
    unit *= base;
    if (bytes >= unit && i + 1 < prefixes.size()) continue;
    const char prefix = binary && i == 0 ? 'K' : prefixes[i];
    return in.text(fmt::format("{:.1f} {}{}", base * bytes / unit, prefix, binary ? "iB" : "B"), true);
  }
  return {};
}

Value tojson(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("tojson", call, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.max_bytes = in.max_string();
  style.ensure_ascii = bound.truth_or(0, false);
  style.sort_keys = bound.truth_or(3, false);
  if (bound.is_set(1)) {
    style.has_indent = true;
    style.indent =
        bound[1].is_text() ? bound[1].text() : repeat_text(in, Text(" ", true), want_int(bound[1], "tojson indent"));
    style.item_separator = Text(",", true);
  }
  if (bound.is_set(2)) {
    const std::vector<Value> pair = in.collect(bound[2]);
    if (pair.size() != 2) raise("tojson: separators must be a pair");
    style.item_separator = only_text(pair[0], "tojson separators");
    style.key_separator = only_text(pair[1], "tojson separators");
  }
  in.charge(input.weight());
  return in.text(dump_json(input, style));
}

constexpr NamedFilter filters[] = {{"abs", absolute},
                                   {"capitalize", capitalize},
                                   {"center", center},
                                   {"e", escape},
                                   {"escape", escape},
                                   {"filesizeformat", filesizeformat},
                                   {"float", to_float},
                                   {"forceescape", force_escape},
                                   {"format", format},
                                   {"indent", indent},
                                   {"int", to_int},
                                   {"lower", mapped<to_lower>},
                                   {"pprint", pprint},
                                   {"replace", replace},
                                   {"round", round_number},
                                   {"safe", safe},
                                   {"string", string},
                                   {"striptags", striptags},
                                   {"title", title},
                                   {"tojson", tojson},
                                   {"trim", trim},
                                   {"truncate", truncate},
                                   {"upper", mapped<to_upper>},
                                   {"urlencode", urlencode},
                                   {"wordcount", wordcount},
                                   {"xmlattr", xmlattr}};

}  // namespace

double parse_real(std::string_view text, bool& good) {
  const Trim trim = trim_space(text, true, true);
  std::string plain;
  for (std::size_t at = trim.begin; at < trim.end;) {
    const char32_t code = decode_at(text, at);
    const int digit = decimal_value(code);
    if (digit >= 0) plain += static_cast<char>('0' + digit);
    else if (code == '_') {  // only between digits
      const bool before = !plain.empty() && plain.back() >= '0' && plain.back() <= '9';
      std::size_t next = at;
      if (!before || at >= trim.end || decimal_value(decode_at(text, next)) < 0) return good = false, 0.0;
    } else if (code < 128) {
      plain += static_cast<char>(code);
    } else {
      return good = false, 0.0;
    }
  }
  std::string_view body = plain;
  const bool negative = body.starts_with('-');
  if (negative || body.starts_with('+')) body.remove_prefix(1);
  double value = 0;
  const std::string lower = to_lower(body);
  if (lower == "inf" || lower == "infinity") value = HUGE_VAL;
  else if (lower == "nan") value = std::nan("");
  else {
    if (body.empty() || !((body[0] >= '0' && body[0] <= '9') || body[0] == '.')) return good = false, 0.0;
    const auto [end, problem] = std::from_chars(body.data(), body.data() + body.size(), value);
    if (end != body.data() + body.size()) return good = false, 0.0;
    if (problem == std::errc::result_out_of_range) value = std::strtod(std::string(body).c_str(), nullptr);
    else if (problem != std::errc()) return good = false, 0.0;
  }
  good = true;
  return negative ? -value : value;
}

FilterFunction find_text_filter(std::string_view name) {
  for (const NamedFilter& filter : filters)
    if (filter.name == name) return filter.function;
  return nullptr;
}

}  // namespace tap::jinja
