// What attention kernels and their callers share.
#pragma once

#include <cstdint>

#include "base/dim.h"

namespace tap {

// Keys a query row may see: [begin, end), logical positions among the keys of its own sequence (0 = the sequence's
// first token ever, whether still cached or not).
struct Interval {
  std::int32_t begin, end;
  bool operator==(const Interval&) const = default;
};

// Consecutive rows of keys and values in memory.
struct KvRun {
  const void* keys;    // [rows, kv_heads, head_dim]
  const void* values;  // [rows, kv_heads, head_dim]
  Dim rows;
};

}  // namespace tap
