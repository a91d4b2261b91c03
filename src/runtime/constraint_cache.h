// Compiled forms of answers, kept while they are asked for: a second request for the same form compiles nothing.
#pragma once

#include <cstdint>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "io/json.h"
#include "runtime/constraint.h"
#include "text/grammar/call_grammar.h"

namespace tap {

// What an answer must be, as JSON of one key:
//   {"schema": {…}}, {"regex": "…"}, {"choices": ["…"]}, {"grammar": "GBNF"}
//   {"calls": {"calls": [{"begins", "schema", "what", "end"}], "section_begin", "between", "section_end", "mark",
//   "many",
//              "required", "content": a form of the first line, or null}}: grammar::CallGrammar
// Throws Error naming the key: what is wrong with it.
GrammarPtr grammar_of_form(const Json& form);

// Safe from many threads; two that ask for the same form compile it once.
class ConstraintCache {
 public:
  struct Limits {
    std::size_t forms = 64;
    std::size_t bytes = std::size_t{256} << 20;  // of automata and masks; the newest form is kept whatever it holds
  };
  struct Counts {
    std::uint64_t compiled = 0, reused = 0;
    std::size_t kept = 0;
  };
  ConstraintCache() = default;
  explicit ConstraintCache(Limits limits) : limits_(limits) {}

  // Throws what grammar_of_form and Constraint throw.
  std::shared_ptr<const Constraint> operator()(const Model& model, const Json& form);
  Counts counts() const;

 private:
  using Made = std::shared_future<std::shared_ptr<const Constraint>>;
  struct Entry {
    std::string model, form;  // the model's fingerprint, the form's JSON
    bool calls;               // its trie holds the tokens that calls are written with
    Made made;
  };
  std::shared_ptr<const Constraint> make(const Model& model, const Json& form);
  void drop_old();
  Limits limits_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // newest first
  Counts counts_;
};

}  // namespace tap
