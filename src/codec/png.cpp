// PNG through libpng. Only IHDR, PLTE, tRNS and IDAT reach it; every other chunk is skipped without being inflated.
#include <cstdio>
#include <csetjmp>
#include <cstring>
#include <utility>

#include <png.h>

#include "codec/encode.h"
#include "codec/exif.h"
#include "codec/format.h"
#include "codec/pixels.h"

namespace tap::codec {

namespace {

constexpr std::size_t signature_bytes = 8, chunk_overhead = 12;  // length, type, CRC
// Deflate spends at least one bit on a match of at most 258 bytes and one on its distance: 1032 to 1.
constexpr double deflate_max_ratio = 1032;

std::uint32_t u32(std::span<const std::byte> bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | std::to_integer<std::uint32_t>(bytes[at + i]);
  return value;
}

// Everything that lives across setjmp: plain values only, so that longjmp skips no destructor.
struct PngJob {
  const std::byte* data;
  std::size_t size, at;
  std::uint32_t width, height;
  bool has_alpha, interlaced, keep_alpha;
  const Background* background;
  std::uint8_t* pixels;   // RGB, the result
  std::uint8_t* scratch;  // RGBA: one row, or the whole picture when interlaced; null without alpha
  char error[128];
};

void on_png_error(png_structp png, png_const_charp message) {
  auto* job = static_cast<PngJob*>(png_get_error_ptr(png));
  std::snprintf(job->error, sizeof job->error, "%s", message);
  png_longjmp(png, 1);
}

void on_png_warning(png_structp, png_const_charp) {}

void read_bytes(png_structp png, png_bytep out, png_size_t count) {
  auto* job = static_cast<PngJob*>(png_get_io_ptr(png));
  if (count > job->size - job->at) png_error(png, "the file ends before the picture does");
  std::memcpy(out, job->data + job->at, count);
  job->at += count;
}

void read_rows(png_structp png, png_infop info, PngJob* job) {
  const std::size_t rgb_bytes = std::size_t{job->width} * 3, rgba_bytes = std::size_t{job->width} * 4;
  const int passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  if (png_get_rowbytes(png, info) != (job->keep_alpha ? rgba_bytes : rgb_bytes)) png_error(png, "unexpected row size");
  for (int pass = 0; pass < passes; ++pass)
    for (std::uint32_t y = 0; y < job->height; ++y) {
      std::uint8_t* rgb = job->pixels + y * rgb_bytes;
      if (!job->keep_alpha) {
        png_read_row(png, rgb, nullptr);
        continue;
      }
      std::uint8_t* rgba = job->scratch + (job->interlaced ? y * rgba_bytes : 0);
      png_read_row(png, rgba, nullptr);
      if (pass + 1 == passes) lay_rgba(rgba, job->width, *job->background, rgb);
    }
  png_read_end(png, nullptr);
}

void configure(png_structp png, png_infop info, PngJob* job) {
  png_set_read_fn(png, job, read_bytes);
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);  // no iCCP, zTXt or iTXt is ever inflated
  png_set_user_limits(png, job->width, job->height);
  png_set_chunk_malloc_max(png, job->size);  // no chunk is longer than the file; skipped ones take no memory
  png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_read_info(png, info);
  if (png_get_image_width(png, info) != job->width || png_get_image_height(png, info) != job->height)
    png_error(png, "two headers disagree");
  png_set_palette_to_rgb(png);
  png_set_expand_gray_1_2_4_to_8(png);
  png_set_strip_16(png);
  png_set_gray_to_rgb(png);
  const bool has_trns = png_get_valid(png, info, PNG_INFO_tRNS) != 0;
  const bool has_alpha = (png_get_color_type(png, info) & PNG_COLOR_MASK_ALPHA) != 0;
  if (!job->keep_alpha) {
    png_set_strip_alpha(png);
  } else {
    if (has_trns) png_set_tRNS_to_alpha(png);
    if (!has_trns && !has_alpha) png_set_add_alpha(png, 0xff, PNG_FILLER_AFTER);
  }
}

bool run(PngJob* job) noexcept {
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, job, on_png_error, on_png_warning);
  if (!png) return false;
  png_infop info = png_create_info_struct(png);
  if (!info || setjmp(png_jmpbuf(png)) != 0) {
    png_destroy_read_struct(&png, &info, nullptr);
    return false;
  }
  configure(png, info, job);
  read_rows(png, info, job);
  png_destroy_read_struct(&png, &info, nullptr);
  return true;
}

