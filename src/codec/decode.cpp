#include "codec/decode.h"

#include <algorithm>
#include <cctype>
#include <new>

#include "base/file.h"
#include "base/log.h"
#include "codec/exif.h"
#include "codec/format.h"

namespace tap {

namespace {

bool starts_with(std::span<const std::byte> bytes, std::string_view magic, std::size_t at = 0) {
  return bytes.size() >= at + magic.size() &&
         std::equal(magic.begin(), magic.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at),
                    [](char a, std::byte b) { return static_cast<std::byte>(a) == b; });
}

std::optional<ImageFormat> format_of(std::span<const std::byte> bytes) {
  if (starts_with(bytes, "\x89PNG\r\n\x1a\n")) return ImageFormat::png;
  if (starts_with(bytes, "\xff\xd8\xff")) return ImageFormat::jpeg;
  return std::nullopt;
}

Error not_a_picture(std::span<const std::byte> bytes, std::string_view what) {
  const std::string item(what);
  if (bytes.empty()) return Error(ErrorCode::bad_file, fmt::format("{}: is empty", what), item);
  if (starts_with(bytes, "\x89PNG") || starts_with(bytes, "\xff\xd8"))
    return Error(ErrorCode::bad_file, fmt::format("{}: the first bytes of the picture are damaged or missing", what),
                 item);
  bool is_picture = false;
  const std::string_view kind = codec::sniff_other(bytes, is_picture);
  if (is_picture)
    return Error(ErrorCode::unsupported, fmt::format("{}: {} is not supported yet: PNG and JPEG are", what, kind),
                 item);
  if (!kind.empty()) return Error(ErrorCode::bad_file, fmt::format("{}: is {}, not a picture", what, kind), item);
  return Error(ErrorCode::bad_file, fmt::format("{}: is no picture that can be read (PNG and JPEG are)", what), item);
}

std::optional<Error> over_limits(const codec::Header& header, std::size_t file_bytes, std::string_view what,
                                 const ImageLimits& limits) {
  const auto error = [&](ErrorCode code, std::string message) {
    return Error(code, fmt::format("{}: {}", what, message), std::string(what));
  };
  const ImageInfo& info = header.info;
  if (info.width <= 0 || info.height <= 0)
    return error(ErrorCode::bad_file, fmt::format("a picture of {}x{} has no pixels", info.width, info.height));
  if (info.width > limits.max_edge_px || info.height > limits.max_edge_px)
    return error(ErrorCode::limit, fmt::format("{}x{} pixels; the limit is {} for each edge", info.width, info.height,
                                               limits.max_edge_px));
  const Dim pixels = info.width * info.height;  // only now: two edges of nearly 2^32 would wrap
  if (pixels > limits.max_pixels)
    return error(ErrorCode::limit, fmt::format("{}x{} is {} pixels; the limit is {}", info.width, info.height, pixels,
                                               limits.max_pixels));
  if (static_cast<double>(file_bytes) < header.least_bytes)
    return error(ErrorCode::bad_file, fmt::format("declares {}x{} pixels, which {} bytes cannot hold (at least {:.0f})",
                                                  info.width, info.height, file_bytes, header.least_bytes));
  // Interlaced PNG with alpha keeps RGBA bytes, progressive JPEG 16-bit coefficients.
  const std::size_t work_per_pixel = !header.whole                     ? 0
                                     : info.format == ImageFormat::png ? (header.has_alpha ? 4 : 0)
                                                                       : 2 * static_cast<std::size_t>(header.channels);
  // libjpeg counts its own work, subsampling included.
  const std::size_t memory =
      static_cast<std::size_t>(pixels) * (3 + (info.format == ImageFormat::png ? work_per_pixel : 0));
  if (memory > limits.max_memory_bytes)
    return error(ErrorCode::limit,
                 fmt::format("decoding needs {} bytes; the limit is {}", memory, limits.max_memory_bytes));
  return std::nullopt;
}

Result<codec::Header> checked_header(std::span<const std::byte> bytes, std::string_view what,
                                     const ImageLimits& limits) {
  const std::optional<ImageFormat> format = format_of(bytes);
  if (!format) return not_a_picture(bytes, what);
  Result<codec::Header> header =
      *format == ImageFormat::png ? codec::png_header(bytes, what) : codec::jpeg_header(bytes, what);
  if (!header) return header;
  if (std::optional<Error> error = over_limits(*header, bytes.size(), what, limits)) return *std::move(error);
  return header;
}

// A wrong extension is no fault of the picture; it is worth a line for whoever looks for one.
void note_extension(ImageFormat format, std::string_view what) {
  const std::size_t dot = what.rfind('.');
  if (dot == std::string_view::npos || what.size() - dot > 6) return;
  std::string extension(what.substr(dot + 1));
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool png = extension == "png" || extension == "apng";
  const bool jpeg = extension == "jpg" || extension == "jpeg" || extension == "jpe" || extension == "jfif";
  if (format == ImageFormat::png ? !png : !jpeg) log::info("{}: is {} whatever its name says", what, name(format));
}

}  // namespace

std::string_view name(ImageFormat format) { return format == ImageFormat::png ? "PNG" : "JPEG"; }

Result<ImageInfo> probe_image(std::span<const std::byte> bytes, std::string_view what, const ImageLimits& limits) {
  const Result<codec::Header> header = checked_header(bytes, what, limits);
  if (!header) return header.error();
  return header->info;
}

Result<Image> decode_image(std::span<const std::byte> bytes, std::string_view what, const DecodeOptions& options) {
  if (bytes.size() > options.limits.max_file_bytes)
    return Error(ErrorCode::limit,
                 fmt::format("{}: {} bytes; the limit is {}", what, bytes.size(), options.limits.max_file_bytes),
                 std::string(what));
  const Result<codec::Header> header = checked_header(bytes, what, options.limits);
  if (!header) return header.error();
  note_extension(header->info.format, what);
  try {
    Result<Image> image = header->info.format == ImageFormat::png ? codec::decode_png(bytes, what, *header, options)
                                                                  : codec::decode_jpeg(bytes, what, *header, options);
    if (!image || header->info.orientation == 1) return image;
    return apply_orientation(std::move(image).value(), header->info.orientation);
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory,
                 fmt::format("{}: out of memory for {}x{} pixels", what, header->info.width, header->info.height),
                 std::string(what));
  }
}

Result<Image> load_image(const std::string& path, const DecodeOptions& options) {
  const Result<std::string> text = read_file(path, options.limits.max_file_bytes);
  if (!text) return text.error();
  return decode_image(std::as_bytes(std::span(text->data(), text->size())), path == "-" ? "stdin" : path, options);
}

namespace codec {

int allowed_scans(Dim pixels, const ImageLimits& limits) {
  constexpr Dim scan_pixels = 2'000'000'000, usual_scans = 20;
  return static_cast<int>(
      std::min<Dim>(limits.max_scans, std::max(usual_scans, scan_pixels / std::max<Dim>(1, pixels))));
}

}  // namespace codec

}  // namespace tap
