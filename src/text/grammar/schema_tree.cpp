#include "text/grammar/schema_tree.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "text/grammar/regex.h"

namespace tap::grammar {

namespace {

// OpenAPI's discriminator says where to look in a oneOf that constrains without it.
constexpr std::array<std::string_view, 18> kAnnotations = {
    "title",    "description", "default",         "example",          "examples",    "$schema",
    "$id",      "$comment",    "$defs",           "$anchor",          "definitions", "deprecated",
    "readOnly", "writeOnly",   "contentEncoding", "contentMediaType", "$vocabulary", "discriminator"};
constexpr std::array<std::string_view, 26> kKeywords = {"type",
                                                        "properties",
                                                        "required",
                                                        "additionalProperties",
                                                        "patternProperties",
                                                        "items",
                                                        "prefixItems",
                                                        "minItems",
                                                        "maxItems",
                                                        "enum",
                                                        "const",
                                                        "anyOf",
                                                        "oneOf",
                                                        "allOf",
                                                        "$ref",
                                                        "minLength",
                                                        "maxLength",
                                                        "pattern",
                                                        "format",
                                                        "minimum",
                                                        "maximum",
                                                        "exclusiveMinimum",
                                                        "exclusiveMaximum",
                                                        "multipleOf",
                                                        "nullable",
                                                        "uniqueItems"};
constexpr std::array<std::string_view, 7> kTypes = {"null",   "boolean", "object", "array",
                                                    "number", "integer", "string"};
// Keywords that say which type is meant where "type" is absent.
constexpr std::array<std::pair<std::string_view, std::string_view>, 17> kTyped = {{{"properties", "object"},
                                                                                   {"required", "object"},
                                                                                   {"additionalProperties", "object"},
                                                                                   {"patternProperties", "object"},
                                                                                   {"items", "array"},
                                                                                   {"prefixItems", "array"},
                                                                                   {"minItems", "array"},
                                                                                   {"maxItems", "array"},
                                                                                   {"minLength", "string"},
                                                                                   {"maxLength", "string"},
                                                                                   {"pattern", "string"},
                                                                                   {"format", "string"},
                                                                                   {"minimum", "number"},
                                                                                   {"maximum", "number"},
                                                                                   {"exclusiveMinimum", "number"},
                                                                                   {"exclusiveMaximum", "number"},
                                                                                   {"multipleOf", "number"}}};

bool is_annotation(std::string_view key) {
  return std::ranges::find(kAnnotations, key) != kAnnotations.end() || key.starts_with("x-");
}

Json both(const Json& a, const Json& b) { return a == b ? a : Json{{"allOf", Json::array({a, b})}}; }

std::string type_of(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return "null";
    case Json::value_t::boolean: return "boolean";
    case Json::value_t::object: return "object";
    case Json::value_t::array: return "array";
    case Json::value_t::string: return "string";
    case Json::value_t::number_float:
      return std::floor(value.get<double>()) == value.get<double>() ? "integer" : "number";
    default: return "integer";
  }
}

bool has_type(const std::vector<std::string>& types, const std::string& type) {
  return std::ranges::find(types, type) != types.end() ||
         (type == "integer" && std::ranges::find(types, "number") != types.end());
}

bool accepts_key(const Dfa& dfa, std::string_view name) {
  State state = 0;
  const std::string text = json_string(name);
  for (const char c : std::string_view(text).substr(1, text.size() - 2)) {
    const auto byte = static_cast<unsigned char>(c);
    const auto edges = dfa.edges_of(state);
    const auto edge = std::ranges::find_if(edges, [&](const Dfa::Edge& e) { return e.low <= byte && byte <= e.high; });
    if (edge == edges.end()) return false;
    state = edge->to;
  }
  return dfa.accepting[state];
}

// A number without exponent, as short as reads back the same.
std::string decimal(const Json& value) {
  if (!value.is_number_float()) return value.dump();
  std::string text = fmt::format("{:.30f}", value.get<double>());  // tiny ones then have more digits than are allowed
  if (std::string shortest = fmt::format("{}", value.get<double>()); shortest.find_first_of("en") == std::string::npos)
    text = std::move(shortest);
  return text;
}

}  // namespace