bool known_kind(int depth, int color) {
  switch (color) {
    case 0: return depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16;
    case 3: return depth == 1 || depth == 2 || depth == 4 || depth == 8;
    case 2:
    case 4:
    case 6: return depth == 8 || depth == 16;
    default: return false;
  }
}

}  // namespace

Result<Header> png_header(std::span<const std::byte> bytes, std::string_view what, const DecodeOptions&) {
  const auto bad = [&](std::string_view reason) {
    return Error(ErrorCode::bad_file, fmt::format("{}: PNG: {}", what, reason), std::string(what));
  };
  if (bytes.size() < signature_bytes + chunk_overhead + 13) return bad("the file ends inside the header");
  if (std::memcmp(bytes.data() + 12, "IHDR", 4) != 0 || u32(bytes, 8) != 13) return bad("the first chunk is not IHDR");
  Header header;
  header.info.format = ImageFormat::png;
  header.info.width = u32(bytes, 16);
  header.info.height = u32(bytes, 20);
  const int depth = std::to_integer<int>(bytes[24]), color = std::to_integer<int>(bytes[25]);
  if (!known_kind(depth, color)) return bad(fmt::format("no such kind: bit depth {}, colour type {}", depth, color));
  constexpr int channels_of[] = {1, 0, 3, 1, 2, 0, 4};
  header.channels = channels_of[color];
  header.has_alpha = (color & 4) != 0;
  header.whole = std::to_integer<int>(bytes[28]) != 0;
  const double raw_bits =
      static_cast<double>(header.info.width) * static_cast<double>(header.info.height) * header.channels * depth;
  header.least_bytes = raw_bits / 8 / deflate_max_ratio;
  // eXIf may stand before or after the pixels, so the whole chain is walked (lengths only).
  for (std::size_t at = signature_bytes; bytes.size() - at >= chunk_overhead;) {
    const std::size_t length = u32(bytes, at);
    if (length > bytes.size() - at - chunk_overhead) break;  // cut: libpng will say so
    const std::byte* type = bytes.data() + at + 4;
    if (std::memcmp(type, "IEND", 4) == 0) break;
    if (std::memcmp(type, "tRNS", 4) == 0) header.has_alpha = true;
    if (std::memcmp(type, "eXIf", 4) == 0) header.info.orientation = exif_orientation(bytes.subspan(at + 8, length));
    at += length + chunk_overhead;
  }
  if (header.whole && header.has_alpha)  // RGBA of all passes
    header.work_bytes = 4 * static_cast<double>(header.info.width) * static_cast<double>(header.info.height);
  return header;
}

Result<Image> decode_png(std::span<const std::byte> bytes, std::string_view what, const Header& header,
                         const DecodeOptions& options) {
  Image image(header.info.width, header.info.height);
  const bool keep_alpha = header.has_alpha && options.background.has_value();
  std::vector<std::uint8_t> scratch;
  if (keep_alpha) scratch.resize(static_cast<std::size_t>(image.width * 4 * (header.whole ? image.height : 1)));
  PngJob job{};
  job.data = bytes.data();
  job.size = bytes.size();
  job.width = static_cast<std::uint32_t>(image.width);
  job.height = static_cast<std::uint32_t>(image.height);
  job.interlaced = header.whole;
  job.keep_alpha = keep_alpha;
  job.background = &options.background;
  job.pixels = image.pixels.data();
  job.scratch = scratch.data();
  if (!run(&job))
    return Error(ErrorCode::bad_file, fmt::format("{}: PNG: {}", what, job.error[0] ? job.error : "cannot be decoded"),
                 std::string(what));
  return image;
}

