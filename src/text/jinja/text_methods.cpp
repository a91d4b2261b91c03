// Python's str methods. Each follows the characters' origin: what is cut, joined or mapped keeps it.
#include <algorithm>

#include "text/jinja/interpreter.h"

namespace tap::jinja {

namespace {

const Text& want_text(const Value& value, std::string_view what) {
  if (!value.is_text()) raise("{}: a string is needed, not '{}'", what, type_name(value));
  return value.text();
}

std::size_t chars(const Text& text) { return count_chars(text.view()); }

// [from, to) in bytes of the optional start and end arguments; false: start lies past the end.
bool window(const Text& text, const Bound& bound, std::size_t first, std::size_t& from, std::size_t& to) {
  from = 0, to = text.size();
  if (!bound.is_set(first) && !bound.is_set(first + 1)) return true;
  const auto length = static_cast<std::int64_t>(chars(text));
  std::int64_t begin = bound.is_set(first) ? bound.int_or(first, 0) : 0;
  std::int64_t end = bound.is_set(first + 1) ? bound.int_or(first + 1, length) : length;
  if (begin < 0) begin = begin < -length ? 0 : begin + length;
  if (end < 0) end = end < -length ? 0 : end + length;
  end = std::min(end, length);
  if (begin > end) return false;
  from = byte_of_char(text.view(), static_cast<std::size_t>(begin));
  to = byte_of_char(text.view(), static_cast<std::size_t>(end));
  return true;
}

bool matches_side(Interpreter& in, const Text& text, const Bound& bound, bool at_start) {
  std::size_t from = 0, to = 0;
  if (!window(text, bound, 1, from, to)) return false;
  const std::string_view inside = text.view().substr(from, to - from);
  const auto matches = [&](const Value& affix) {
    const std::string_view wanted = want_text(affix, at_start ? "startswith" : "endswith").view();
    return at_start ? inside.starts_with(wanted) : inside.ends_with(wanted);
  };
  if (!bound[0].is(Kind::tuple)) return matches(bound[0]);
  for (const Value& affix : bound[0].items()) {
    in.step();
    if (matches(affix)) return true;
  }
  return false;
}

// Searching from the right may compare each position with the whole needle.
void charge_backwards(Interpreter& in, std::string_view text, std::string_view needle) {
  in.charge(text.size() / 16 * needle.size());
}

Value find_in(Interpreter& in, const Text& text, const Bound& bound, bool last, bool must) {
  const std::string_view needle = want_text(bound[0], "find").view();
  if (last) charge_backwards(in, text.view(), needle);
  std::size_t from = 0, to = 0;
  std::size_t at = std::string_view::npos;
  if (window(text, bound, 1, from, to)) {
    const std::string_view inside = text.view().substr(0, to);
    if (!last) {
      at = find_bytes(inside, needle, from);
    } else {  // the last of all matches; overlapping ones count
      at = needle.empty() ? to : find_bytes(inside, needle, from);
      for (std::size_t next = at; !needle.empty() && next != std::string_view::npos;
           next = find_bytes(inside, needle, next + 1))
        at = next;
    }
  }
  if (at == std::string_view::npos) {
    if (must) raise("substring not found");
    return Value::integer(-1);
  }
  return Value::size(count_chars(text.view().substr(0, at)));
}

std::int64_t count_in(const Text& text, const Bound& bound) {
  const std::string_view needle = want_text(bound[0], "count").view();
  std::size_t from = 0, to = 0;
  if (!window(text, bound, 1, from, to)) return 0;
  const std::string_view inside = text.view().substr(0, to);
  if (needle.empty()) return static_cast<std::int64_t>(count_chars(inside.substr(from))) + 1;
  std::int64_t count = 0;
  for (std::size_t at = find_bytes(inside, needle, from); at != std::string_view::npos;
       at = find_bytes(inside, needle, at + needle.size()))
    ++count;
  return count;
}

Value split_at(Interpreter& in, const Text& text, const Bound& bound, bool from_right) {
  const std::int64_t given = bound.int_or(1, -1);
  const std::size_t most = given < 0 ? SIZE_MAX : static_cast<std::size_t>(given);
  std::vector<std::pair<std::size_t, std::size_t>> pieces;
  const std::string_view whole = text.view();
  if (bound.is_set(0)) {
    const std::string_view separator = want_text(bound[0], "split").view();
    if (separator.empty()) raise("empty separator");
    std::vector<std::size_t> hits;
    if (from_right) {  // non-overlapping from the right
      charge_backwards(in, whole, separator);
      for (std::size_t end = whole.size(); hits.size() < most && end >= separator.size();) {
        const std::size_t at = whole.rfind(separator, end - separator.size());
        if (at == std::string_view::npos) break;
        hits.push_back(at);
        end = at;
        in.step();
      }
      std::reverse(hits.begin(), hits.end());
    } else {
      for (std::size_t at = 0; hits.size() < most && (at = find_bytes(whole, separator, at)) != std::string_view::npos;
           at += separator.size()) {
        in.step();
        hits.push_back(at);
      }
    }
    std::size_t begin = 0;
    for (const std::size_t hit : hits) {
      pieces.emplace_back(begin, hit);
      begin = hit + separator.size();
    }
    pieces.emplace_back(begin, whole.size());
  } else {
    std::vector<std::pair<std::size_t, std::size_t>> words;
    for (std::size_t at = 0; at < whole.size();) {
      std::size_t end = at;
      bool space = false;
      std::size_t next = at;
      while (next < whole.size()) {
        end = next;
        space = is_space(decode_at(whole, next));
        if (space) break;
        end = next;
      }
      if (end > at) words.emplace_back(at, end);
      at = space ? next : end;
    }
    if (words.size() > most) {  // the rest stays whole, with its space at the outer side
      if (from_right) {
        const std::size_t keep = words.size() - most;
        const std::size_t end = words[keep - 1].second;
        words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(keep));
        words.insert(words.begin(), {0, end});
      } else {
        const std::size_t begin = words[most].first;
        words.resize(most);
        words.emplace_back(begin, whole.size());
      }
    }
    pieces = std::move(words);
  }
  std::vector<Value> out;
  for (const auto& [begin, end] : pieces) {
    in.step();
    out.push_back(in.text(text.slice(begin, end)));
  }
  return in.list(std::move(out));
}

Value partition(Interpreter& in, const Text& text, const Bound& bound, bool last) {
  const Text& separator = want_text(bound[0], "partition");
  if (separator.empty()) raise("empty separator");
  if (last) charge_backwards(in, text.view(), separator.view());
  const std::size_t at = last ? text.view().rfind(separator.view()) : find_bytes(text.view(), separator.view());
  if (at == std::string_view::npos) {
    const Value whole = in.text(text), none = in.text(Text());
    return last ? in.tuple({none, none, whole}) : in.tuple({whole, none, none});
  }
  const std::size_t after = at + separator.size();
  return in.tuple(
      {in.text(text.slice(0, at)), in.text(text.slice(at, after)), in.text(text.slice(after, text.size()))});
}

Value pad(Interpreter& in, const Text& text, const Bound& bound, std::string_view side) {
  const std::int64_t width = want_int(bound[0], side);
  const Text fill = bound.has(1) ? want_text(bound[1], side) : Text(" ", true);
  if (chars(fill) != 1) raise("the fill character must be exactly one character long");
  const std::int64_t missing = width - static_cast<std::int64_t>(chars(text));
  if (missing <= 0) return in.text(text);
  // Python's str.center: the odd one goes left when the width is odd.
  const std::int64_t left = side == "rjust" ? missing : side == "ljust" ? 0 : missing / 2 + (missing & width & 1);
  Text out = repeat_text(in, fill, left);
  out.append(text);
  out.append(repeat_text(in, fill, missing - left));
  return in.text(std::move(out));
}

Text title_text(const Text& text) {
  bool inside = false;
  return text.map_runs([&](std::string_view piece) {
    std::string out;
    for (std::size_t at = 0; at < piece.size();) {
      const std::size_t begin = at;
      const char32_t code = decode_at(piece, at);
      out += inside ? to_lower(piece.substr(begin, at - begin)) : to_title_char(code);
      inside = is_cased(code);
    }
    return out;
  });
}

Text swap_case(const Text& text) {
  return text.map_runs([](std::string_view piece) {
    std::string out;
    for (std::size_t at = 0; at < piece.size();) {
      const std::size_t begin = at;
      const char32_t code = decode_at(piece, at);
      const std::string_view one = piece.substr(begin, at - begin);
      out += is_upper(code) ? to_lower(one) : is_lower(code) ? to_upper(one) : std::string(one);
    }
    return out;
  });
}

template <class Predicate>
bool all_chars(std::string_view text, Predicate predicate) {
  for (std::size_t at = 0; at < text.size();)
    if (!predicate(decode_at(text, at))) return false;
  return !text.empty();
}

bool is_title_text(std::string_view text) {
  bool any = false, inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t code = decode_at(text, at);
    if (is_upper(code) || is_title(code)) {
      if (inside) return false;
      inside = any = true;
    } else if (is_lower(code)) {
      if (!inside) return false;
    } else {
      inside = false;
    }
  }
  return any;
}

