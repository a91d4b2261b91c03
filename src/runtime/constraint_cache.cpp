#include "runtime/constraint_cache.h"

#include <algorithm>
#include <chrono>

#include "text/grammar/gbnf.h"
#include "text/grammar/schema.h"

namespace tap {

namespace {

constexpr std::string_view calls_key = "calls";

bool is_made(const std::shared_future<std::shared_ptr<const Constraint>>& made) {
  return made.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

grammar::GrammarRules rules_of(const Json& form);

grammar::GrammarRules call_rules(const Json& form) {
  const auto text = [](const Json& object, const char* key) { return object.at(key).get<std::string>(); };
  grammar::CallGrammar calls;
  for (const Json& call : form.at("calls"))
    calls.calls.push_back({call.at("begins").get<std::vector<std::string>>(), to_json_line(call.at("schema")),
                           text(call, "what"), text(call, "end")});
  calls.section_begin = text(form, "section_begin");
  calls.between = text(form, "between");
  calls.section_end = text(form, "section_end");
  calls.mark = text(form, "mark");
  calls.many = form.at("many").get<bool>();
  calls.required = form.at("required").get<bool>();
  if (!form.at("content").is_null()) calls.content = rules_of(form.at("content"));
  return compile_calls(calls);
}

grammar::GrammarRules rules_of(const Json& form) {
  const std::string& key = form.begin().key();
  const Json& value = *form.begin();
  if (key == "choices") return grammar::choice_rules(value.get<std::vector<std::string>>());
  if (key == "regex") return grammar::regex_rules(value.get_ref<const std::string&>());
  if (key == "grammar") return grammar::compile_gbnf(value.get_ref<const std::string&>(), key);
  if (key == calls_key) return call_rules(value);
  return grammar::compile_schema(to_json_line(value), key);
}

// Added tokens that are no marks of the conversation: a free text may hold them, and calls may be written with them.
std::vector<TokenId> tokens_of_text(const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < tokenizer.size(); ++id)
    if (tokenizer.is_added(id) && (!tokenizer.is_special(id) || tokenizer.token_text(id).starts_with("<|tool_call")))
      ids.push_back(id);
  return ids;
}

}  // namespace

GrammarPtr grammar_of_form(const Json& form) { return Grammar::join(rules_of(form), form.begin().key()); }

ConstraintCache::Counts ConstraintCache::counts() const {
  const std::lock_guard lock(mutex_);
  Counts counts = counts_;
  counts.kept = entries_.size();
  return counts;
}

std::shared_ptr<const Constraint> ConstraintCache::make(const Model& model, const Json& form) {
  const bool calls = form.begin().key() == calls_key;
  const GrammarPtr grammar = grammar_of_form(form);
  std::shared_ptr<const TokenTrie> trie;
  {
    const std::lock_guard lock(mutex_);
    for (const Entry& entry : entries_)
      if (!trie && entry.model == model.fingerprint() && entry.calls == calls && is_made(entry.made))
        trie = entry.made.get()->trie();
  }
  const std::vector<TokenId>& ends = model.end_tokens();
  if (!trie && calls)
    trie = std::make_shared<const TokenTrie>(model.tokenizer(), ends, tokens_of_text(model.tokenizer()));
  return std::make_shared<const Constraint>(grammar, model.tokenizer(), ends, std::move(trie));
}

std::shared_ptr<const Constraint> ConstraintCache::operator()(const Model& model, const Json& form) {
  std::string text = to_json_line(form);
  std::promise<std::shared_ptr<const Constraint>> promise;
  std::list<Entry>::iterator mine;
  {
    std::unique_lock lock(mutex_);
    const auto known = std::ranges::find_if(
        entries_, [&](const Entry& entry) { return entry.form == text && entry.model == model.fingerprint(); });
    if (known != entries_.end()) {
      ++counts_.reused;
      entries_.splice(entries_.begin(), entries_, known);
      const Made made = known->made;
      drop_old();  // masks have grown since
      lock.unlock();
      return made.get();
    }
    ++counts_.compiled;
    const bool calls = form.begin().key() == calls_key;
    entries_.push_front({model.fingerprint(), std::move(text), calls, promise.get_future().share()});
    mine = entries_.begin();  // nobody drops what is not made
  }
  try {
    auto made = make(model, form);
    promise.set_value(made);
    const std::lock_guard lock(mutex_);
    drop_old();
    return made;
  } catch (...) {
    {
      const std::lock_guard lock(mutex_);
      entries_.erase(mine);  // a wrong form is compiled again: it is refused quickly
    }
    promise.set_exception(std::current_exception());
    throw;
  }
}

void ConstraintCache::drop_old() {
  std::size_t bytes = 0, count = 0;
  for (auto at = entries_.begin(); at != entries_.end();) {
    if (!is_made(at->made)) {
      ++at;
      continue;
    }
    bytes += at->form.size() + at->made.get()->masks().held_bytes();
    const bool over = count > 0 && (bytes > limits_.bytes || count >= limits_.forms);
    ++count;
    at = over ? entries_.erase(at) : std::next(at);
  }
}

}  // namespace tap
