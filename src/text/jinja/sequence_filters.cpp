// Filters over anything that can be iterated. map, select and their kin are lazy, as in jinja2.
#include <algorithm>
#include <limits>

#include "text/jinja/filters.h"

namespace tap::jinja {

namespace {

// "a.b.0": the parts of an attribute argument.
std::vector<Value> attribute_parts(Interpreter& in, const Value& attribute) {
  if (attribute.is_none()) return {};
  if (!attribute.is_text()) return {attribute};
  std::vector<Value> parts;
  const std::string_view text = attribute.text().view();
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('.', begin), text.size());
    const std::string_view part = text.substr(begin, end - begin);
    const bool number = !part.empty() && part.size() < 18 &&
                        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    parts.push_back(number ? Value::integer(std::stoll(std::string(part))) : in.text(std::string(part), true));
    begin = end + 1;
  }
  return parts;
}

Value get_path(Interpreter& in, Value item, const std::vector<Value>& parts, const Value& fallback) {
  for (const Value& part : parts) {
    item = in.get_item(item, part);
    if (item.is_undefined() && !fallback.is_none()) item = fallback;
  }
  return item;
}

Value without_case(Interpreter& in, const Value& value, bool case_sensitive) {
  return case_sensitive || !value.is_text() ? value : in.text(value.text().map_runs(to_lower));
}

void sort_by(Interpreter& in, std::vector<std::pair<Value, Value>>& keyed, bool reverse) {
  // Python's reverse keeps the order of equals, as sorting by the opposite order does.
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    in.step();
    return reverse ? in.order(b.first, a.first, "<") == -1 : in.order(a.first, b.first, "<") == -1;
  });
}

Value values_of(Interpreter& in, const std::vector<std::pair<Value, Value>>& keyed) {
  std::vector<Value> out;
  for (const auto& item : keyed) out.push_back(item.second);
  return in.list(std::move(out));
}

std::size_t length_of(Interpreter& in, const Value& input) {
  if (input.is(Kind::loop)) return static_cast<std::size_t>(as_loop(input).length_of(in));
  if (const auto iteration = Iteration::over(input))
    if (const auto length = iteration->length()) return *length;
  raise("object of type '{}' has no len()", type_name(input));
}

Value length(Interpreter& in, const Value& input, Call& call) {
  const Bound none("length", call, {});
  if (input.is_text()) in.charge(input.text().size());
  return Value::size(length_of(in, input));
}

Value fallback(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("default", call, {"default_value", "boolean"});
  if (!input.is_undefined() && !(bound.truth_or(1, false) && !truth(input))) return input;
  return bound.has(0) ? bound[0] : in.text(Text());
}

Value to_list(Interpreter& in, const Value& input, Call& call) {
  const Bound none("list", call, {});
  return in.list(in.collect(input));
}

Value items(Interpreter& in, const Value& input, Call& call) {
  const Bound none("items", call, {});
  if (!input.is_dict() && !input.is_undefined()) raise("Can only get item pairs from a mapping.");
  auto at = std::make_shared<std::size_t>(0);
  return in.generator("generator", input, [input, at](Interpreter& inside, Value& out) {
    if (input.is_undefined() || *at >= input.dict().items.size()) return false;
    const auto& [key, value] = input.dict().items[(*at)++];
    out = inside.tuple({key, value});
    return true;
  });
}

Value join(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("join", call, {"d", "attribute"});
  const std::vector<Value> parts = bound.is_set(1) ? attribute_parts(in, bound[1]) : std::vector<Value>();
  Text separator = bound.has(0) ? in.str(bound[0]) : Text();
  separator.markup = false;
  std::vector<Text> texts;
  std::size_t size = 0;
  Iteration iteration = in.iterate(input);
  for (Value item; iteration.next(in, item);) {
    texts.push_back(in.str(get_path(in, item, parts, Value::none())));
    in.check_string(size += texts.back().size() + separator.size());
    in.step();
  }
  return in.text(join_texts(in, separator, texts));
}

