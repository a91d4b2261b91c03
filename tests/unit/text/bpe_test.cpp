#include "text/bpe.h"

#include <doctest/doctest.h>

#include "base/rng.h"
#include "text/tokenizer_impl.h"

namespace {

using tap::Bpe;
using tap::BpeStats;
using tap::TokenId;
using tap::WordCache;

// Letters a b c d and merges drawn at random among what is already there.
Bpe random_bpe(std::uint64_t seed, int merges, bool by_rank) {
  Bpe bpe;
  bpe.by_rank = by_rank;
  tap::Rng rng(seed);
  TokenId next = 0;
  if (by_rank)
    for (unsigned byte = 0; byte < 256; ++byte)
      bpe.vocab.add(std::string(1, static_cast<char>(static_cast<unsigned char>(byte))), next++);
  else
    for (const char* letter : {"a", "b", "c", "d"}) bpe.vocab.add(letter, next++);
  const TokenId first = by_rank ? 'a' : 0;
  std::vector<TokenId> known{first, first + 1, first + 2, first + 3};
  for (std::uint32_t rank = 0; rank < static_cast<std::uint32_t>(merges); ++rank) {
    const TokenId left = known[rng.next_u32() % known.size()], right = known[rng.next_u32() % known.size()];
    const std::string joined = std::string(bpe.vocab.text(left)) + std::string(bpe.vocab.text(right));
    if (joined.size() > 12) continue;
    TokenId merged = bpe.vocab.find(joined);
    if (merged < 0) {
      merged = next++;
      bpe.vocab.add(joined, merged);
      known.push_back(merged);
    }
    if (!by_rank) bpe.add_merge(left, right, rank, merged);
  }
  bpe.prepare();
  return bpe;
}

std::vector<TokenId> encode(const Bpe& bpe, std::string_view word, BpeStats& stats) {
  std::vector<TokenId> out;
  WordCache none(false);
  bpe.encode(word, false, out, none, stats);
  return out;
}

// What merging means, said plainly: again and again the lowest rank, leftmost.
std::vector<TokenId> plain_by_rank(const Bpe& bpe, std::string_view word) {
  std::vector<std::string> parts;
  for (const char c : word) parts.emplace_back(1, c);
  for (;;) {
    TokenId best = -1;
    std::size_t at = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i)
      if (const TokenId id = bpe.vocab.find(parts[i] + parts[i + 1]); id >= 0 && (best < 0 || id < best))
        best = id, at = i;
    if (best < 0) break;
    parts[at] += parts[at + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
  std::vector<TokenId> ids;
  for (const std::string& part : parts) ids.push_back(bpe.vocab.find(part));
  return ids;
}

std::string letters(tap::Rng& rng, std::size_t count) {
  std::string word;
  while (word.size() < count) word += static_cast<char>('a' + static_cast<char>(rng.next_u32() % 4));
  return word;
}

tap::Tokenizer doubling_tokenizer(std::string_view rest) {
  std::string vocab = "\"A\":0", merges, word = "A";
  for (int id = 1; id <= 8; ++id) {
    merges += fmt::format("{}[\"{}\",\"{}\"]", id > 1 ? "," : "", word, word);
    word += word;
    vocab += fmt::format(",\"{}\":{}", word, id);
  }
  return tap::Tokenizer::from_json(
             fmt::format(R"({{"model":{{"type":"BPE","vocab":{{{}}},"merges":[{}]}}{}}})", vocab, merges, rest), "t")
      .value();
}

}  // namespace

TEST_CASE("merging by rank equals the plain definition for short and long words") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Bpe bpe = random_bpe(seed, 60, true);
    tap::Rng rng(seed + 100);
    BpeStats stats;
    for (const std::size_t size : {1u, 2u, 5u, 23u, 24u, 25u, 26u, 60u, 200u}) {
      const std::string word = letters(rng, size);
      CHECK(encode(bpe, word, stats) == plain_by_rank(bpe, word));
    }
  }
}

TEST_CASE("the scan for short words and the heap for long ones merge alike") {
  // A long word of four-letter blocks between separators that never merge must encode as its blocks do.
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Bpe bpe = random_bpe(seed, 80, false);
    bpe.vocab.add("|", bpe.vocab.limit());
    bpe.prepare();
    tap::Rng rng(seed + 7);
    BpeStats stats;
    std::string joined;
    std::vector<TokenId> expected;
    for (int block = 0; block < 12; ++block) {
      const std::string word = letters(rng, 1 + rng.next_u32() % 20) + "|";
      joined += word;
      const auto ids = encode(bpe, word, stats);
      expected.insert(expected.end(), ids.begin(), ids.end());
    }
    CHECK(encode(bpe, joined, stats) == expected);
  }
}

TEST_CASE("merge steps grow as the text does at one and two megabytes of A") {
  const tap::Tokenizer tokenizers[] = {
      doubling_tokenizer(""),
      tap::Tokenizer::load(std::string(TAPETUM_SOURCE_DIR) + "/tests/data/tokenizers/smollm").value(),
      tap::Tokenizer::load(std::string(TAPETUM_SOURCE_DIR) + "/tests/data/tokenizers/kimi").value(),
      tap::Tokenizer::load(std::string(TAPETUM_SOURCE_DIR) + "/tests/data/tokenizers/gemma3").value(),
  };
  for (const tap::Tokenizer& tokenizer : tokenizers) {
    const auto steps = [&](std::size_t bytes) {
      const tap::TextSpan span{std::string(bytes, 'A'), false};
      std::vector<TokenId> ids;
      BpeStats stats;
      tokenizer.impl()->encode(tap::join_spans({&span, 1}), false, ids, stats);
      CHECK_FALSE(ids.empty());
      return static_cast<double>(stats.steps);
    };
    const double one = steps(1 << 20), two = steps(2 << 20);
    CHECK(one >= 0.99 * (1 << 20));  // each neighbouring pair of a word is looked at
    CHECK(one <= 6.0 * (1 << 20));
    CHECK(two / one <= 2.2);
  }
}

TEST_CASE("the word cache changes no ids") {
  const Bpe bpe = random_bpe(5, 60, false);
  tap::Rng rng(9);
  WordCache cache(true), none(false);
  BpeStats stats;
  for (int i = 0; i < 5000; ++i) {
    const std::string word = letters(rng, 1 + rng.next_u32() % 26);
    std::vector<TokenId> with, without;
    bpe.encode(word, false, with, cache, stats);
    bpe.encode(word, false, without, none, stats);
    REQUIRE(with == without);
  }
}

TEST_CASE("a byte token is exactly six characters with two hexadecimal digits") {
  CHECK(tap::byte_of_fallback_token("<0x41>") == 0x41);
  CHECK(tap::byte_of_fallback_token("<0xfF>") == 0xFF);
  for (const char* other : {"<0x-1>", "<0x+1>", "<0x4>", "<0x411>", "<0X41>", "<0x4g>", "<0x41", "0x41", ""})
    CHECK(tap::byte_of_fallback_token(other) == -1);
}