const Json& SchemaTree::keep(const Json& schema) {
  kept_.push_back(schema);
  return kept_.back();
}

Error SchemaTree::within(const Error& error, const std::string& path) const {
  std::string_view message = error.message();
  if (const std::string head = budget_->what() + ": "; message.starts_with(head)) message.remove_prefix(head.size());
  return Error(error.code(), fmt::format("{}: {}: {}", budget_->what(), path, message), budget_->what());
}

void SchemaTree::refuse(ErrorCode code, const std::string& path, std::string_view why) const {
  throw Error(code, fmt::format("{}: {}: {}", budget_->what(), path, why), budget_->what());
}

SchemaTree::Guard SchemaTree::enter(std::string text, const std::string& path) {
  if (std::ranges::find(active_, text) != active_.end())
    refuse(ErrorCode::bad_input, path, "refers to itself without anything in between");
  budget_->steps(100 + text.size());  // reading a schema again costs more than a state does
  if (active_.size() >= kMostNesting) refuse(ErrorCode::limit, path, "nested deeper than 64 levels");
  active_.push_back(std::move(text));
  return Guard(active_);
}

void SchemaTree::check(const Json& schema, const std::string& path) const {
  budget_->steps(schema.size() + 1);
  if (!schema.is_object()) refuse(ErrorCode::bad_input, path, "a schema must be an object, true or false");
  for (const auto& [key, value] : schema.items()) {
    const std::string here = path + "/" + key;
    if (key == "$id" && path != "#") refuse(ErrorCode::unsupported, here, "only the outermost schema may have an $id");
    if (is_annotation(key)) continue;
    if ((key == "minProperties" || key == "minContains") && value == 0) continue;
    if (std::ranges::find(kKeywords, key) == kKeywords.end())
      refuse(ErrorCode::unsupported, here, fmt::format("the keyword \"{}\" is not supported", key));
    if (key == "uniqueItems" && value != false) refuse(ErrorCode::unsupported, here, "unique items are not supported");
    const auto want = [&](bool good, std::string_view wanted) {
      if (!good) refuse(ErrorCode::bad_input, here, fmt::format("must be {}", wanted));
    };
    if (key == "properties" || key == "patternProperties") want(value.is_object(), "an object of schemas");
    if (key == "anyOf" || key == "oneOf" || key == "allOf" || key == "prefixItems")
      want(value.is_array() && !value.empty(), "a list of at least one schema");
    if (key == "enum") want(value.is_array() && !value.empty(), "a list of at least one value");
    if (key == "items" || key == "additionalProperties")
      want(value.is_object() || value.is_boolean(), "a schema (lists of items are prefixItems)");
    if (key == "nullable") want(value.is_boolean(), "true or false");
    if (key == "required")
      want(value.is_array() && std::ranges::all_of(value, [](const Json& name) { return name.is_string(); }),
           "a list of names");
  }
}

std::string SchemaTree::text(const Json& schema, std::string_view key, const std::string& path) const {
  const Json& value = schema.at(std::string(key));
  if (!value.is_string()) refuse(ErrorCode::bad_input, fmt::format("{}/{}", path, key), "must be a string");
  return value.get<std::string>();
}

std::uint64_t SchemaTree::count_or(const Json& schema, std::string_view key, std::uint64_t otherwise,
                                   const std::string& path) const {
  const auto at = schema.find(std::string(key));
  if (at == schema.end()) return otherwise;
  const double value = at->is_number() ? at->get<double>() : -1;
  if (value < 0 || std::floor(value) != value)
    refuse(ErrorCode::bad_input, fmt::format("{}/{}", path, key), "must be an integer, at least 0");
  return static_cast<std::uint64_t>(std::min(value, static_cast<double>(kNoMost - 1)));
}

