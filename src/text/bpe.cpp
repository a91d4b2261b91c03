#include "text/bpe.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "text/tokenizer_unicode.h"

namespace tap {

namespace {

constexpr std::uint32_t kNoRank = ~std::uint32_t{0};
constexpr std::size_t kShortWord = 24;  // symbols; below this a scan for the best pair beats a heap

std::uint64_t pair_key(TokenId left, TokenId right) {
  return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) | static_cast<std::uint32_t>(right);
}

}  // namespace

bool WordCache::find(std::string_view word, std::vector<TokenId>& out, Slot*& slot) {
  slot = nullptr;
  if (!enabled_ || word.size() > sizeof(Slot::key) || word.empty()) return false;
  if (slots_.empty()) slots_.resize(kSlots);
  slot = &slots_[hash_bytes(word) & (kSlots - 1)];
  if (slot->key_bytes != word.size() || std::memcmp(slot->key.data(), word.data(), word.size()) != 0) return false;
  out.insert(out.end(), slot->ids.begin(), slot->ids.begin() + slot->count);
  return true;
}

void WordCache::store(Slot& slot, std::string_view word, const TokenId* ids, std::size_t count) {
  if (count > slot.ids.size()) return;
  std::memcpy(slot.key.data(), word.data(), word.size());
  slot.key_bytes = static_cast<std::uint8_t>(word.size());
  slot.count = static_cast<std::uint8_t>(count);
  std::copy(ids, ids + count, slot.ids.begin());
}

int byte_of_fallback_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
  };
  const int high = digit(token[3]), low = digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

void Bpe::add_merge(TokenId left, TokenId right, std::uint32_t rank, TokenId merged) {
  merges_.insert(pair_key(left, right), {}) = {rank, merged};
}

void Bpe::prepare() {
  all_bytes_ = true;
  for (unsigned byte = 0; byte < 256; ++byte) {
    std::string text;
    if (by_rank) text = std::string(1, static_cast<char>(static_cast<unsigned char>(byte)));
    else if (byte_level) uni::append(text, uni::char_of_byte(static_cast<unsigned char>(byte)));
    else text = fmt::format("<0x{:02X}>", byte);
    byte_ids_[byte] = vocab.find(text);
    all_bytes_ = all_bytes_ && byte_ids_[byte] >= 0;
  }
  for (unsigned c = 0; c < 128; ++c) ascii_ids_[c] = vocab.find(std::string(1, static_cast<char>(c)));
}

void Bpe::first_symbols(std::string_view word, bool guarded, std::vector<Symbol>& symbols) const {
  if (by_rank || (byte_level && all_bytes_ && continuing_prefix.empty() && end_suffix.empty())) {
    for (std::uint32_t i = 0; i < word.size(); ++i)
      symbols.push_back({byte_ids_[static_cast<unsigned char>(word[i])], i, i + 1});
  } else if (byte_level) {
    std::string mapped;
    uni::map_bytes(word, mapped);
    character_symbols(mapped, guarded, symbols);
  } else {
    character_symbols(word, guarded, symbols);
  }
}

// One symbol per character, as the reference's merge_word: bytes or the unknown token where a character has none.
void Bpe::character_symbols(std::string_view word, bool guarded, std::vector<Symbol>& symbols) const {
  const bool plain = continuing_prefix.empty() && end_suffix.empty();
  bool pending = false;  // an unknown token not yet written, so that the next may fuse with it
  std::string spelled;
  for (std::size_t at = 0; at < word.size();) {
    const unsigned length = uni::decode(word, at).length;
    std::string_view character = word.substr(at, length);
    TokenId id;
    if (plain && length == 1) {
      id = ascii_ids_[static_cast<unsigned char>(character[0])];
    } else {
      if (!plain) {
        spelled = at > 0 ? continuing_prefix : std::string();
        spelled += character;
        if (at + length == word.size()) spelled += end_suffix;
        character = spelled;
      }
      id = vocab.find(character);
    }
    at += length;
    if (id >= 0 && guarded && is_blocked(id)) id = -1;
    if (id >= 0) {
      if (pending) symbols.push_back({unknown, 0, 0});
      pending = false;
      symbols.push_back({id, 0, 0});
      continue;
    }
    if (byte_fallback && !byte_level && std::all_of(character.begin(), character.end(), [&](char c) {
          return byte_ids_[static_cast<unsigned char>(c)] >= 0;
        })) {
      for (const char c : character) symbols.push_back({byte_ids_[static_cast<unsigned char>(c)], 0, 0});
      continue;
    }
    if (unknown < 0) continue;
    if (pending && !fuse_unknown) symbols.push_back({unknown, 0, 0});
    pending = true;
  }
  if (pending) symbols.push_back({unknown, 0, 0});
}

