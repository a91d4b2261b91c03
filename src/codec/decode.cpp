#include "codec/decode.h"

#include <algorithm>
#include <cctype>
#include <new>

#include "base/file.h"
#include "base/log.h"
#include "codec/exif.h"
#include "codec/format.h"
#include "codec/pixels.h"

namespace tap {

namespace {

bool starts_with(std::span<const std::byte> bytes, std::string_view magic, std::size_t at = 0) {
  return bytes.size() >= at + magic.size() &&
         std::equal(magic.begin(), magic.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at),
                    [](char a, std::byte b) { return static_cast<std::byte>(a) == b; });
}

bool is_png(std::span<const std::byte> bytes) { return starts_with(bytes, "\x89PNG\r\n\x1a\n"); }
bool is_jpeg(std::span<const std::byte> bytes) { return starts_with(bytes, "\xff\xd8\xff"); }
bool is_gif(std::span<const std::byte> bytes) { return starts_with(bytes, "GIF87a") || starts_with(bytes, "GIF89a"); }
bool is_webp(std::span<const std::byte> bytes) { return starts_with(bytes, "RIFF") && starts_with(bytes, "WEBP", 8); }

// "BM" begins many a text: the size of the second header tells.
bool is_bmp(std::span<const std::byte> bytes) {
  constexpr std::uint32_t sizes[] = {12, 40, 52, 56, 64, 108, 124};
  return starts_with(bytes, "BM") && bytes.size() >= 18 &&
         std::find(std::begin(sizes), std::end(sizes), codec::little32(bytes, 14)) != std::end(sizes);
}

bool is_ppm(std::span<const std::byte> bytes) {  // "P1" to "P7" and white space
  return bytes.size() > 2 && starts_with(bytes, "P") && bytes[1] >= std::byte{'1'} && bytes[1] <= std::byte{'7'} &&
         std::isspace(std::to_integer<int>(bytes[2]));
}

bool is_tiff(std::span<const std::byte> bytes) {  // classic or with 64-bit offsets
  using namespace std::string_view_literals;
  return starts_with(bytes, "II*\0"sv) || starts_with(bytes, "MM\0*"sv) || starts_with(bytes, "II+\0"sv) ||
         starts_with(bytes, "MM\0+"sv);
}

// The first box names its brand, or is of a general kind that is compatible with it.
bool is_avif(std::span<const std::byte> bytes) {
  if (!starts_with(bytes, "ftyp", 4)) return false;
  if (starts_with(bytes, "avif", 8) || starts_with(bytes, "avis", 8)) return true;
  if (!starts_with(bytes, "mif1", 8) && !starts_with(bytes, "msf1", 8)) return false;
  constexpr std::size_t most_brands_bytes = 256;
  const std::size_t end =
      std::min<std::size_t>({bytes.size(), std::to_integer<std::size_t>(bytes[3]), most_brands_bytes});
  for (std::size_t at = 16; at + 4 <= end; at += 4)
    if (starts_with(bytes, "avif", at) || starts_with(bytes, "avis", at)) return true;
  return false;
}

struct Format {
  ImageFormat format;
  std::string_view name, extensions;  // extensions: separated by blanks
  bool (*matches)(std::span<const std::byte> bytes);
  codec::HeaderReader* header;
  codec::Decoder* decode;
};

constexpr Format formats[] = {
    {ImageFormat::png, "PNG", "png apng", is_png, codec::png_header, codec::decode_png},
    {ImageFormat::jpeg, "JPEG", "jpg jpeg jpe jfif", is_jpeg, codec::jpeg_header, codec::decode_jpeg},
    {ImageFormat::gif, "GIF", "gif", is_gif, codec::gif_header, codec::decode_gif},
    {ImageFormat::webp, "WebP", "webp", is_webp, codec::webp_header, codec::decode_webp},
    {ImageFormat::bmp, "BMP", "bmp dib", is_bmp, codec::bmp_header, codec::decode_bmp},
    {ImageFormat::ppm, "PPM", "ppm pgm pbm pnm pam", is_ppm, codec::ppm_header, codec::decode_ppm},
    {ImageFormat::tiff, "TIFF", "tif tiff", is_tiff, codec::tiff_header, codec::decode_tiff},
    {ImageFormat::avif, "AVIF", "avif avifs", is_avif, codec::avif_header, codec::decode_avif},
};

const Format* format_of(std::span<const std::byte> bytes) {
  const Format* found =
      std::find_if(std::begin(formats), std::end(formats), [&](const Format& format) { return format.matches(bytes); });
  return found == std::end(formats) ? nullptr : found;
}

const Format& format_of(ImageFormat format) {
  return *std::find_if(std::begin(formats), std::end(formats), [&](const Format& row) { return row.format == format; });
}

std::string known_names() {  // "PNG, JPEG and GIF"
  std::string text;
  for (const Format& format : formats) {
    if (&format != formats) text += &format + 1 == std::end(formats) ? " and " : ", ";
    text += format.name;
  }
  return text;
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
    return Error(ErrorCode::unsupported, fmt::format("{}: {} is not supported: {} are", what, kind, known_names()),
                 item);
  if (!kind.empty()) return Error(ErrorCode::bad_file, fmt::format("{}: is {}, not a picture", what, kind), item);
  return Error(ErrorCode::bad_file, fmt::format("{}: is no picture that can be read ({} are)", what, known_names()),
               item);
}

std::optional<Error> over_limits(const codec::Header& header, std::size_t file_bytes, std::string_view what,
                                 const DecodeOptions& options) {
  const auto error = [&](ErrorCode code, std::string message) {
    return Error(code, fmt::format("{}: {}", what, message), std::string(what));
  };
  const ImageInfo& info = header.info;
  const ImageLimits& limits = options.limits;
  if (options.frame < 0 || options.frame >= info.frames)
    return error(ErrorCode::bad_input, fmt::format("has no frame {}: it holds {} {}, counted from 0", options.frame,
                                                   info.frames, info.frames == 1 ? "frame" : "frames"));
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
  const double memory = 3 * static_cast<double>(pixels) + header.work_bytes;
  if (memory > static_cast<double>(limits.max_memory_bytes))
    return error(ErrorCode::limit,
                 fmt::format("decoding needs {:.0f} bytes; the limit is {}", memory, limits.max_memory_bytes));
  if (header.work_pixels > static_cast<double>(limits.max_work_pixels))
    return error(ErrorCode::limit, fmt::format("frame {} takes drawing {:.0f} pixels; the limit is {}", options.frame,
                                               header.work_pixels, limits.max_work_pixels));
  return std::nullopt;
}

Result<codec::Header> checked_header(const Format* format, std::span<const std::byte> bytes, std::string_view what,
                                     const DecodeOptions& options) {
  if (!format) return not_a_picture(bytes, what);
  try {
    Result<codec::Header> header = format->header(bytes, what, options);
    if (!header) return header;
    if (std::optional<Error> error = over_limits(*header, bytes.size(), what, options)) return *std::move(error);
    return header;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, fmt::format("{}: no memory for its header", what), std::string(what));
  } catch (const Error& error) {  // a library that was opened late is too old
    return error.within(what, what);
  }
}

