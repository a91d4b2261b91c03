#include "codec/exif.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

namespace tap {

namespace {

class TiffReader {
 public:
  TiffReader(std::span<const std::byte> bytes, bool big_endian) : bytes_(bytes), big_endian_(big_endian) {}
  bool has(std::uint64_t at, std::uint64_t count) const { return at <= bytes_.size() && count <= bytes_.size() - at; }
  std::uint32_t u16(std::uint64_t at) const { return number(at, 2); }
  std::uint32_t u32(std::uint64_t at) const { return number(at, 4); }

 private:
  std::uint32_t number(std::uint64_t at, unsigned size) const {
    std::uint32_t value = 0;
    for (unsigned i = 0; i < size; ++i)
      value = value << 8 | std::to_integer<std::uint32_t>(bytes_[at + (big_endian_ ? i : size - 1 - i)]);
    return value;
  }
  std::span<const std::byte> bytes_;
  bool big_endian_;
};

constexpr std::uint32_t orientation_tag = 0x0112, type_short = 3, type_long = 4;

}  // namespace

int exif_orientation(std::span<const std::byte> tiff) {
  if (tiff.size() < 8) return 1;
  const bool big_endian = std::memcmp(tiff.data(), "MM", 2) == 0;
  if (!big_endian && std::memcmp(tiff.data(), "II", 2) != 0) return 1;
  const TiffReader in(tiff, big_endian);
  if (in.u16(2) != 42) return 1;
  const std::uint64_t directory = in.u32(4);
  if (!in.has(directory, 2)) return 1;
  const std::uint32_t entries = in.u16(directory);
  for (std::uint64_t i = 0; i < entries; ++i) {
    const std::uint64_t at = directory + 2 + i * 12;
    if (!in.has(at, 12)) return 1;
    if (in.u16(at) != orientation_tag) continue;
    const std::uint32_t type = in.u16(at + 2);
    if (in.u32(at + 4) != 1 || (type != type_short && type != type_long)) return 1;
    const std::uint32_t value = type == type_short ? in.u16(at + 8) : in.u32(at + 8);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

namespace {

// Rows become columns with nothing beside the picture but a bit for each pixel: the cycles of the permutation are
// followed one after the other.
void transpose_in_place(Image* image) {
  const Dim width = image->width, height = image->height, count = width * height;
  std::vector<bool> is_moved(static_cast<std::size_t>(count));
  for (Dim start = 0; start < count; ++start) {
    if (is_moved[static_cast<std::size_t>(start)]) continue;
    std::array<std::uint8_t, 3> carried;
    std::memcpy(carried.data(), &image->pixels[static_cast<std::size_t>(start) * 3], 3);
    Dim at = start;
    do {
      at = at % width * height + at / width;
      std::swap_ranges(carried.begin(), carried.end(), &image->pixels[static_cast<std::size_t>(at) * 3]);
      is_moved[static_cast<std::size_t>(at)] = true;
    } while (at != start);
  }
  std::swap(image->width, image->height);
}

void mirror_in_place(Image* image, bool flip_x, bool flip_y) {
  for (Dim y = 0; flip_x && y < image->height; ++y)
    for (Dim left = 0, right = image->width - 1; left < right; ++left, --right)
      std::swap_ranges(image->row(y) + left * 3, image->row(y) + left * 3 + 3, image->row(y) + right * 3);
  for (Dim top = 0, bottom = image->height - 1; flip_y && top < bottom; ++top, --bottom)
    std::swap_ranges(image->row(top), image->row(top) + image->width * 3, image->row(bottom));
}

}  // namespace

Image apply_orientation(Image image, int orientation, std::size_t copied_bytes) {
  if (orientation <= 1 || orientation > 8) return image;
  // The stored picture is first transposed (5 to 8), then mirrored.
  const bool transposed = orientation >= 5;
  const bool flip_x = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  const bool flip_y = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  if (image.pixels.size() > copied_bytes) {
    if (transposed) transpose_in_place(&image);
    mirror_in_place(&image, flip_x, flip_y);
    return image;
  }
  Image out(transposed ? image.height : image.width, transposed ? image.width : image.height);
  const Dim step_x = transposed ? image.width * 3 : 3, step_y = transposed ? 3 : image.width * 3;
  for (Dim y = 0; y < out.height; ++y) {
    const Dim from_y = flip_y ? out.height - 1 - y : y;
    const Dim step = flip_x ? -step_x : step_x;
    const std::uint8_t* from = image.pixels.data() + from_y * step_y + (flip_x ? (out.width - 1) * step_x : 0);
    std::uint8_t* to = out.row(y);
    for (Dim x = 0; x < out.width; ++x, from += step, to += 3) std::memcpy(to, from, 3);
  }
  return out;
}

}  // namespace tap
