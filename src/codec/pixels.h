// What decoders share: laying pixels over a colour as Pillow does, and little-endian fields. Inside codec only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace tap::codec {

using Background = std::optional<std::array<std::uint8_t, 3>>;

// Pillow's BLEND with its rounding division by 255 (Paste.c, ImagingUtils.h).
inline std::uint8_t blend(unsigned alpha, unsigned under, unsigned over) {
  const unsigned t = under * (255 - alpha) + over * alpha + 128;
  return static_cast<std::uint8_t>(((t >> 8) + t) >> 8);
}

// One pixel over the background; without a background its RGB as stored.
inline void put_pixel(const std::uint8_t* rgb, unsigned alpha, const Background& background, std::uint8_t* out) {
  for (std::size_t c = 0; c < 3; ++c) out[c] = background ? blend(alpha, (*background)[c], rgb[c]) : rgb[c];
}

// `rgba` and `rgb` may be the same buffer: a pixel is written after it was read, at or before its place.
inline void lay_rgba(const std::uint8_t* rgba, std::size_t pixels, const Background& background, std::uint8_t* rgb) {
  for (std::size_t i = 0; i < pixels; ++i, rgba += 4, rgb += 3) {
    const std::array<std::uint8_t, 4> pixel{rgba[0], rgba[1], rgba[2], rgba[3]};
    put_pixel(pixel.data(), pixel[3], background, rgb);
  }
}

// CMYK as TIFF stores it (0 is no ink) with Pillow's cmyk2rgb (Convert.c).
inline std::uint8_t channel_of_cmyk(unsigned ink, unsigned black) {
  const unsigned light = 255 - black;
  const unsigned t = ink * light + 128;
  return static_cast<std::uint8_t>(light - (((t >> 8) + t) >> 8));
}

inline std::uint32_t little(std::span<const std::byte> bytes, std::size_t at, std::size_t size) {
  std::uint32_t value = 0;
  for (std::size_t i = size; i > 0; --i) value = value << 8 | std::to_integer<std::uint32_t>(bytes[at + i - 1]);
  return value;
}
inline std::uint32_t little16(std::span<const std::byte> bytes, std::size_t at) { return little(bytes, at, 2); }
inline std::uint32_t little32(std::span<const std::byte> bytes, std::size_t at) { return little(bytes, at, 4); }

}  // namespace tap::codec
