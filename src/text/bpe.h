// Byte pair encoding: merges the pair of lowest rank, leftmost first, until none is left. O(n log n) in the word's
// length.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_vocab.h"

namespace tap {

struct BpeStats {
  std::uint64_t steps = 0;  // pairs looked at, heap entries pushed and popped
};

// What words have encoded to, within one text: words repeat. Direct-mapped, words of at most 22 bytes and 9 tokens.
class WordCache {
 public:
  explicit WordCache(bool enabled) : enabled_(enabled) {}
  struct Slot {
    std::array<char, 22> key{};
    std::uint8_t key_bytes = 0, count = 0;
    std::array<TokenId, 9> ids{};
  };
  // Appends and returns true on a hit; `slot` is where a miss may be stored (null: not cacheable).
  bool find(std::string_view word, std::vector<TokenId>& out, Slot*& slot);
  static void store(Slot& slot, std::string_view word, const TokenId* ids, std::size_t count);

 private:
  static constexpr std::size_t kSlots = 1 << 13;
  bool enabled_;
  std::vector<Slot> slots_;  // made by the first find
};

class Bpe {
 public:
  Vocab vocab;
  std::string continuing_prefix, end_suffix;
  TokenId unknown = -1;  // -1: characters without a token are dropped, as the reference does
  bool fuse_unknown = false, byte_fallback = false, ignore_merges = false;
  bool byte_level = false;  // words are raw bytes, vocabulary entries their GPT-2 spelling
  bool by_rank =
      false;  // tiktoken: entries are raw bytes, and two parts merge when their joined bytes are an entry (rank = id)
  std::vector<bool> blocked;  // by id: entries that user text must not become; empty: none

  // The later of two equal merges counts.
  void add_merge(TokenId left, TokenId right, std::uint32_t rank, TokenId merged);
  void reserve_merges(std::size_t merges) { merges_.reserve(merges); }
  // After vocab and flags are set: single bytes and characters by table.
  void prepare();

  // `guarded`: blocked entries are not formed.
  void encode(std::string_view word, bool guarded, std::vector<TokenId>& out, WordCache& cache, BpeStats& stats) const;

 private:
  struct Merge {
    std::uint32_t rank = 0;
    TokenId id = -1;
  };
  struct Symbol {
    TokenId id;
    std::uint32_t begin, end;  // bytes of the word (by_rank)
  };
  bool is_blocked(TokenId id) const { return !blocked.empty() && blocked[static_cast<std::size_t>(id)]; }
  void first_symbols(std::string_view word, bool guarded, std::vector<Symbol>& symbols) const;
  void character_symbols(std::string_view word, bool guarded, std::vector<Symbol>& symbols) const;
  Merge merge_of(std::string_view word, const Symbol& left, const Symbol& right, bool guarded) const;
  void merge_short(std::string_view word, bool guarded, std::vector<Symbol>& symbols, BpeStats& stats) const;
  void merge_long(std::string_view word, bool guarded, std::vector<Symbol>& symbols, BpeStats& stats) const;

  FlatMap<Merge> merges_;
  std::array<TokenId, 256> byte_ids_{};   // of "<0xNN>", of a byte-level letter, or of a raw byte; -1: none
  std::array<TokenId, 128> ascii_ids_{};  // of a one-character entry
  bool all_bytes_ = false;
};

// The byte that a fallback token "<0xNN>" stands for; -1 when it is none.
int byte_of_fallback_token(std::string_view token);

}  // namespace tap
