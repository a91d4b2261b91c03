#include "text/tokenizer_vocab.h"

#include <algorithm>
#include <cstring>
#include <random>

namespace tap {

namespace {

std::uint64_t seed() {
  static const std::uint64_t value = [] {
    std::random_device device;
    return (std::uint64_t{device()} << 32) | device();
  }();
  return value;
}

const std::uint64_t kSeed = seed();

}  // namespace

// Multiply and fold, as in Wang Yi's wyhash.
std::uint64_t hash_word(std::uint64_t value) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(value ^ kSeed) * 0x9E3779B97F4A7C15u;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t hash_bytes(std::string_view bytes) {
  std::uint64_t state = bytes.size();
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + at, 8);
    state = hash_word(state ^ word);
  }
  std::uint64_t tail = 0;
  std::memcpy(&tail, bytes.data() + at, bytes.size() - at);
  return hash_word(hash_word(state ^ tail) + 0x2545F4914F6CDD1Du);
}

void Vocab::reserve(std::size_t tokens) {
  places_.reserve(tokens);
  arena_.reserve(tokens * 8);
  std::size_t slots = 16;
  while (slots < tokens * 2) slots *= 2;
  if (slots > slots_.size()) grow(slots);
}

void Vocab::grow(std::size_t slots) {
  slots_.assign(slots, Slot{});
  for (std::size_t id = 0; id < places_.size(); ++id) {
    if (!places_[id].used) continue;
    const std::uint64_t hash = hash_bytes(text(static_cast<TokenId>(id)));
    std::size_t at = hash & (slots - 1);
    while (slots_[at].id >= 0) at = (at + 1) & (slots - 1);
    slots_[at] = {static_cast<std::uint32_t>(hash >> 32), static_cast<TokenId>(id)};
  }
}

Vocab::Added Vocab::add(std::string_view word, TokenId id) {
  const auto index = static_cast<std::size_t>(id);
  if (has(id)) return Added::id_taken;
  if ((count_ + 1) * 2 > slots_.size()) grow(slots_.empty() ? 16 : slots_.size() * 2);
  const std::uint64_t hash = hash_bytes(word);
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  std::size_t at = hash & (slots_.size() - 1);
  for (; slots_[at].id >= 0; at = (at + 1) & (slots_.size() - 1))
    if (slots_[at].tag == tag && text(slots_[at].id) == word) return Added::text_taken;
  slots_[at] = {tag, id};
  if (index >= places_.size()) places_.resize(index + 1);
  places_[index].offset = static_cast<std::uint32_t>(arena_.size());
  places_[index].length = static_cast<std::uint32_t>(word.size()) & 0x7FFFFFFFu;
  places_[index].used = 1;
  arena_.append(word);
  longest_ = std::max(longest_, word.size());
  ++count_;
  return Added::done;
}

TokenId Vocab::find(std::string_view word) const {
  if (slots_.empty() || word.size() > longest_) return -1;
  const std::uint64_t hash = hash_bytes(word);
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  for (std::size_t at = hash & (slots_.size() - 1); slots_[at].id >= 0; at = (at + 1) & (slots_.size() - 1))
    if (slots_[at].tag == tag && text(slots_[at].id) == word) return slots_[at].id;
  return -1;
}

std::string_view Vocab::text(TokenId id) const {
  if (!has(id)) return {};
  const Place& place = places_[static_cast<std::size_t>(id)];
  return std::string_view(arena_).substr(place.offset, place.length);
}

}  // namespace tap
