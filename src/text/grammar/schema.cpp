#include "text/grammar/schema.h"

#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "text/grammar/regex.h"
#include "text/grammar/schema_tree.h"

namespace tap::grammar {

namespace {

constexpr std::size_t kSchemaBytes = 16 << 20;
// No exponent above 99 after at most 15 digits: always finite as a double.
constexpr std::string_view kNumber = "-?(0|[1-9][0-9]{0,14})(\\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?";
constexpr std::string_view kInteger = "0|-?[1-9][0-9]{0,14}";
constexpr std::string_view kString =
    "\"([^\"\\\\\\x00-\\x1f]|\\\\([\"\\\\/bfnrt]|u([0-9abcefABCEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}|"
    "[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2})))*\"";

Regex any_text(std::uint32_t least, std::uint32_t most) {  // so many characters
  Regex text;
  text.nodes.push_back({Regex::Kind::chars, {}, CodeSet::all(), 0, 0});
  text.nodes.push_back({Regex::Kind::repeat, {0}, {}, least, most});
  text.root = 1;
  return text;
}

class Compiler {
 public:
  Compiler(Json root, std::string_view what, Budget* all)
      : budget_(std::string(what), all), tree_(std::move(root), budget_) {}

  GrammarRules run() {
    rule(Form::value, tree_.root(), "#");
    GrammarRules out;
    for (std::size_t i = 0; i < pending_.size(); ++i) {
      const Pending job = pending_[i];
      Nfa nfa(budget_);
      const State from = nfa.add(), to = nfa.add();
      level_ = job.level;
      switch (job.form) {
        case Form::value: value(nfa, from, *job.schema, job.path, to); break;
        case Form::any: any_value(nfa, from, to); break;
        case Form::free_string:
          build(nfa, from, parse_regex(kString, Match::whole, budget_), Encoding::utf8, to);
          break;
        case Form::string: string(nfa, from, *job.schema, job.path, to); break;
        case Form::object: object(nfa, from, *job.schema, job.path, to); break;
        case Form::array: array(nfa, from, *job.schema, job.path, to); break;
      }
      const bool opens = job.form == Form::object || job.form == Form::array;
      out.push_back({determinize(nfa, from, to), static_cast<std::uint8_t>(opens)});
    }
    return out;
  }

 private:
  enum class Form : char { value = 'v', any = '*', free_string = '"', string = 's', object = '{', array = '[' };
  struct Pending {
    Form form;
    const Json* schema;
    std::string path;
    std::size_t level;
  };

  // The number of a rule; equal schemas share one, which is also what ends the compilation of recursive ones.
  Rule rule(Form form, const Json& schema, const std::string& path) {
    std::string text = form == Form::any || form == Form::free_string ? std::string() : schema.dump();
    budget_.steps(text.size() + 1);
    const auto [at, fresh] =
        rules_.emplace(std::string(1, static_cast<char>(form)) + text, static_cast<Rule>(pending_.size()));
    if (fresh) {
      pending_.push_back({form, &tree_.keep(schema), path, level_ + (form == Form::object || form == Form::array)});
      if (pending_.back().level > kMostNesting) tree_.refuse(ErrorCode::limit, path, "nested deeper than 64 levels");
    }
    return at->second;
  }

  void any_value(Nfa& nfa, State from, State to) {
    static const Json empty = Json::object();
    nfa.call(from, rule(Form::free_string, empty, "#"), to);
    nfa.call(from, rule(Form::object, empty, "#"), to);
    nfa.call(from, rule(Form::array, empty, "#"), to);
    build(nfa, from, parse_regex(kNumber, Match::whole, budget_), Encoding::utf8, to);
    for (const std::string_view word : {"true", "false", "null"}) nfa.literal(from, word, to);
  }
  void any(Nfa& nfa, State from, State to) { nfa.call(from, rule(Form::any, tree_.root(), "#"), to); }

  // One value that `schema` allows.
  void value(Nfa& nfa, State from, const Json& schema, const std::string& path, State to) {
    if (schema.is_boolean()) {
      if (!schema.get<bool>()) tree_.refuse(ErrorCode::bad_input, path, "false allows no value");
      return any(nfa, from, to);
    }
    tree_.check(schema, path);
    if (tree_.is_bare_reference(schema)) {
      // Between here and the first byte of the value the same reference must not come again.
      const std::string ref = tree_.text(schema, "$ref", path);
      const auto guard = tree_.enter(ref, path);
      return value(nfa, from, tree_.resolve(ref, path), ref, to);
    }
    if (tree_.needs_merge(schema)) {
      // A member of allOf may refer back to this schema: the merge itself is guarded.
      const auto guard = tree_.enter(schema.dump(), path);
      return value(nfa, from, tree_.keep(tree_.merged(schema, path)), path, to);
    }
    for (const std::string_view key : {"anyOf", "oneOf"}) {
      if (!schema.contains(key)) continue;
      const auto guard = tree_.enter(schema.dump(), path);
      const std::vector<Json> branches = tree_.branches(schema, key, path);
      for (std::size_t i = 0; i < branches.size(); ++i)
        value(nfa, from, tree_.keep(branches[i]), fmt::format("{}/{}/{}", path, key, i), to);
      return;
    }
    if (schema.contains("enum") || schema.contains("const")) return literals(nfa, from, schema, path, to);
    const std::vector<std::string> types = tree_.types(schema, path);
    if (types.empty()) return any(nfa, from, to);
    for (const std::string& type : types) typed(nfa, from, type, schema, path, to);
  }