namespace {

struct PngWriteJob {
  const std::uint8_t* pixels;
  std::uint32_t width, height;
  std::vector<std::byte>* out;
  bool out_of_memory;
  int depth = 8;  // bits; 16: big-endian
  int channels = 3;
};

void on_write_error(png_structp png, png_const_charp) { png_longjmp(png, 1); }

bool append(std::vector<std::byte>* out, const std::uint8_t* data, std::size_t count) noexcept try {
  const auto* first = reinterpret_cast<const std::byte*>(data);
  out->insert(out->end(), first, first + count);
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

void write_bytes(png_structp png, png_bytep data, png_size_t count) {
  auto* job = static_cast<PngWriteJob*>(png_get_io_ptr(png));
  if (append(job->out, data, count)) return;
  job->out_of_memory = true;
  png_error(png, "out of memory");
}

void flush_nothing(png_structp) {}

void write_rows(png_structp png, png_infop info, const PngWriteJob* job) {
  png_set_IHDR(png, info, job->width, job->height, job->depth,
               job->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_set_compression_level(png, 3);  // twice as fast as the default for a few per cent of size
  png_write_info(png, info);
  const std::size_t row = std::size_t{job->width} * static_cast<std::size_t>(job->channels * job->depth / 8);
  for (std::uint32_t y = 0; y < job->height; ++y) png_write_row(png, job->pixels + y * row);
  png_write_end(png, nullptr);
}

bool run_write(PngWriteJob* job) noexcept {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, job, on_write_error, on_png_warning);
  if (!png) return false;
  png_infop info = png_create_info_struct(png);
  if (!info || setjmp(png_jmpbuf(png)) != 0) {
    png_destroy_write_struct(&png, &info);
    return false;
  }
  png_set_write_fn(png, job, write_bytes, flush_nothing);
  write_rows(png, info, job);
  png_destroy_write_struct(&png, &info);
  return true;
}

}  // namespace

}  // namespace tap::codec

namespace tap {

namespace {

std::vector<std::byte> encoded(codec::PngWriteJob job, Dim width, Dim height) {
  constexpr Dim max_edge = 1'000'000;  // libpng's own
  if (width <= 0 || height <= 0 || width > max_edge || height > max_edge)
    fail(ErrorCode::bad_input, "encode_png: {}x{} pixels; edges must be 1 to {}", width, height, max_edge);
  std::vector<std::byte> out;
  job.width = static_cast<std::uint32_t>(width);
  job.height = static_cast<std::uint32_t>(height);
  job.out = &out;
  if (!codec::run_write(&job))
    fail(job.out_of_memory ? ErrorCode::out_of_memory : ErrorCode::internal, "encode_png: cannot encode {}x{} pixels",
         width, height);
  return out;
}

void require_pixels(std::size_t given, Dim width, Dim height) {
  if (width <= 0 || height <= 0 || static_cast<Dim>(given) != width * height)
    fail(ErrorCode::bad_input, "encode_png: {} values for {}x{} pixels", given, width, height);
}

}  // namespace

std::vector<std::byte> encode_png(const Image& image) {
  codec::PngWriteJob job{};
  job.pixels = image.pixels.data();
  return encoded(job, image.width, image.height);
}

std::vector<std::byte> encode_grey_png(std::span<const std::uint8_t> values, Dim width, Dim height) {
  require_pixels(values.size(), width, height);
  codec::PngWriteJob job{};
  job.pixels = values.data();
  job.channels = 1;
  return encoded(job, width, height);
}

std::vector<std::byte> encode_grey_png(std::span<const std::uint16_t> values, Dim width, Dim height) {
  require_pixels(values.size(), width, height);
  std::vector<std::uint8_t> bytes;
  bytes.reserve(values.size() * 2);
  for (const std::uint16_t value : values) {
    bytes.push_back(static_cast<std::uint8_t>(value >> 8));
    bytes.push_back(static_cast<std::uint8_t>(value & 255));
  }
  codec::PngWriteJob job{};
  job.pixels = bytes.data();
  job.channels = 1;
  job.depth = 16;
  return encoded(job, width, height);
}

}  // namespace tap