bool has_case(std::string_view text, bool upper) {
  bool any = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t code = decode_at(text, at);
    if (upper ? is_lower(code) || is_title(code) : is_upper(code) || is_title(code)) return false;
    any |= is_cased(code);
  }
  return any;
}

bool ask(std::string_view name, std::string_view text) {
  if (name == "isalpha") return all_chars(text, is_alpha);
  if (name == "isalnum") return all_chars(text, [](char32_t c) { return is_alpha(c) || is_numeric(c) || is_digit(c); });
  if (name == "isdigit") return all_chars(text, is_digit);
  if (name == "isdecimal") return all_chars(text, is_decimal);
  if (name == "isnumeric") return all_chars(text, is_numeric);
  if (name == "isspace") return all_chars(text, is_space);
  if (name == "isprintable") return text.empty() || all_chars(text, is_printable);
  if (name == "isascii") return text.empty() || all_chars(text, [](char32_t c) { return c < 128; });
  if (name == "isupper") return has_case(text, true);
  if (name == "islower") return has_case(text, false);
  if (name == "istitle") return is_title_text(text);
  if (text.empty()) return false;  // isidentifier
  std::size_t first = 0;
  const char32_t start = decode_at(text, first);
  return (start == '_' || is_alpha(start)) &&
         all_chars(text, [](char32_t c) { return c == '_' || is_alpha(c) || is_decimal(c); });
}