Bpe::Merge Bpe::merge_of(std::string_view word, const Symbol& left, const Symbol& right, bool guarded) const {
  if (by_rank) {
    const TokenId id = vocab.find(word.substr(left.begin, right.end - left.begin));
    return {id < 0 ? kNoRank : static_cast<std::uint32_t>(id), id};
  }
  const Merge* merge = merges_.find(pair_key(left.id, right.id));
  if (!merge || (guarded && is_blocked(merge->id))) return {kNoRank, -1};
  return *merge;
}

void Bpe::merge_short(std::string_view word, bool guarded, std::vector<Symbol>& symbols, BpeStats& stats) const {
  std::array<Merge, kShortWord> best;
  std::size_t count = symbols.size();
  for (std::size_t i = 0; i + 1 < count; ++i) best[i] = merge_of(word, symbols[i], symbols[i + 1], guarded);
  while (count > 1) {
    std::size_t at = 0;
    for (std::size_t i = 1; i + 1 < count; ++i)
      if (best[i].rank < best[at].rank) at = i;
    stats.steps += count;
    if (best[at].rank == kNoRank) break;
    symbols[at] = {best[at].id, symbols[at].begin, symbols[at + 1].end};
    for (std::size_t i = at + 1; i + 1 < count; ++i) {
      symbols[i] = symbols[i + 1];
      best[i] = best[i + 1];
    }
    --count;
    if (at + 1 < count) best[at] = merge_of(word, symbols[at], symbols[at + 1], guarded);
    if (at > 0) best[at - 1] = merge_of(word, symbols[at - 1], symbols[at], guarded);
  }
  symbols.resize(count);
}

void Bpe::merge_long(std::string_view word, bool guarded, std::vector<Symbol>& symbols, BpeStats& stats) const {
  struct Entry {
    std::uint32_t rank, at;
    TokenId left, right, merged;
  };
  const auto later = [](const Entry& a, const Entry& b) { return a.rank != b.rank ? a.rank > b.rank : a.at > b.at; };
  constexpr std::uint32_t kEnd = ~std::uint32_t{0};
  const auto count = static_cast<std::uint32_t>(symbols.size());
  std::vector<std::uint32_t> next(count), previous(count);
  std::vector<Entry> heap;
  heap.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    next[i] = i + 1 < count ? i + 1 : kEnd;
    previous[i] = i > 0 ? i - 1 : kEnd;
  }
  const auto entry_at = [&](std::uint32_t at, Entry& entry) {
    const Symbol &left = symbols[at], &right = symbols[next[at]];
    const Merge merge = merge_of(word, left, right, guarded);
    ++stats.steps;
    entry = {merge.rank, at, left.id, right.id, merge.id};
    return merge.rank != kNoRank;
  };
  Entry entry{};
  for (std::uint32_t i = 0; i + 1 < count; ++i)
    if (entry_at(i, entry)) heap.push_back(entry);
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Entry top = heap.back();
    heap.pop_back();
    ++stats.steps;
    const std::uint32_t at = top.at;
    if (symbols[at].id != top.left || next[at] == kEnd || symbols[next[at]].id != top.right) continue;  // out of date
    const std::uint32_t gone = next[at];
    symbols[at] = {top.merged, symbols[at].begin, symbols[gone].end};
    symbols[gone].id = -1;
    next[at] = next[gone];
    if (next[at] != kEnd) previous[next[at]] = at;
    for (const std::uint32_t pair : {previous[at], next[at] == kEnd ? kEnd : at}) {
      if (pair == kEnd || !entry_at(pair, entry)) continue;
      heap.push_back(entry);
      std::push_heap(heap.begin(), heap.end(), later);
    }
  }
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i != kEnd; i = next[i]) symbols[kept++] = symbols[i];
  symbols.resize(kept);
}

void Bpe::encode(std::string_view word, bool guarded, std::vector<TokenId>& out, WordCache& cache,
                 BpeStats& stats) const {
  if (word.empty()) return;
  WordCache::Slot* slot = nullptr;
  if (cache.find(word, out, slot)) return;
  const std::size_t before = out.size();
  guarded = guarded && !blocked.empty();
  TokenId whole = -1;
  if (by_rank) {
    whole = vocab.find(word);
  } else if (ignore_merges && byte_level) {
    if (word.size() <= vocab.longest()) {
      std::string mapped;
      uni::map_bytes(word, mapped);
      whole = vocab.find(mapped);
    }
  } else if (ignore_merges) {
    whole = vocab.find(word);
  }
  if (whole >= 0 && !(guarded && is_blocked(whole))) {
    out.push_back(whole);
  } else {
    thread_local std::vector<Symbol> symbols;
    symbols.clear();
    first_symbols(word, guarded, symbols);
    if (symbols.size() <= kShortWord) merge_short(word, guarded, symbols, stats);
    else merge_long(word, guarded, symbols, stats);
    for (const Symbol& symbol : symbols) out.push_back(symbol.id);
    if (symbols.capacity() > (1 << 16))
      std::vector<Symbol>().swap(symbols);  // one long word must not hold memory for ever
  }
  if (slot) WordCache::store(*slot, word, out.data() + before, out.size() - before);
}

}  // namespace tap
