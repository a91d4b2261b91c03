// How long the masks of constrained answers take: per step, over answers of random logits under typical schemas, and
// how long their compilation takes.
// Usage: grammar FOLDER... [--vocab N]   (folders with a tokenizer; N fills the vocabulary up with random words)
#include <algorithm>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "base/clock.h"
#include "base/file.h"
#include "runtime/constraint.h"
#include "runtime/sampler.h"

namespace {

struct Case {
  const char* name;
  const char* schema;
};
constexpr Case kCases[] = {
    {"any_json", "{}"},
    {"person",
     R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},"email":{"type":"string","format":"email"},"tags":{"type":"array","items":{"type":"string"}},"address":{"type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"}},"required":["street","city"]}},"required":["name","age","tags","address"]})"},
    {"short_texts",
     R"({"type":"array","items":{"type":"object","properties":{"title":{"type":"string","maxLength":80},"kind":{"enum":["a","b","c"]}},"required":["title","kind"]}})"},
    {"tree",
     R"({"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"value":{"anyOf":[{"type":"string"},{"type":"number"},{"type":"null"}]},"children":{"type":"array","items":{"$ref":"#/$defs/n"}}},"required":["value","children"]}}})"}};

// The tokenizer's own JSON with random lower-case words (with and without a space before) up to `vocab` tokens.
tap::Tokenizer filled(const std::string& folder, std::size_t vocab) {
  if (vocab == 0) return tap::Tokenizer::load(folder).value();
  const std::string file = folder + "/tokenizer.json";
  tap::Json json = tap::parse_json(tap::read_file(file, std::size_t{64} << 20).value(), file).value();
  tap::Json& words = json["model"]["vocab"];
  const bool metaspace = words.contains("\u2581");
  tap::Rng rng(7);
  auto next = static_cast<std::size_t>(tap::Tokenizer::load(folder).value().size());
  while (next < vocab) {
    std::string word;
    if (rng.next_u32() % 2) word = metaspace ? "\u2581" : "\u0120";
    const std::size_t length = 2 + rng.next_u32() % 9;
    for (std::size_t i = 0; i < length; ++i) word += static_cast<char>('a' + rng.next_u32() % 26);
    constexpr const char* marks[] = {"\"", "\",", "\":", ".", ", ", "\"}", "\n", "()", "_"};
    if (rng.next_u32() % 12 == 0) word += marks[rng.next_u32() % std::size(marks)];
    if (word.find(' ') == word.npos && word.find('\n') == word.npos && !words.contains(word)) words[word] = next++;
  }
  return tap::Tokenizer::from_json(json.dump(), file).value();
}

void measure(const std::string& folder, std::size_t vocab) {
  const tap::Tokenizer tokenizer = filled(folder, vocab);
  tap::TokenId end = 0;
  while (!tokenizer.is_special(end)) ++end;
  tap::Stopwatch watch;
  const auto trie = std::make_shared<const tap::TokenTrie>(tokenizer, std::span(&end, 1));
  fmt::print("{} tokens {} trie_ms {:.1f} nodes {}\n", folder, tokenizer.size(), watch.ms(), trie->nodes().size());
  std::vector<bool> closes(static_cast<std::size_t>(tokenizer.size()));
  for (std::size_t id = 0; id < closes.size(); ++id)
    closes[id] = tokenizer.bytes_of(static_cast<tap::TokenId>(id)).starts_with('"');
  for (const Case& one : kCases) {
    watch.lap_ms();
    const tap::GrammarPtr grammar = tap::Grammar::from_schema(one.schema, one.name).value();
    const double compile_ms = watch.lap_ms();
    const auto shared =
        std::make_shared<const tap::Constraint>(grammar, tokenizer, std::vector<tap::TokenId>{end}, trie);
    std::vector<double> first, later;  // microseconds of a mask: of the first answer, of the others
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      tap::TokenConstraint constraint(shared);
      tap::Sampler sampler({.temperature = 1, .seed = seed}, {});
      tap::Rng noise(seed, 1), draw(seed, 2);
      std::vector<float> logits(closes.size());
      for (int step = 0; step < 200; ++step) {
        for (std::size_t id = 0; id < logits.size(); ++id)
          logits[id] = static_cast<float>(noise.next_u32() >> 8) * 0x1p-21f + (closes[id] ? 6.0f : 0.0f);
        const tap::Stopwatch mask;
        const auto allowed = constraint.allowed();
        (seed == 0 ? first : later).push_back(mask.ms() * 1e3);
        const tap::TokenId id = sampler(logits, draw, allowed).id;
        if (id == end) break;
        constraint.accept(id);
        if (constraint.must_end()) break;
      }
    }
    const auto percentile = [](std::vector<double>& of, double p) {
      std::sort(of.begin(), of.end());
      return of.empty() ? 0 : of[static_cast<std::size_t>(p * static_cast<double>(of.size() - 1))];
    };
    fmt::print(
        "  {:12} compile_ms {:.2f} states {} masks {} p50_us {:.1f} p99_us {:.1f} max_us {:.0f}; first answer "
        "p50_us {:.1f} max_us {:.0f}\n",
        one.name, compile_ms, grammar->size(), later.size(), percentile(later, 0.5), percentile(later, 0.99),
        percentile(later, 1), percentile(first, 0.5), percentile(first, 1));
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    std::size_t vocab = 0;
    std::vector<std::string> folders;
    for (int i = 1; i < argc; ++i) {
      if (std::string_view(argv[i]) == "--vocab" && i + 1 < argc)
        vocab = std::stoul(argv[++i]);
      else
        folders.emplace_back(argv[i]);
    }
    if (folders.empty()) {
      fmt::print(stderr, "usage: grammar FOLDER... [--vocab N]\n");
      return 2;
    }
    for (const std::string& folder : folders) measure(folder, vocab);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "grammar: {}\n", error.what());
    return 1;
  }
}