  void typed(Nfa& nfa, State from, const std::string& type, const Json& schema, const std::string& path, State to) {
    if (type == "null") return nfa.literal(from, "null", to);
    if (type == "boolean") {
      nfa.literal(from, "true", to);
      return nfa.literal(from, "false", to);
    }
    if (type == "object") return nfa.call(from, rule(Form::object, schema, path), to);
    if (type == "array") return nfa.call(from, rule(Form::array, schema, path), to);
    if (type == "string") {
      static const Json empty = Json::object();
      const bool free = !schema.contains("minLength") && !schema.contains("maxLength") && !schema.contains("pattern") &&
                        !schema.contains("format");
      return nfa.call(from, free ? rule(Form::free_string, empty, "#") : rule(Form::string, schema, path), to);
    }
    number(nfa, from, type == "integer", schema, path, to);
  }

  void number(Nfa& nfa, State from, bool integer, const Json& schema, const std::string& path, State to) {
    const NumberRange range = tree_.number_range(schema, integer, path);
    if (range.least.empty() && range.most.empty() && range.multiple_of == 0)
      return build(nfa, from, parse_regex(integer ? kInteger : kNumber, Match::whole, budget_), Encoding::utf8, to);
    const Dfa dfa = tree_.at(path, [&] { return grammar::number_range(range, budget_); });
    if (dfa.is_empty()) tree_.refuse(ErrorCode::bad_input, path, "no number satisfies these bounds");
    splice(nfa, from, dfa, to);
  }

  void string(Nfa& nfa, State from, const Json& schema, const std::string& path, State to) {
    std::vector<Dfa> all;
    if (schema.contains("minLength") || schema.contains("maxLength")) {
      const std::uint64_t least = tree_.count_or(schema, "minLength", 0, path);
      const std::uint64_t most = tree_.count_or(schema, "maxLength", kNoMost, path);
      if (least > most) tree_.refuse(ErrorCode::bad_input, path, "minLength is above maxLength");
      // Each character costs states, so that a count beyond the limit on states is refused before it is built.
      budget_.steps(least + (most == kNoMost ? 0 : most - least));
      const Regex text = any_text(static_cast<std::uint32_t>(least), static_cast<std::uint32_t>(most));
      all.push_back(tree_.at(path, [&] { return compile(text, Encoding::json, budget_); }));
    }
    if (schema.contains("pattern"))
      all.push_back(tree_.at(path + "/pattern", [&] {
        return compile_regex(tree_.text(schema, "pattern", path), Match::anywhere, Encoding::json, budget_);
      }));
    if (schema.contains("format")) {
      const std::string format = tree_.text(schema, "format", path);
      const std::string_view pattern = format_pattern(format);
      if (pattern.empty())
        tree_.refuse(ErrorCode::unsupported, path + "/format",
                     fmt::format("the format \"{}\" is not supported", format));
      all.push_back(compile_regex(pattern, Match::whole, Encoding::json, budget_));
    }
    Dfa text = std::move(all.front());
    for (std::size_t i = 1; i < all.size(); ++i) text = product(text, all[i], false, budget_);
    if (text.is_empty()) tree_.refuse(ErrorCode::bad_input, path, "no string satisfies all of its keywords");
    const State begin = nfa.add(), end = nfa.add();
    nfa.literal(from, "\"", begin);
    splice(nfa, begin, text, end);
    nfa.literal(end, "\"", to);
  }

  // Between members and items, and after a colon: at most one space, so that white space cannot go on for ever.
  void separator(Nfa& nfa, State from, char mark, State to) {
    const State after = nfa.add();
    nfa.literal(from, std::string(1, mark), after);
    nfa.literal(after, " ", to);
    nfa.empty(after, to);
  }

  void literals(Nfa& nfa, State from, const Json& schema, const std::string& path, State to) {
    std::vector<std::string> scalars;
    for (const Json& item : tree_.listed(schema, path)) {
      if (item.is_structured())
        literal(nfa, from, item, to);
      else
        scalars.push_back(item.is_string() ? json_string(item.get_ref<const std::string&>()) : item.dump());
    }
    nfa.literals(from, scalars, to);
  }
  void literal(Nfa& nfa, State from, const Json& item, State to) {  // as deep as JSON may be
    if (!item.is_structured())
      return nfa.literal(from, item.is_string() ? json_string(item.get_ref<const std::string&>()) : item.dump(), to);
    State at = nfa.add();
    nfa.literal(from, item.is_object() ? "{" : "[", at);
    bool first = true;
    for (auto member = item.begin(); member != item.end(); ++member) {
      const auto next = [&](State state) { return at = state; };
      if (!std::exchange(first, false)) {
        const State before = nfa.add();
        separator(nfa, at, ',', before);
        next(before);
      }
      if (item.is_object()) {
        const State colon = nfa.add(), before = nfa.add();
        nfa.literal(at, json_string(member.key()), colon);
        separator(nfa, colon, ':', before);
        next(before);
      }
      const State after = nfa.add();
      literal(nfa, at, *member, after);
      next(after);
    }
    nfa.literal(at, item.is_object() ? "}" : "]", to);
  }

