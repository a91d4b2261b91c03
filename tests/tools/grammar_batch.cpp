// Answers under constraints from random logits, for tools/check_grammars.py: one JSON request per line of stdin, one
// JSON result per line of stdout.
// Request {tokenizer, schema | regex | choices, seed, max_tokens}: result {text, finish, tokens} or {error, code}.
// Request {schema | regex | choices, texts}: result {accepts: [true, …]} or {error, code}.
#include <cmath>
#include <iostream>
#include <map>
#include <string>

#include "runtime/constraint.h"
#include "runtime/sampler.h"

namespace {

struct Vocabulary {
  tap::Tokenizer tokenizer;
  tap::TokenId end;
  std::shared_ptr<const tap::TokenTrie> trie;
};

const Vocabulary& vocabulary(const std::string& folder) {
  static std::map<std::string, Vocabulary> loaded;
  if (const auto at = loaded.find(folder); at != loaded.end()) return at->second;
  tap::Tokenizer tokenizer = tap::Tokenizer::load(folder).value();
  tap::TokenId end = 0;
  while (end < tokenizer.size() && !tokenizer.is_special(end)) ++end;
  auto trie = std::make_shared<const tap::TokenTrie>(tokenizer, std::span(&end, 1));
  return loaded.emplace(folder, Vocabulary{tokenizer, end, trie}).first->second;
}

tap::GrammarPtr grammar(const tap::Json& request) {
  if (request.contains("schema")) return tap::Grammar::from_schema(request["schema"].dump(), "schema").value();
  if (request.contains("regex")) return tap::Grammar::from_regex(request["regex"].get<std::string>()).value();
  return tap::Grammar::from_choices(request["choices"].get<std::vector<std::string>>()).value();
}

tap::Json generate(const tap::Json& request) {
  const Vocabulary& vocab = vocabulary(request["tokenizer"].get<std::string>());
  const auto shared = std::make_shared<const tap::Constraint>(grammar(request), vocab.tokenizer,
                                                              std::vector<tap::TokenId>{vocab.end}, vocab.trie);
  tap::TokenConstraint constraint(shared);
  const auto seed = request["seed"].get<std::uint64_t>();
  tap::SamplingOptions options;
  options.temperature = seed % 2 == 0 ? 0.0f : 1.0f;
  options.seed = seed;
  tap::Sampler sampler(options, {});
  tap::Rng noise(seed, 1), draw(seed, 2);
  const auto size = static_cast<std::size_t>(vocab.tokenizer.size());
  std::vector<bool> closes(size);
  for (std::size_t id = 0; id < size; ++id) {
    const std::string bytes = vocab.tokenizer.bytes_of(static_cast<tap::TokenId>(id));
    closes[id] = bytes.starts_with('"') || bytes.starts_with('}') || bytes.starts_with(']');
  }
  std::vector<float> logits(size);
  std::string text;
  const auto most = request["max_tokens"].get<std::int64_t>();
  for (std::int64_t step = 0; step < most; ++step) {
    // The longer the answer, the likelier what closes a string, an object or an array, so that most answers end.
    const float pull = static_cast<float>(step) * 0.05f;
    for (std::size_t id = 0; id < size; ++id)
      logits[id] = static_cast<float>(noise.uniform() * 8) +
                   (closes[id] || static_cast<tap::TokenId>(id) == vocab.end ? pull : 0);
    const tap::TokenId id = sampler(logits, draw, constraint.allowed()).id;
    if (id == vocab.end) return {{"text", text}, {"finish", "stop"}, {"tokens", step + 1}};
    text += constraint.accept(id);
    if (constraint.must_end()) return {{"text", text}, {"finish", "stop"}, {"tokens", step + 1}};
  }
  return {{"text", text}, {"finish", "length"}, {"tokens", most}};
}

tap::Json accepts(const tap::Json& request) {
  const tap::GrammarPtr made = grammar(request);
  tap::Json list = tap::Json::array();
  for (const tap::Json& text : request["texts"]) {
    tap::GrammarState state(made);
    list.push_back(state.advance(text.get<std::string>()) && state.can_end());
  }
  return {{"accepts", list}};
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    tap::Json result;
    try {
      const tap::Json request = tap::parse_json(line, "request").value();
      result = request.contains("texts") ? accepts(request) : generate(request);
    } catch (const tap::Error& error) {
      result = {{"error", error.message()}, {"code", tap::name(error.code())}};
    }
    std::cout << tap::to_json_line(result) << '\n' << std::flush;
  }
  return 0;
}
