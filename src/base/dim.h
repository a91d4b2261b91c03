// Sizes and checked arithmetic for numbers that come from files.
#pragma once

#include <cstdint>
#include <optional>

namespace tap {

using Dim = std::int64_t;  // an element count or index; 64-bit so that no product of two sizes wraps unnoticed

inline std::optional<Dim> checked_mul(Dim a, Dim b) {
  Dim r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}

inline std::optional<Dim> checked_add(Dim a, Dim b) {
  Dim r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}

inline Dim ceil_div(Dim a, Dim b) { return (a + b - 1) / b; }
inline Dim round_up(Dim a, Dim b) { return ceil_div(a, b) * b; }

}  // namespace tap
