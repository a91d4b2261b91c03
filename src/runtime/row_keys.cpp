#include "runtime/row_keys.h"

#include <algorithm>
#include <cstring>

namespace tap {

std::vector<RowKey> row_keys(const Prompt& prompt, std::span<const PictureKey> pictures) {
  std::vector<RowKey> rows;
  rows.reserve(prompt.ids.size());
  for (const TokenId id : prompt.ids) rows.push_back({.id = id});
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    const PictureSlots& slots = prompt.pictures[i];
    for (Dim row = 0; row < slots.count; ++row) {
      RowKey& key = rows[static_cast<std::size_t>(prompt.slots[static_cast<std::size_t>(slots.begin + row)])];
      key.row = static_cast<std::int32_t>(row);
      std::memcpy(key.picture.data(), pictures[i].data(), sizeof key.picture);
    }
  }
  return rows;
}

Dim reusable_rows(const Prompt& prompt, std::span<const RowKey> rows, std::span<const RowKey> cached) {
  const auto most = static_cast<std::ptrdiff_t>(std::min(cached.size(), rows.size() - 1));
  Dim reused = std::mismatch(rows.begin(), rows.begin() + most, cached.begin()).first - rows.begin();
  for (const Span& span : prompt.atomic)
    if (span.begin < reused && reused < span.end) reused = span.begin;
  return reused;
}

}  // namespace tap
