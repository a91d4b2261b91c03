// Exact widening of 16-bit floats, in blocks that the compiler turns into vector code; checkpoints hold gigabytes of
// them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tap {

// `value` bits of bfloat16.
inline float widen_bf16(std::uint16_t value) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(value) << 16);
}

// `value` bits of IEEE half: the exponent is moved by a product with 2^112, which is exact for subnormals too; infinity
// and NaN would not move far enough, so their exponent is set.
inline float widen_f16(std::uint16_t value) {
  const std::uint32_t sign = static_cast<std::uint32_t>(value & 0x8000u) << 16, rest = value & 0x7fffu;
  const auto moved = __builtin_bit_cast(std::uint32_t, __builtin_bit_cast(float, rest << 13) * 0x1p112f);
  const std::uint32_t special = rest >= 0x7c00u ? 0x7f800000u : 0u;
  return __builtin_bit_cast(float, sign | moved | special);
}

template <float (*Widen)(std::uint16_t)>
void widen(const std::uint16_t* from, float* to, std::size_t count) {
  constexpr std::size_t block = 32;
  std::size_t i = 0;
  for (; i + block <= count; i += block)
    for (std::size_t j = 0; j < block; ++j) to[i + j] = Widen(from[i + j]);
  for (; i < count; ++i) to[i] = Widen(from[i]);
}

}  // namespace tap