// A wrong extension is no fault of the picture; it is worth a line for whoever looks for one.
void note_extension(const Format& format, std::string_view what) {
  const std::size_t dot = what.rfind('.');
  if (dot == std::string_view::npos || what.size() - dot > 6) return;
  std::string extension(what.substr(dot + 1));
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const std::string known = fmt::format(" {} ", format.extensions);
  if (known.find(fmt::format(" {} ", extension)) == std::string::npos)
    log::info("{}: is {} whatever its name says", what, format.name);
}

}  // namespace

std::string_view name(ImageFormat format) { return format_of(format).name; }

Result<ImageInfo> probe_image(std::span<const std::byte> bytes, std::string_view what, const ImageLimits& limits) {
  const Result<codec::Header> header = checked_header(format_of(bytes), bytes, what, {.limits = limits});
  if (!header) return header.error();
  return header->info;
}

Result<Image> decode_image(std::span<const std::byte> bytes, std::string_view what, const DecodeOptions& options) {
  if (bytes.size() > options.limits.max_file_bytes)
    return Error(ErrorCode::limit,
                 fmt::format("{}: {} bytes; the limit is {}", what, bytes.size(), options.limits.max_file_bytes),
                 std::string(what));
  const Format* format = format_of(bytes);
  const Result<codec::Header> header = checked_header(format, bytes, what, options);
  if (!header) return header.error();
  note_extension(*format, what);
  try {
    Result<Image> image = format->decode(bytes, what, *header, options);
    if (!image || header->info.orientation == 1) return image;
    return apply_orientation(std::move(image).value(), header->info.orientation);
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory,
                 fmt::format("{}: out of memory for {}x{} pixels", what, header->info.width, header->info.height),
                 std::string(what));
  } catch (const Error& error) {
    return error.within(what, what);
  }
}

Result<Image> load_image(const std::string& path, const DecodeOptions& options) {
  const Result<std::string> text = read_file(path, options.limits.max_file_bytes);
  if (!text) return text.error();
  return decode_image(std::as_bytes(std::span(text->data(), text->size())), path == "-" ? "stdin" : path, options);
}

void open_late_libraries() {
  (void)codec::open_libavif("");
  (void)codec::open_libtiff("");
}

namespace codec {

Error bad_picture(std::string_view what, ImageFormat format, std::string_view reason) {
  return Error(ErrorCode::bad_file, fmt::format("{}: {}: {}", what, name(format), reason), std::string(what));
}

int allowed_scans(Dim pixels, const ImageLimits& limits) {
  constexpr Dim scan_pixels = 2'000'000'000, usual_scans = 20;
  return static_cast<int>(
      std::min<Dim>(limits.max_scans, std::max(usual_scans, scan_pixels / std::max<Dim>(1, pixels))));
}

}  // namespace codec

}  // namespace tap
