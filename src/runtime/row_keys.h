// What the rows of a prompt were made of: rows whose keys are equal, behind equal beginnings, have equal keys and values
// in a cache, so that they need not be computed again.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/feature_cache.h"
#include "runtime/model.h"

namespace tap {

// A token, or a row of a picture: half of its key's SHA-256 tells pictures apart.
struct RowKey {
  TokenId id = 0;
  std::int32_t row = -1;  // within the picture; -1: a token
  std::array<std::uint64_t, 2> picture = {};
  bool operator==(const RowKey&) const = default;
};

// `pictures`: one key a medium of the prompt.
std::vector<RowKey> row_keys(const Prompt& prompt, std::span<const PictureKey> pictures);

// How many rows of `prompt` a cache that holds `cached` need not compute: equal ones at the beginning, but the last,
// whose logits are wanted, and no part of an atomic span.
Dim reusable_rows(const Prompt& prompt, std::span<const RowKey> rows, std::span<const RowKey> cached);

}  // namespace tap
