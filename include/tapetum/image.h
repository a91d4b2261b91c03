// Pictures: from a file, from bytes, from pixels.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tapetum/error.h>

namespace tap::api {  // the library's inside
struct Picture;
struct Access;
}  // namespace tap::api

namespace tap {
namespace v1 [[gnu::visibility("default")]] {

struct ImageOptions {
  // Transparent pixels are laid over this colour (red, green, blue); nullopt drops the alpha channel and keeps the
  // stored colours.
  std::optional<std::array<std::uint8_t, 3>> background = std::array<std::uint8_t, 3>{255, 255, 255};
  std::int64_t frame = 0;  // which picture of an animated or many-page file, counted from 0
};

// An upright 8-bit RGB picture that never changes: copying is cheap, and any number of threads may read one. At least
// 1x1 pixels. A moved-from Image may only be assigned to or destroyed.
class Image {
 public:
  // Reads a file; its first bytes tell the format, EXIF orientation is applied. Throws not_found or io for the file,
  // bad_file for what is no picture or a damaged one, bad_input for a frame it lacks, unsupported for a picture of a
  // kind that this build cannot read, limit beyond 80 million pixels or 65535 pixels an edge: checked before memory is
  // allocated.
  //   const tap::Image roof = tap::Image::load("roof.png");
  static Image load(const std::string& path, const ImageOptions& options = {});

  // The same from bytes in memory; `name` stands for the picture in errors. The bytes are not kept.
  //   const tap::Image photo = tap::Image::decode(std::as_bytes(std::span(upload)), "upload.jpg");
  static Image decode(std::span<const std::byte> bytes, std::string_view name = "picture",
                      const ImageOptions& options = {});

  // What an http:, https: or data: URL holds. Addresses that are private, loopback or link-local are refused unless
  // `allow_private`, on every redirect too. Throws bad_input for a URL that may not be fetched, io for the network, and as
  // `decode`.
  //   const tap::Image photo = tap::Image::fetch("https://example.org/photo.jpg");
  static Image fetch(const std::string& url, const ImageOptions& options = {}, bool allow_private = false);

  // Copies width * height * 3 bytes: rows from the top, pixels from the left, each red, green, blue. Throws usage when
  // a size is below 1 or the bytes are not as many, limit as `load`.
  //   const std::vector<std::uint8_t> grey(64 * 48 * 3, 128);
  //   const tap::Image plain = tap::Image::from_rgb(64, 48, grey);
  static Image from_rgb(std::int64_t width, std::int64_t height, std::span<const std::uint8_t> rgb);

  std::int64_t width() const noexcept;   // pixels
  std::int64_t height() const noexcept;  // pixels
  // width * height * 3 bytes, laid out as in `from_rgb`; they live as long as any copy of this picture.
  std::span<const std::uint8_t> rgb() const noexcept;

  // The picture as a PNG file's bytes.
  std::vector<std::byte> png() const;
  // Writes it as PNG; the file is whole or as it was before. Throws io.
  //   roof.save("copy.png");
  void save(const std::string& path) const;

 private:
  friend struct api::Access;
  explicit Image(std::shared_ptr<const api::Picture> picture) noexcept : picture_(std::move(picture)) {}
  std::shared_ptr<const api::Picture> picture_;
};

}  // namespace gnu::visibility("default")]]
}  // namespace tap