Text expand_tabs(Interpreter& in, const Text& text, std::int64_t size) {
  Text out;
  std::int64_t column = 0;
  text.each_run([&](std::string_view piece, bool trusted) {
    for (std::size_t at = 0; at < piece.size();) {
      const std::size_t begin = at;
      const char32_t code = decode_at(piece, at);
      if (code == '\t') {
        const std::int64_t spaces = size > 0 ? size - column % size : 0;
        in.check_string(out.size() + static_cast<std::size_t>(spaces));
        out.append(std::string(static_cast<std::size_t>(spaces), ' '), trusted);
        column += spaces;
      } else {
        out.append(piece.substr(begin, at - begin), trusted);
        column = code == '\n' || code == '\r' ? 0 : column + 1;
      }
    }
  });
  return out;
}

}  // namespace

Text replace_text(Interpreter& in, const Text& text, const Text& old, const Text& with, std::int64_t count) {
  Text out;
  out.markup = text.markup;
  std::size_t begin = 0;
  const auto put = [&] {
    in.step();
    in.check_string(out.size() + with.size());
    out.append(with);
  };
  if (old.empty()) {  // before each character and at the end
    for (std::size_t at = 0; count != 0; --count) {
      put();
      begin = at;
      if (at >= text.size()) break;
      decode_at(text.view(), at);
      out.append(text, begin, at);
      begin = at;
    }
  } else {
    for (std::size_t at; count != 0 && (at = find_bytes(text.view(), old.view(), begin)) != std::string_view::npos;
         --count) {
      out.append(text, begin, at);
      put();
      begin = at + old.size();
    }
  }
  if (begin < text.size()) out.append(text, begin, text.size());
  return out;
}

Text strip_text(const Text& text, const Value* set, bool left, bool right) {
  if (!set || set->is_none()) {
    const Trim trim = trim_space(text.view(), left, right);
    return text.slice(trim.begin, trim.end);
  }
  std::u32string wanted;
  const std::string_view list = want_text(*set, "strip").view();
  for (std::size_t at = 0; at < list.size();) wanted += decode_at(list, at);
  std::sort(wanted.begin(), wanted.end());
  const auto in_set = [&](char32_t code) { return std::binary_search(wanted.begin(), wanted.end(), code); };
  const std::string_view view = text.view();
  std::size_t begin = 0, end = view.size();
  while (left && begin < end) {
    std::size_t next = begin;
    if (!in_set(decode_at(view, next))) break;
    begin = next;
  }
  while (right && begin < end) {
    std::size_t last = end - 1;
    while (last > begin && (static_cast<unsigned char>(view[last]) & 0xC0) == 0x80) --last;
    std::size_t next = last;
    if (!in_set(decode_at(view, next))) break;
    end = last;
  }
  return text.slice(begin, end);
}

Text capitalize_text(const Text& text) {
  bool first = true;
  return text.map_runs([&](std::string_view piece) {
    if (!std::exchange(first, false)) return to_lower(piece);
    std::size_t at = 0;
    const char32_t code = decode_at(piece, at);
    return to_title_char(code) + to_lower(piece.substr(at));
  });
}