Value dictsort(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("dictsort", call, {"case_sensitive", "by", "reverse"});
  if (!input.is_dict()) raise("dictsort: a mapping is needed, not '{}'", type_name(input));
  const std::string by = bound.has(1) ? in.str(bound[1]).bytes() : "key";
  if (by != "key" && by != "value") raise("You can only sort by either \"key\" or \"value\"");
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, value] : input.dict().items)
    keyed.emplace_back(without_case(in, by == "key" ? key : value, bound.truth_or(0, false)), in.tuple({key, value}));
  sort_by(in, keyed, bound.int_or(2, 0) != 0);
  return values_of(in, keyed);
}

Value sort(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("sort", call, {"reverse", "case_sensitive", "attribute"});
  std::vector<std::vector<Value>> paths;
  if (bound.has(2) && bound[2].is_text()) {
    const std::string_view all = bound[2].text().view();
    for (std::size_t begin = 0; begin <= all.size();) {
      const std::size_t end = std::min(all.find(',', begin), all.size());
      paths.push_back(attribute_parts(in, in.text(std::string(all.substr(begin, end - begin)), true)));
      begin = end + 1;
    }
  } else {
    paths.push_back(bound.has(2) ? attribute_parts(in, bound[2]) : std::vector<Value>());
  }
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : in.collect(input)) {
    std::vector<Value> key;
    for (const auto& path : paths)
      key.push_back(without_case(in, get_path(in, item, path, Value::none()), bound.truth_or(1, false)));
    keyed.emplace_back(in.list(std::move(key)), item);
  }
  sort_by(in, keyed, bound.int_or(0, 0) != 0);
  return values_of(in, keyed);
}

Value unique(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("unique", call, {"case_sensitive", "attribute"});
  const std::vector<Value> parts = bound.has(1) ? attribute_parts(in, bound[1]) : std::vector<Value>();
  const bool case_sensitive = bound.truth_or(0, false);
  auto iteration = std::make_shared<Iteration>(in.iterate(input));
  auto seen = std::make_shared<DictObject>();
  return in.generator("generator", input, [=](Interpreter& inside, Value& out) {
    while (iteration->next(inside, out)) {
      inside.step();
      const Value key = without_case(inside, get_path(inside, out, parts, Value::none()), case_sensitive);
      inside.charge(key.weight());
      if (seen->find(key)) continue;
      seen->set(key, Value::none());
      return true;
    }
    return false;
  });
}

Value extreme(Interpreter& in, const Value& input, Call& call, bool want_max) {
  const Bound bound(want_max ? "max" : "min", call, {"case_sensitive", "attribute"});
  const std::vector<Value> parts = bound.has(1) ? attribute_parts(in, bound[1]) : std::vector<Value>();
  Value best, best_key;
  bool any = false;
  Iteration iteration = in.iterate(input);
  for (Value item; iteration.next(in, item);) {
    in.step();
    const Value key = without_case(in, get_path(in, item, parts, Value::none()), bound.truth_or(0, false));
    if (!any || (want_max ? in.order(key, best_key, ">") == 1 : in.order(key, best_key, "<") == -1))
      best = item, best_key = key;
    any = true;
  }
  return any ? best : in.undefined("No aggregated item, sequence was empty.");
}

Value minimum(Interpreter& in, const Value& input, Call& call) { return extreme(in, input, call, false); }
Value maximum(Interpreter& in, const Value& input, Call& call) { return extreme(in, input, call, true); }

Value sum(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("sum", call, {"attribute", "start"});
  const std::vector<Value> parts = bound.is_set(0) ? attribute_parts(in, bound[0]) : std::vector<Value>();
  Value total = bound.has(1) ? bound[1] : Value::integer(0);
  if (total.is_text()) raise("sum() can't sum strings [use ''.join(seq) instead]");
  Iteration iteration = in.iterate(input);
  for (Value item; iteration.next(in, item);) {
    in.step();
    total = in.binary(Op::add, total, get_path(in, item, parts, Value::none()));
  }
  return total;
}

Value first(Interpreter& in, const Value& input, Call& call) {
  const Bound none("first", call, {});
  Iteration iteration = in.iterate(input);
  Value out;
  return iteration.next(in, out) ? out : in.undefined("No first item, sequence was empty.");
}