  // Members in the order of the file, each with its comma when something stands before it; then others, if any may.
  void object(Nfa& nfa, State from, const Json& schema, const std::string& path, State to) {
    const Members members = tree_.members(schema, path);
    State none = nfa.add(), some = nfa.add();  // nothing written yet; something written
    nfa.literal(from, "{", none);
    for (const Members::Named& named : members.named) {
      if (!named.schema) continue;  // never allowed
      const State here = nfa.add(), colon = nfa.add(), before = nfa.add(), next_none = nfa.add(), next_some = nfa.add();
      nfa.empty(none, here);
      separator(nfa, some, ',', here);
      nfa.literal(here, json_string(named.name), colon);
      separator(nfa, colon, ':', before);
      value(nfa, before, *named.schema, named.path, next_some);
      if (!named.required) {
        nfa.empty(none, next_none);
        nfa.empty(some, next_some);
      }
      none = next_none;
      some = next_some;
    }
    if (!members.others.empty()) {
      const State here = nfa.add();
      const Dfa names = member_names(members);
      nfa.empty(none, here);
      separator(nfa, some, ',', here);
      std::vector<Dfa> patterns;
      for (const Members::Others& other : members.others)
        if (!other.pattern.empty()) patterns.push_back(key_pattern(other));
      std::size_t index = 0;
      for (const Members::Others& other : members.others) {
        // A key under exactly one rule: not a named one, and matched by no other pattern.
        Dfa keys = other.pattern.empty() ? compile(any_text(0, kNoMost), Encoding::json, budget_) : patterns[index];
        keys = product(keys, names, true, budget_);
        for (std::size_t i = 0; i < patterns.size(); ++i)
          if (other.pattern.empty() || i != index) keys = product(keys, patterns[i], true, budget_);
        index += !other.pattern.empty();
        if (keys.is_empty() || !other.schema) continue;
        const State quote = nfa.add(), end = nfa.add(), colon = nfa.add(), before = nfa.add();
        nfa.literal(here, "\"", quote);
        splice(nfa, quote, keys, end);
        nfa.literal(end, "\"", colon);
        separator(nfa, colon, ':', before);
        nfa.call(before, rule(Form::value, *other.schema, other.path), some);
      }
    }
    nfa.literal(none, "}", to);
    nfa.literal(some, "}", to);
  }

  Dfa key_pattern(const Members::Others& other) {
    return tree_.at(other.path,
                    [&] { return grammar::compile_regex(other.pattern, Match::anywhere, Encoding::json, budget_); });
  }
  Dfa member_names(const Members& members) {
    Nfa nfa(budget_);
    const State from = nfa.add(), to = nfa.add();
    std::vector<std::string> names;
    for (const Members::Named& named : members.named) {
      const std::string text = json_string(named.name);
      names.push_back(text.substr(1, text.size() - 2));
    }
    nfa.literals(from, names, to);
    return determinize(nfa, from, to);
  }

  void array(Nfa& nfa, State from, const Json& schema, const std::string& path, State to) {
    const Items items = tree_.items(schema, path);
    State at = nfa.add();  // after `count` items
    nfa.literal(from, "[", at);
    std::uint64_t count = 0;
    const auto one = [&](State before, State after) {
      if (count < items.first.size())
        value(nfa, before, *items.first[count], fmt::format("{}/prefixItems/{}", path, count), after);
      else if (!items.rest)
        any(nfa, before, after);
      else
        nfa.call(before, rule(Form::value, *items.rest, path + "/items"), after);
    };
    const auto next = [&](State after) {
      State before = at;
      if (count > 0) {
        before = nfa.add();
        separator(nfa, at, ',', before);
      }
      one(before, after);
    };
    const std::uint64_t fixed = std::max<std::uint64_t>(items.least, items.first.size());
    for (; count < items.most; ++count) {
      if (count >= items.least) nfa.literal(at, "]", to);
      if (items.most == kNoMost && count >= fixed && count > 0) {
        next(at);
        return;
      }
      const State after = nfa.add();
      next(after);
      at = after;
    }
    nfa.literal(at, "]", to);
  }

  Budget budget_;
  SchemaTree tree_;
  std::deque<Pending> pending_;
  std::map<std::string, Rule> rules_;
  std::size_t level_ = 0;
};

}  // namespace

GrammarRules compile_schema(std::string_view text, std::string_view what, Budget* all) {
  JsonLimits limits;
  limits.bytes = kSchemaBytes;
  auto root = parse_json(text, what, limits);
  if (!root) throw root.error();
  return Compiler(std::move(*root), what, all).run();
}

}  // namespace tap::grammar
