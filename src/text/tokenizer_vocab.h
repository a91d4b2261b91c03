// Flat tables of a tokenizer: token texts by id and by text, and a byte trie for longest matches.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace tap {

// Ids above this are refused: the largest published vocabularies have under 300 000 entries, and tables are sized by
// the highest id.
inline constexpr TokenId kMaxTokenId = (TokenId{1} << 22) - 1;

std::uint64_t hash_bytes(std::string_view bytes);  // seeded once per process, so that a file cannot aim at one bucket
std::uint64_t hash_word(std::uint64_t value);

class Vocab {
 public:
  enum class Added { done, text_taken, id_taken };
  void reserve(std::size_t tokens);
  Added add(std::string_view text, TokenId id);  // id in [0, kMaxTokenId]
  TokenId find(std::string_view text) const;     // -1: none
  bool has(TokenId id) const {
    return id >= 0 && static_cast<std::size_t>(id) < places_.size() && places_[static_cast<std::size_t>(id)].used;
  }
  std::string_view text(TokenId id) const;                                // "" when absent
  TokenId limit() const { return static_cast<TokenId>(places_.size()); }  // highest id + 1
  std::size_t count() const { return count_; }
  std::size_t text_bytes() const { return arena_.size(); }
  std::size_t longest() const { return longest_; }  // bytes

 private:
  struct Place {
    std::uint32_t offset = 0, length : 31 = 0, used : 1 = 0;
  };
  struct Slot {
    std::uint32_t tag = 0;
    TokenId id = -1;
  };
  void grow(std::size_t slots);
  std::string arena_;
  std::vector<Place> places_;
  std::vector<Slot> slots_;
  std::size_t count_ = 0, longest_ = 0;
};

// 64-bit keys to values; open addressing. The key ~0 is reserved.
template <class Value>
class FlatMap {
 public:
  void reserve(std::size_t entries) {
    std::size_t slots = 16;
    while (slots < entries * 2) slots *= 2;
    if (slots > slots_.size()) rehash(slots);
  }
  Value& insert(std::uint64_t key, const Value& value) {  // an existing key keeps its value
    if (slots_.size() < (count_ + 1) * 2) rehash(slots_.empty() ? 16 : slots_.size() * 2);
    Slot& slot = slots_[place(key)];
    if (slot.key == kEmpty) {
      slot = {key, value};
      ++count_;
    }
    return slot.value;
  }
  const Value* find(std::uint64_t key) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[place(key)];
    return slot.key == kEmpty ? nullptr : &slot.value;
  }

 private:
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  struct Slot {
    std::uint64_t key = kEmpty;
    Value value{};
  };
  std::size_t place(std::uint64_t key) const {
    std::size_t at = hash_word(key) & (slots_.size() - 1);
    while (slots_[at].key != key && slots_[at].key != kEmpty) at = (at + 1) & (slots_.size() - 1);
    return at;
  }
  void rehash(std::size_t slots) {
    std::vector<Slot> old(slots);
    old.swap(slots_);
    for (const Slot& slot : old)
      if (slot.key != kEmpty) slots_[place(slot.key)] = slot;
  }
  std::vector<Slot> slots_;
  std::size_t count_ = 0;
};

class ByteTrie {
 public:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  void add(std::string_view text, TokenId value) {
    std::uint32_t node = 0;
    for (const char c : text) {
      const std::uint32_t fresh = static_cast<std::uint32_t>(values_.size());
      const std::uint32_t next = next_.insert(key(node, c), fresh);
      if (next == fresh) values_.push_back(-1);
      node = next;
    }
    if (!text.empty()) first_[static_cast<unsigned char>(text[0])] = true;
    values_[node] = value;
  }
  bool empty() const { return values_.size() == 1; }
  bool starts_with(char c) const { return first_[static_cast<unsigned char>(c)]; }
  std::uint32_t step(std::uint32_t node, char c) const {
    const std::uint32_t* next = next_.find(key(node, c));
    return next ? *next : kNone;
  }
  TokenId value(std::uint32_t node) const { return values_[node]; }  // -1: no text ends here

 private:
  static std::uint64_t key(std::uint32_t node, char c) {
    return (std::uint64_t{node} << 8) | static_cast<unsigned char>(c);
  }
  FlatMap<std::uint32_t> next_;
  std::vector<TokenId> values_{-1};
  std::vector<bool> first_ = std::vector<bool>(256, false);
};

}  // namespace tap