Value last(Interpreter& in, const Value& input, Call& call) {
  const Bound none("last", call, {});
  if (input.is(Kind::generator)) raise("'generator' object is not reversible");
  const std::vector<Value> all = in.collect(input);
  return all.empty() ? in.undefined("No last item, sequence was empty.") : all.back();
}

Value reverse(Interpreter& in, const Value& input, Call& call) {
  const Bound none("reverse", call, {});
  if (input.is_text()) return in.get_slice(input, Value::none(), Value::none(), Value::integer(-1));
  std::vector<Value> all = in.collect(input);
  std::reverse(all.begin(), all.end());
  if (input.is(Kind::generator)) return in.list(std::move(all));
  const Value reversed = in.list(std::move(all));
  auto iteration = std::make_shared<Iteration>(in.iterate(reversed));
  return in.generator("list_reverseiterator", reversed,
                      [iteration](Interpreter& inside, Value& out) { return iteration->next(inside, out); });
}

Value lazily(Interpreter& in, std::vector<Value> lists) {
  const Value all = in.list(std::move(lists));
  auto iteration = std::make_shared<Iteration>(in.iterate(all));
  return in.generator("generator", all,
                      [iteration](Interpreter& inside, Value& out) { return iteration->next(inside, out); });
}

Value batch(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("batch", call, {"linecount", "fill_with"}, 1);
  const std::int64_t count = want_int(bound[0], "batch");
  std::vector<Value> out, line;
  for (const Value& item : in.collect(input)) {
    if (static_cast<std::int64_t>(line.size()) == count) out.push_back(in.list(std::exchange(line, {})));
    line.push_back(item);
  }
  if (!line.empty()) {
    while (bound.is_set(1) && static_cast<std::int64_t>(line.size()) < count) {
      in.step();
      line.push_back(bound[1]);
    }
    out.push_back(in.list(std::move(line)));
  }
  return lazily(in, std::move(out));
}

Value slice(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("slice", call, {"slices", "fill_with"}, 1);
  const std::vector<Value> all = in.collect(input);
  const std::int64_t slices = want_int(bound[0], "slice");
  if (slices == 0) raise("integer division or modulo by zero");
  std::vector<Value> out;
  const auto size = static_cast<std::int64_t>(all.size());
  std::int64_t begin = 0;
  for (std::int64_t i = 0; i < slices; ++i) {
    in.step();
    const std::int64_t end = begin + size / slices + (i < size % slices ? 1 : 0);
    std::vector<Value> part(all.begin() + begin, all.begin() + end);
    if (bound.is_set(1) && i >= size % slices) part.push_back(bound[1]);
    out.push_back(in.list(std::move(part)));
    begin = end;
  }
  return lazily(in, std::move(out));
}

Value groupby(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("groupby", call, {"attribute", "default", "case_sensitive"}, 1);
  const std::vector<Value> parts = attribute_parts(in, bound[0]);
  const Value missing = bound.has(1) ? bound[1] : Value::none();
  const bool case_sensitive = bound.truth_or(2, false);
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : in.collect(input))
    keyed.emplace_back(without_case(in, get_path(in, item, parts, missing), case_sensitive), item);
  sort_by(in, keyed, false);
  std::vector<Value> out;
  for (std::size_t begin = 0; begin < keyed.size();) {
    std::size_t end = begin;
    std::vector<Value> group;
    for (; end < keyed.size() && in.equal(keyed[end].first, keyed[begin].first); ++end)
      group.push_back(keyed[end].second);
    if (end == begin) group.push_back(keyed[end++].second);  // NaN
    const Value key = case_sensitive ? keyed[begin].first : get_path(in, keyed[begin].second, parts, missing);
    Value pair = in.tuple({key, in.list(std::move(group))});
    const_cast<ListObject&>(static_cast<const ListObject&>(*pair.object())).group = true;  // NOLINT: just made here
    out.push_back(std::move(pair));
    begin = end;
  }
  return in.list(std::move(out));
}

