// Reading a JSON Schema: checks keywords, follows references, merges allOf, splits anyOf and oneOf. Knows no automata.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "text/grammar/schema.h"

namespace tap::grammar {

struct Members {
  struct Named {
    std::string name;
    bool required;
    const Json* schema;  // null: never allowed
    std::string path;
  };
  struct Others {
    std::string pattern;  // of the key; empty: any key that nothing else covers
    const Json* schema;   // null: keys of this pattern are not allowed
    std::string path;
  };
  std::vector<Named> named;
  std::vector<Others> others;
};

struct Items {
  std::vector<const Json*> first;  // prefixItems
  const Json* rest;                // null: anything
  std::uint64_t least, most;       // most: kNoMost = any number
};

class SchemaTree {
 public:
  SchemaTree(Json root, Budget& budget) : root_(std::move(root)), budget_(&budget) {}

  const Json& root() const { return root_; }
  const Json& keep(const Json& schema);  // a copy with a stable address (the schema itself when it has one already)
  [[noreturn]] void refuse(ErrorCode code, const std::string& path, std::string_view why) const;
  template <class Fn>
  auto at(const std::string& path, Fn&& fn) const {  // an Error of `fn` names the path
    try {
      return fn();
    } catch (const Error& error) {
      throw within(error, path);
    }
  }

  // Every keyword is known; refuses those that constrain and are not supported.
  void check(const Json& schema, const std::string& path) const;
  std::string text(const Json& schema, std::string_view key, const std::string& path) const;
  std::uint64_t count_or(const Json& schema, std::string_view key, std::uint64_t otherwise,
                         const std::string& path) const;
  // The types that a value may have, by "type" or by the keywords there are; none: anything.
  std::vector<std::string> types(const Json& schema, const std::string& path) const;
  NumberRange number_range(const Json& schema, bool integer, const std::string& path) const;
  std::vector<Json> listed(const Json& schema, const std::string& path) const;  // of enum and const
  Members members(const Json& schema, const std::string& path);
  Items items(const Json& schema, const std::string& path) const;

  bool is_bare_reference(const Json& schema) const;
  bool needs_merge(const Json& schema) const;
  const Json& resolve(const std::string& ref, const std::string& path) const;
  Json merged(const Json& schema, const std::string& path, std::size_t depth = 0) const;
  // The alternatives of anyOf or oneOf, each merged with the keywords beside it.
  std::vector<Json> branches(const Json& schema, std::string_view key, const std::string& path) const;

  // What is being read without a byte of the answer in between; entering it again is an endless schema.
  class Guard {
   public:
    explicit Guard(std::vector<std::string>& active) : active_(&active) {}
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard() { active_->pop_back(); }

   private:
    std::vector<std::string>* active_;
  };
  Guard enter(std::string text, const std::string& path);

 private:
  Error within(const Error& error, const std::string& path) const;
  Json merge(Json a, const Json& b, const std::string& path) const;
  void require_exclusive(const std::vector<Json>& branches, const std::string& path) const;
  bool excludes(const Json& a, const Json& b, const std::string& path) const;
  std::vector<std::string> sure_types(const Json& schema, const std::string& path) const;
  Json root_;
  Budget* budget_;
  std::deque<Json> kept_;
  std::vector<std::string> active_;
};

}  // namespace tap::grammar
