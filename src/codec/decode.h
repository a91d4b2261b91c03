// Bytes to pictures, told apart by their first bytes. All bytes are taken for hostile: the header is read
// and held against the limits before anything is allocated.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "codec/image.h"

namespace tap {

struct ImageLimits {
  Dim max_pixels = 80'000'000;
  Dim max_edge_px = 65'535;
  std::size_t max_file_bytes = std::size_t{256} << 20;
  std::size_t max_memory_bytes = std::size_t{256}
                                 << 20;  // the picture and what its decoder holds (progressive, interlaced)
  int max_scans = 100;                   // of a progressive JPEG; fewer for large pictures, see allowed_scans
  Dim max_work_pixels = 4'000'000'000;   // drawn on the way to a frame of an animation
};

struct DecodeOptions {
  // Transparent pixels are laid over this colour; nullopt drops the alpha channel and keeps the stored RGB.
  std::optional<std::array<std::uint8_t, 3>> background = std::array<std::uint8_t, 3>{255, 255, 255};
  Dim frame = 0;  // which picture of an animated or many-page file; what it is drawn over is drawn first
  ImageLimits limits;
};

enum class ImageFormat { png, jpeg, gif, webp, bmp, ppm, tiff, avif };

std::string_view name(ImageFormat format);  // "PNG"

struct ImageInfo {  // what the header says, before any pixel is decoded
  ImageFormat format = ImageFormat::png;
  Dim width = 0, height = 0;  // as stored
  int orientation = 1;        // EXIF 1..8; 1 also when it is absent or makes no sense
  Dim frames = 1;             // pictures in the file
  Dim upright_width() const { return orientation >= 5 ? height : width; }
  Dim upright_height() const { return orientation >= 5 ? width : height; }
};

// Reads the header only and checks it against the limits. `what` names the picture in errors.
Result<ImageInfo> probe_image(std::span<const std::byte> bytes, std::string_view what, const ImageLimits& limits = {});

// Decodes to RGB, upright. The pixels are those of Pillow 13 (open, seek, exif_transpose, alpha pasted on background),
// except that 16-bit grey keeps its high byte, where Pillow's convert("RGB") clips everything above 255 to white (and
// what docs/decisions/2026-11-pictures-like-pillow.md lists).
Result<Image> decode_image(std::span<const std::byte> bytes, std::string_view what, const DecodeOptions& options = {});

// The same from a file, or from stdin when path is "-".
Result<Image> load_image(const std::string& path, const DecodeOptions& options = {});

// Opens what the first AVIF and the first TIFF picture would open: for a process that may open nothing later. What is
// not installed stays unopened.
void open_late_libraries();

}  // namespace tap