std::vector<std::string> SchemaTree::types(const Json& schema, const std::string& path) const {
  std::vector<std::string> types;
  const auto add = [&](const std::string& type) {
    if (std::ranges::find(types, type) == types.end()) types.push_back(type);
  };
  if (const auto at = schema.find("type"); at != schema.end()) {
    const Json list = at->is_array() ? *at : Json::array({*at});
    for (const Json& type : list) {
      if (!type.is_string() || std::ranges::find(kTypes, type.get_ref<const std::string&>()) == kTypes.end())
        refuse(ErrorCode::bad_input, path + "/type",
               fmt::format("{} is none of null, boolean, object, array, number, integer, string", type.dump()));
      add(type.get<std::string>());
    }
    if (types.empty()) refuse(ErrorCode::bad_input, path + "/type", "an empty list allows no value");
    if (has_type(types, "number")) std::erase(types, "integer");
  } else {
    for (const auto& [key, type] : kTyped)
      if (schema.contains(std::string(key))) add(std::string(type));
  }
  if (const auto at = schema.find("nullable"); at != schema.end() && *at == true && !types.empty()) add("null");
  return types;
}

NumberRange SchemaTree::number_range(const Json& schema, bool integer, const std::string& path) const {
  NumberRange range{integer, {}, {}, false, false, 0};
  std::optional<double> least, most;
  const auto bound = [&](const char* key, std::optional<double>& value, std::string& text, bool& excluded, bool up,
                         bool exclusive) {
    const auto at = schema.find(key);
    if (at == schema.end()) return;
    if (!at->is_number()) refuse(ErrorCode::bad_input, fmt::format("{}/{}", path, key), "must be a number");
    const double number = at->get<double>();
    if (value && (up ? number < *value : number > *value)) return;
    excluded = exclusive || (value && number == *value && excluded);
    value = number;
    text = decimal(*at);
  };
  bound("minimum", least, range.least, range.above_least, true, false);
  bound("exclusiveMinimum", least, range.least, range.above_least, true, true);
  bound("maximum", most, range.most, range.below_most, false, false);
  bound("exclusiveMaximum", most, range.most, range.below_most, false, true);
  if (const auto at = schema.find("multipleOf"); at != schema.end()) {
    const double number = at->is_number() ? at->get<double>() : 0;
    if (!(number > 0)) refuse(ErrorCode::bad_input, path + "/multipleOf", "must be a number above 0");
    if (std::floor(number) != number || number > 10'000)
      refuse(ErrorCode::unsupported, path + "/multipleOf", "only integers from 1 to 10000 are supported");
    range.multiple_of = static_cast<std::uint64_t>(number);
    range.integer = true;  // every multiple of an integer is one
  }
  return range;
}

std::vector<Json> SchemaTree::listed(const Json& schema, const std::string& path) const {
  std::vector<Json> values;
  if (schema.contains("enum")) values = schema["enum"].get<std::vector<Json>>();
  if (const auto at = schema.find("const"); at != schema.end()) {
    if (schema.contains("enum") && std::ranges::find(values, *at) == values.end())
      values.clear();
    else
      values = {*at};
  }
  for (const auto& [key, type] : kTyped)
    if (schema.contains(std::string(key)))
      refuse(ErrorCode::unsupported, path, fmt::format("\"{}\" beside enum or const is not supported", key));
  const std::vector<std::string> types = this->types(schema, path);
  if (!types.empty()) std::erase_if(values, [&](const Json& value) { return !has_type(types, type_of(value)); });
  if (values.empty()) refuse(ErrorCode::bad_input, path, "enum, const and type together allow no value");
  return values;
}

Members SchemaTree::members(const Json& schema, const std::string& path) {
  static const Json anything = true;
  const auto allowed = [](const Json& s) { return s == false ? nullptr : &s; };
  Members members;
  const Json none = Json::object();
  const Json& properties = schema.contains("properties") ? schema["properties"] : none;
  const Json& patterns = schema.contains("patternProperties") ? schema["patternProperties"] : none;
  const Json required = schema.contains("required") ? schema["required"] : Json::array();
  const bool open = schema.contains("additionalProperties");
  const Json* others = open                                                         ? &schema["additionalProperties"]
                       : properties.empty() && patterns.empty() && required.empty() ? &anything
                                                                                    : nullptr;
  std::vector<Dfa> pattern_dfas;
  for (const auto& [pattern, value] : patterns.items()) {
    const std::string here = fmt::format("{}/patternProperties/{}", path, pattern);
    pattern_dfas.push_back(at(here, [&] { return compile_regex(pattern, Match::anywhere, Encoding::json, *budget_); }));
    members.others.push_back({pattern, allowed(value), here});
  }
  std::set<std::string> wanted;
  for (const Json& name : required) wanted.insert(name.get<std::string>());
  const auto put = [&](const std::string& name, const Json* value, const std::string& here) {
    // A pattern that matches a name constrains that member too.
    std::size_t index = 0;
    budget_->steps(1 + patterns.size() * (name.size() + 1));
    for (const auto& [pattern, also] : patterns.items())
      if (accepts_key(pattern_dfas[index++], name)) value = value ? &keep(both(*value, also)) : &keep(also);
    const Json* one = value ? allowed(*value) : nullptr;
    const bool must = wanted.contains(name);
    if (must && !one) refuse(ErrorCode::bad_input, here, fmt::format("\"{}\" is required and never allowed", name));
    members.named.push_back({name, must, one, here});
  };
  for (const auto& [name, value] : properties.items()) put(name, &value, fmt::format("{}/properties/{}", path, name));
  std::set<std::string> known;
  for (const Members::Named& named : members.named) known.insert(named.name);
  for (const Json& item : required) {
    const std::string name = item.get<std::string>();
    if (!known.insert(name).second) continue;
    const bool matched = std::ranges::any_of(pattern_dfas, [&](const Dfa& dfa) { return accepts_key(dfa, name); });
    put(name, matched ? nullptr : open ? others : &anything, path + "/required");
  }
  if (others && allowed(*others)) members.others.push_back({{}, others, path + "/additionalProperties"});
  return members;
}

Items SchemaTree::items(const Json& schema, const std::string& path) const {
  Items items{{}, nullptr, count_or(schema, "minItems", 0, path), count_or(schema, "maxItems", kNoMost, path)};
  bool closed = false;
  if (schema.contains("prefixItems")) {
    for (const Json& item : schema["prefixItems"]) items.first.push_back(&item);
    closed = !schema.contains("items");
  }
  if (schema.contains("items") && schema["items"] != true) {
    if (schema["items"] == false)
      closed = true;
    else
      items.rest = &schema["items"];
  }
  if (closed) items.most = std::min<std::uint64_t>(items.most, items.first.size());
  if (items.first.size() > items.most) items.first.resize(items.most);
  if (items.least > items.most) refuse(ErrorCode::bad_input, path, "minItems is above what may follow");
  return items;
}

bool SchemaTree::is_bare_reference(const Json& schema) const {
  return schema.contains("$ref") && std::ranges::all_of(schema.items(), [](const auto& member) {
           return member.key() == "$ref" || is_annotation(member.key());
         });
}

bool SchemaTree::needs_merge(const Json& schema) const { return schema.contains("$ref") || schema.contains("allOf"); }

const Json& SchemaTree::resolve(const std::string& ref, const std::string& path) const {
  const std::string here = path + "/$ref";
  if (!ref.starts_with("#") || (ref.size() > 1 && ref[1] != '/'))
    refuse(ErrorCode::unsupported, here,
           fmt::format("\"{}\": only references within the file are supported, like #/$defs/name", ref));
  std::string pointer;
  for (std::size_t i = 1; i < ref.size(); ++i) {
    unsigned code = 0;
    if (ref[i] == '%' && i + 2 < ref.size() && std::sscanf(ref.c_str() + i + 1, "%2x", &code) == 1) {
      pointer += static_cast<char>(code);
      i += 2;
    } else {
      pointer += ref[i];
    }
  }
  try {
    return root_.at(Json::json_pointer(pointer));
  } catch (const nlohmann::json::exception&) {
    refuse(ErrorCode::bad_input, here, fmt::format("\"{}\": there is no such place in the schema", ref));
  }
}

Json SchemaTree::merged(const Json& schema, const std::string& path, std::size_t depth) const {
  if (depth > kMostNesting) refuse(ErrorCode::bad_input, path, "refers to itself without anything in between");
  if (schema == true) return Json::object();
  if (schema == false) refuse(ErrorCode::bad_input, path, "false allows no value");
  check(schema, path);
  Json result = Json::object();
  for (const auto& [key, value] : schema.items())
    if (key != "$ref" && key != "allOf" && !is_annotation(key)) result[key] = value;
  if (schema.contains("$ref")) {
    const std::string ref = text(schema, "$ref", path);
    result = merge(std::move(result), merged(resolve(ref, path), ref, depth + 1), path);
  }
  if (schema.contains("allOf"))
    for (std::size_t i = 0; i < schema["allOf"].size(); ++i)
      result =
          merge(std::move(result), merged(schema["allOf"][i], fmt::format("{}/allOf/{}", path, i), depth + 1), path);
  return result;
}

// The schema that allows what both allow; refuses where that cannot be said in one schema.
Json SchemaTree::merge(Json a, const Json& b, const std::string& path) const {
  budget_->steps(a.size() + b.size() + 1);
  if (a.empty()) return b;
  if (b.empty()) return a;
  const auto has = [](const Json& s, const char* key) { return s.contains(key); };
  const auto inexact = [&](std::string_view key) {
    refuse(ErrorCode::unsupported, path, fmt::format("two \"{}\" cannot be merged exactly", key));
  };
  if (has(a, "prefixItems") != has(b, "prefixItems") && (has(a, "items") || has(b, "items"))) inexact("items");
  // A name that only one side lists falls under the other's additionalProperties.
  const auto cover = [&](Json& s, const Json& other) {
    if (!has(s, "properties") || !has(other, "additionalProperties")) return;
    if (has(other, "patternProperties")) inexact("patternProperties");
    const Json& rest = other["additionalProperties"];
    budget_->steps(s["properties"].size() * (has(other, "properties") ? other["properties"].size() : 1));
    for (auto& [name, value] : s["properties"].items())
      if (!has(other, "properties") || !other["properties"].contains(name))
        value = rest == false ? rest : rest == true ? value : both(value, rest);
  };
  Json right = b;
  cover(a, b);
  cover(right, a);
  for (const auto& [key, value] : right.items()) {
    if (!a.contains(key)) {
      a[key] = value;
      continue;
    }
    Json& mine = a[key];
    if (mine == value) continue;
    if (key == "type") {
      Json types = Json::array();
      const std::vector<std::string> left = this->types({{"type", mine}}, path),
                                     other = this->types({{"type", value}}, path);
      for (const std::string& type : left)
        if (has_type(other, type)) types.push_back(type);
      if (has_type(left, "integer") && has_type(other, "integer") && !has_type(types, "integer"))
        types.push_back("integer");
      if (types.empty()) refuse(ErrorCode::bad_input, path, "two \"type\" have nothing in common");
      mine = types;
    } else if (key == "required") {
      budget_->steps(mine.size() * value.size());
      for (const Json& name : value)
        if (std::ranges::find(mine, name) == mine.end()) mine.push_back(name);
    } else if (key == "properties") {
      budget_->steps(mine.size() * value.size());
      for (const auto& [name, schema] : value.items())
        mine[name] = mine.contains(name) ? both(mine[name], schema) : schema;
    } else if (key == "items" || key == "additionalProperties") {
      mine = mine == false || value == false ? Json(false)
             : mine == true                  ? value
             : value == true                 ? mine
                                             : both(mine, value);
    } else if (key == "enum") {
      Json common = Json::array();
      budget_->steps(mine.size() * value.size());
      for (const Json& item : mine)
        if (std::ranges::find(value, item) != value.end()) common.push_back(item);
      if (common.empty()) refuse(ErrorCode::bad_input, path, "two \"enum\" have nothing in common");
      mine = common;
    } else if (mine.is_number() && value.is_number() && key != "multipleOf" && key != "const") {
      const bool least = key.starts_with("min") || key == "exclusiveMinimum";
      if (least ? value.get<double>() > mine.get<double>() : value.get<double>() < mine.get<double>()) mine = value;
    } else if (key == "nullable") {
      mine = false;
    } else if (key == "const") {
      refuse(ErrorCode::bad_input, path, "two different \"const\" allow no value");
    } else {
      inexact(key);
    }
  }
  return a;
}

std::vector<Json> SchemaTree::branches(const Json& schema, std::string_view key, const std::string& path) const {
  Json rest = Json::object();
  for (const auto& [name, value] : schema.items())
    if (name != key && name != "nullable" && !is_annotation(name)) rest[name] = value;
  if (rest.contains("anyOf") || rest.contains("oneOf"))
    refuse(ErrorCode::unsupported, path, "anyOf beside oneOf is not supported");
  std::vector<Json> branches = schema[std::string(key)].get<std::vector<Json>>();
  if (key == "oneOf") require_exclusive(branches, path + "/oneOf");
  std::erase(branches, false);
  if (branches.empty()) refuse(ErrorCode::bad_input, fmt::format("{}/{}", path, key), "allows no value");
  if (!rest.empty())
    for (std::size_t i = 0; i < branches.size(); ++i) branches[i] = Json{{"allOf", Json::array({rest, branches[i]})}};
  if (schema.contains("nullable") && schema["nullable"] == true) branches.push_back({{"type", "null"}});
  return branches;
}

std::vector<std::string> SchemaTree::sure_types(const Json& schema, const std::string& path) const {
  if (schema.contains("type")) return types(schema, path);
  std::vector<std::string> found;
  if (schema.contains("const"))
    found.push_back(type_of(schema["const"]));
  else if (schema.contains("enum"))
    for (const Json& value : schema["enum"]) found.push_back(type_of(value));
  else
    found.assign(kTypes.begin(), kTypes.end());
  return found;
}

bool SchemaTree::excludes(const Json& a, const Json& b, const std::string& path) const {
  const auto values = [](const Json& s) {
    return s.contains("const")  ? std::vector<Json>{s["const"]}
           : s.contains("enum") ? s["enum"].get<std::vector<Json>>()
                                : std::vector<Json>();
  };
  const std::vector<std::string> types = sure_types(a, path), others = sure_types(b, path);
  if (std::ranges::none_of(types, [&](const std::string& type) {
        return has_type(others, type) || (type == "number" && has_type(others, "integer"));
      }))
    return true;
  const std::vector<Json> listed = values(a), also = values(b);
  budget_->steps(listed.size() * also.size());
  if (!listed.empty() && !also.empty())
    return std::ranges::none_of(listed, [&](const Json& v) { return std::ranges::find(also, v) != also.end(); });
  // Objects told apart by a member that both demand, with different values.
  if (types != std::vector<std::string>{"object"} || others != types) return false;
  if (!a.contains("required") || !b.contains("required") || !a.contains("properties") || !b.contains("properties"))
    return false;
  for (const Json& name : a["required"]) {
    const auto member = [&](const Json& s) -> const Json* {
      const auto at = s["properties"].find(name.get_ref<const std::string&>());
      return at == s["properties"].end() || !at->is_object() ? nullptr : &*at;
    };
    budget_->steps(b["required"].size() + a["properties"].size() + b["properties"].size());
    if (std::ranges::find(b["required"], name) == b["required"].end() || !member(a) || !member(b)) continue;
    const std::vector<Json> mine = values(*member(a)), theirs = values(*member(b));
    if (!mine.empty() && !theirs.empty() &&
        std::ranges::none_of(mine, [&](const Json& v) { return std::ranges::find(theirs, v) != theirs.end(); }))
      return true;
  }
  return false;
}

void SchemaTree::require_exclusive(const std::vector<Json>& branches, const std::string& path) const {
  std::vector<Json> flat;
  for (std::size_t i = 0; i < branches.size(); ++i)
    if (branches[i] != false) flat.push_back(merged(branches[i], fmt::format("{}/{}", path, i)));
  for (std::size_t i = 0; i < flat.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) {
      budget_->steps(40 + flat[i].size() + flat[j].size());  // a comparison costs more than a state does
      if (!excludes(flat[j], flat[i], path))
        refuse(
            ErrorCode::unsupported, path,
            fmt::format("cannot show that alternatives {} and {} exclude each other; give them different types, or a "
                        "required member with different const values, or use anyOf",
                        j, i));
    }
}

}  // namespace tap::grammar