Text join_texts(Interpreter& in, const Text& separator, const std::vector<Text>& items) {
  Text out;
  out.markup = separator.markup;
  for (std::size_t i = 0; i < items.size(); ++i) {
    in.step();
    in.check_string(out.size() + separator.size() + items[i].size());
    if (i > 0) out.append(separator);
    out.append(separator.markup ? escaped(items[i]) : items[i]);
  }
  return out;
}

Value call_text_method(Interpreter& in, const Value& self, std::string_view name, Call& arguments) {
  const Text& text = self.text();
  in.charge(text.size());
  if (name == "format") return in.text(format_braces(in, text, arguments));
  if (name == "format_map") {
    const Bound bound(name, arguments, {"mapping"}, 1);
    if (!bound[0].is_dict()) raise("format_map() needs a mapping, not '{}'", type_name(bound[0]));
    Call call;
    for (const auto& [key, value] : bound[0].dict().items)
      if (key.is_text()) call.named.emplace_back(key.text().bytes(), value);
    return in.text(format_braces(in, text, call));
  }
  if (name == "split" || name == "rsplit")
    return split_at(in, text, Bound(name, arguments, {"sep", "maxsplit"}), name == "rsplit");
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    const Bound bound(name, arguments, {"chars"});
    return in.text(strip_text(text, bound.has(0) ? &bound[0] : nullptr, name != "rstrip", name != "lstrip"));
  }
  if (name == "startswith" || name == "endswith") {
    const Bound bound(name, arguments, {"prefix", "start", "end"}, 1);
    return Value::boolean(matches_side(in, text, bound, name == "startswith"));
  }
  if (name == "find" || name == "rfind" || name == "index" || name == "rindex")
    return find_in(in, text, Bound(name, arguments, {"sub", "start", "end"}, 1), name[0] == 'r',
                   name.ends_with("index"));
  if (name == "count") return Value::integer(count_in(text, Bound(name, arguments, {"sub", "start", "end"}, 1)));
  if (name == "replace") {
    const Bound bound(name, arguments, {"old", "new", "count"}, 2);
    const Text& with = want_text(bound[1], "replace");
    return in.text(replace_text(in, text, want_text(bound[0], "replace"), text.markup ? escaped(with) : with,
                                bound.int_or(2, -1)));
  }
  if (name == "join") {
    const Bound bound(name, arguments, {"iterable"}, 1);
    std::vector<Text> items;
    for (const Value& item : in.collect(bound[0])) items.push_back(want_text(item, "join"));
    return in.text(join_texts(in, text, items));
  }
  if (name == "center" || name == "ljust" || name == "rjust")
    return pad(in, text, Bound(name, arguments, {"width", "fillchar"}, 1), name);
  if (name == "zfill") {
    const std::int64_t missing =
        want_int(Bound(name, arguments, {"width"}, 1)[0], name) - static_cast<std::int64_t>(chars(text));
    const std::size_t sign = !text.empty() && (text.view()[0] == '-' || text.view()[0] == '+') ? 1 : 0;
    Text out = text.slice(0, sign);
    out.append(repeat_text(in, Text("0", true), missing));
    out.append(text, sign, text.size());
    return in.text(std::move(out));
  }
  if (name == "partition" || name == "rpartition")
    return partition(in, text, Bound(name, arguments, {"sep"}, 1), name[0] == 'r');
  if (name == "removeprefix" || name == "removesuffix") {
    const Bound bound(name, arguments, {"affix"}, 1);
    const std::string_view affix = want_text(bound[0], name).view();
    if (name == "removeprefix")
      return in.text(text.slice(text.view().starts_with(affix) ? affix.size() : 0, text.size()));
    return in.text(text.slice(0, text.size() - (text.view().ends_with(affix) ? affix.size() : 0)));
  }
  if (name == "splitlines") {
    const bool keep = Bound(name, arguments, {"keepends"}).int_or(0, 0) != 0;
    std::vector<Value> lines;
    for (const LineSpan& line : split_lines(text.view())) {
      in.step();
      lines.push_back(in.text(text.slice(line.begin, keep ? line.next : line.end)));
    }
    return in.list(std::move(lines));
  }
  if (name == "expandtabs") return in.text(expand_tabs(in, text, Bound(name, arguments, {"tabsize"}).int_or(0, 8)));
  const Bound none(name, arguments, {});
  if (name == "upper") return in.text(text.map_runs(to_upper));
  if (name == "lower") return in.text(text.map_runs(to_lower));
  if (name == "casefold") return in.text(text.map_runs(to_casefold));
  if (name == "capitalize") return in.text(capitalize_text(text));
  if (name == "title") return in.text(title_text(text));
  if (name == "swapcase") return in.text(swap_case(text));
  return Value::boolean(ask(name, text.view()));
}

}  // namespace tap::jinja