Value attr(Interpreter& in, const Value& input, Call& call) {
  const Bound bound("attr", call, {"name"}, 1);
  if (!bound[0].is_text()) raise("attribute name must be string, not '{}'", type_name(bound[0]));
  if (input.is_dict() && bound[0].is_text() && !has_method(Kind::dict, bound[0].text().view()))
    return in.undefined(fmt::format("'dict object' has no attribute '{}'", bound[0].text().view()));  // never an item
  return in.get_attribute(input, bound[0].text().view());
}

// map and select look at their input when the first item is asked for, and at nothing when it is false, be it None.
struct LazyItems {
  Value source;
  std::optional<Iteration> items;
  bool next(Interpreter& in, Value& out) {
    if (!items) items = truth(source) ? in.iterate(source) : Iteration();
    return items->next(in, out);
  }
};

Value map(Interpreter& in, const Value& input, Call& call) {
  std::vector<Value> parts;
  Value missing = Value::none();
  Call rest;
  std::string filter;
  if (call.positional.empty()) {
    const Bound bound("map", call, {"attribute", "default"});
    if (!bound.has(0)) raise("map requires a filter argument");
    parts = attribute_parts(in, bound[0]);
    if (bound.has(1)) missing = bound[1];
  } else {
    filter = in.str(call.positional[0]).bytes();
    rest.positional.assign(call.positional.begin() + 1, call.positional.end());
    rest.named = call.named;
  }
  auto iteration = std::make_shared<LazyItems>(LazyItems{input, std::nullopt});
  return in.generator("generator", input, [=](Interpreter& inside, Value& out) {
    Value item;
    if (!iteration->next(inside, item)) return false;
    inside.step();
    Call arguments = rest;
    out = filter.empty() ? get_path(inside, item, parts, missing) : inside.call_filter(filter, item, arguments);
    return true;
  });
}

Value selected(Interpreter& in, const Value& input, Call& call, bool keep, bool by_attribute) {
  std::vector<Value> parts;
  std::size_t offset = 0;
  if (by_attribute) {
    if (call.positional.empty()) raise("Missing parameter for attribute name");
    parts = attribute_parts(in, call.positional[0]);
    offset = 1;
  }
  std::string test;
  Call rest;
  if (call.positional.size() > offset) {
    test = in.str(call.positional[offset]).bytes();
    rest.positional.assign(call.positional.begin() + static_cast<std::ptrdiff_t>(offset) + 1, call.positional.end());
    rest.named = call.named;
  }
  auto iteration = std::make_shared<LazyItems>(LazyItems{input, std::nullopt});
  return in.generator("generator", input, [=](Interpreter& inside, Value& out) {
    while (iteration->next(inside, out)) {
      inside.step();
      const Value value = by_attribute ? get_path(inside, out, parts, Value::none()) : out;
      Call arguments = rest;
      if ((test.empty() ? truth(value) : inside.call_test(test, value, arguments)) == keep) return true;
    }
    return false;
  });
}

Value select(Interpreter& in, const Value& input, Call& call) { return selected(in, input, call, true, false); }
Value reject(Interpreter& in, const Value& input, Call& call) { return selected(in, input, call, false, false); }
Value selectattr(Interpreter& in, const Value& input, Call& call) { return selected(in, input, call, true, true); }
Value rejectattr(Interpreter& in, const Value& input, Call& call) { return selected(in, input, call, false, true); }

constexpr NamedFilter filters[] = {{"attr", attr},       {"batch", batch},      {"count", length},
                                   {"d", fallback},      {"default", fallback}, {"dictsort", dictsort},
                                   {"first", first},     {"groupby", groupby},  {"items", items},
                                   {"join", join},       {"last", last},        {"length", length},
                                   {"list", to_list},    {"map", map},          {"max", maximum},
                                   {"min", minimum},     {"reject", reject},    {"rejectattr", rejectattr},
                                   {"reverse", reverse}, {"select", select},    {"selectattr", selectattr},
                                   {"slice", slice},     {"sort", sort},        {"sum", sum},
                                   {"unique", unique}};

}  // namespace

FilterFunction find_sequence_filter(std::string_view name) {
  for (const NamedFilter& filter : filters)
    if (filter.name == name) return filter.function;
  return nullptr;
}

}  // namespace tap::jinja
