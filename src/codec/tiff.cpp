// TIFF through libtiff, opened when the first one comes. The chain of directories is walked here, strips and tiles are
// unpacked by libtiff, and their samples become RGB as Pillow's TiffImagePlugin has it; grey of 16 bits keeps its high
// byte.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <unordered_set>
#include <vector>

#include <tiffio.h>

#include "base/dynamic_library.h"
#include "base/log.h"
#include "codec/format.h"
#include "codec/pixels.h"

namespace tap::codec {

namespace {

constexpr Dim max_directories = 65'536;
constexpr int max_samples = 6;

// Where each page of the file is described, without libtiff: it would read every tag of every page.
class DirectoryChain {
 public:
  explicit DirectoryChain(std::span<const std::byte> bytes)
      : bytes_(bytes), is_big_endian_(bytes[0] == std::byte{'M'}), is_wide_(number(2, 2) == 43) {}

  // Directories up to the end of the chain, a place outside the file, or one that was visited before.
  Dim count(Dim wanted) {
    std::unordered_set<std::uint64_t> seen;
    std::uint64_t at = is_wide_ ? number(8, 8) : number(4, 4);
    const std::size_t count_bytes = is_wide_ ? 8 : 2, entry_bytes = is_wide_ ? 20 : 12, link_bytes = is_wide_ ? 8 : 4;
    while (at != 0 && has(at, count_bytes) && seen.insert(at).second) {
      const auto index = static_cast<Dim>(seen.size()) - 1;
      if (index > max_directories) return index;
      const std::uint64_t entries = number(at, count_bytes), first = at + count_bytes;
      if (entries > (bytes_.size() - first) / entry_bytes) return index;
      if (index == wanted) {
        offset = at;
        is_first = index == 0;
        for (std::uint64_t i = 0; i < entries; ++i)
          has_extra_samples = has_extra_samples || number(first + i * entry_bytes, 2) == TIFFTAG_EXTRASAMPLES;
      }
      const std::uint64_t link = first + entries * entry_bytes;
      at = has(link, link_bytes) ? number(link, link_bytes) : 0;
    }
    return static_cast<Dim>(seen.size());
  }

  std::uint64_t offset = 0;  // of the wanted directory
  bool is_first = true;
  bool has_extra_samples = false;  // without the tag a fourth sample of RGB is alpha

 private:
  bool has(std::uint64_t at, std::uint64_t count) const { return at <= bytes_.size() && count <= bytes_.size() - at; }
  std::uint64_t number(std::uint64_t at, std::size_t size) const {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size && has(at, size); ++i)
      value = value << 8 | std::to_integer<std::uint64_t>(bytes_[at + (is_big_endian_ ? i : size - 1 - i)]);
    return value;
  }
  std::span<const std::byte> bytes_;
  bool is_big_endian_, is_wide_;
};

struct Library {
  explicit Library(const DynamicLibrary& l)
      : options_alloc(l.symbol<decltype(TIFFOpenOptionsAlloc)>("TIFFOpenOptionsAlloc")),
        options_free(l.symbol<decltype(TIFFOpenOptionsFree)>("TIFFOpenOptionsFree")),
        set_max_alloc(l.symbol<decltype(TIFFOpenOptionsSetMaxSingleMemAlloc)>("TIFFOpenOptionsSetMaxSingleMemAlloc")),
        set_error_handler(l.symbol<decltype(TIFFOpenOptionsSetErrorHandlerExtR)>("TIFFOpenOptionsSetErrorHandlerExtR")),
        set_warning_handler(
            l.symbol<decltype(TIFFOpenOptionsSetWarningHandlerExtR)>("TIFFOpenOptionsSetWarningHandlerExtR")),
        open(l.symbol<decltype(TIFFClientOpenExt)>("TIFFClientOpenExt")),
        close(l.symbol<decltype(TIFFClose)>("TIFFClose")),
        set_directory(l.symbol<decltype(TIFFSetSubDirectory)>("TIFFSetSubDirectory")),
        get(l.symbol<decltype(TIFFGetField)>("TIFFGetField")),
        get_or_default(l.symbol<decltype(TIFFGetFieldDefaulted)>("TIFFGetFieldDefaulted")),
        set(l.symbol<decltype(TIFFSetField)>("TIFFSetField")),
        is_tiled(l.symbol<decltype(TIFFIsTiled)>("TIFFIsTiled")),
        strip_size(l.symbol<decltype(TIFFStripSize64)>("TIFFStripSize64")),
        tile_size(l.symbol<decltype(TIFFTileSize64)>("TIFFTileSize64")),
        compute_strip(l.symbol<decltype(TIFFComputeStrip)>("TIFFComputeStrip")),
        compute_tile(l.symbol<decltype(TIFFComputeTile)>("TIFFComputeTile")),
        read_strip(l.symbol<decltype(TIFFReadEncodedStrip)>("TIFFReadEncodedStrip")),
        read_tile(l.symbol<decltype(TIFFReadEncodedTile)>("TIFFReadEncodedTile")),
        read_rgba_strip(l.symbol<decltype(TIFFReadRGBAStripExt)>("TIFFReadRGBAStripExt")),
        read_rgba_tile(l.symbol<decltype(TIFFReadRGBATileExt)>("TIFFReadRGBATileExt")) {
    // What has no handle yet, or none of its own, goes nowhere instead of to stderr.
    l.symbol<decltype(TIFFSetErrorHandler)>("TIFFSetErrorHandler")(nullptr);
    l.symbol<decltype(TIFFSetWarningHandler)>("TIFFSetWarningHandler")(nullptr);
  }
  decltype(TIFFOpenOptionsAlloc)* options_alloc;
  decltype(TIFFOpenOptionsFree)* options_free;
  decltype(TIFFOpenOptionsSetMaxSingleMemAlloc)* set_max_alloc;
  decltype(TIFFOpenOptionsSetErrorHandlerExtR)* set_error_handler;
  decltype(TIFFOpenOptionsSetWarningHandlerExtR)* set_warning_handler;
  decltype(TIFFClientOpenExt)* open;
  decltype(TIFFClose)* close;
  decltype(TIFFSetSubDirectory)* set_directory;
  decltype(TIFFGetField)*get, *get_or_default;
  decltype(TIFFSetField)* set;
  decltype(TIFFIsTiled)* is_tiled;
  decltype(TIFFStripSize64)* strip_size;
  decltype(TIFFTileSize64)* tile_size;
  decltype(TIFFComputeStrip)* compute_strip;
  decltype(TIFFComputeTile)* compute_tile;
  decltype(TIFFReadEncodedStrip)* read_strip;
  decltype(TIFFReadEncodedTile)* read_tile;
  decltype(TIFFReadRGBAStripExt)* read_rgba_strip;
  decltype(TIFFReadRGBATileExt)* read_rgba_tile;
};

// The bytes of the file as libtiff asks for them, and the first thing it complained about.
struct Source {
  std::span<const std::byte> bytes;
  std::uint64_t at = 0;
  char message[256] = "";
};

Source* source_of(thandle_t handle) { return static_cast<Source*>(handle); }

tmsize_t read_some(thandle_t handle, void* out, tmsize_t size) {
  Source* source = source_of(handle);
  if (size < 0 || source->at > source->bytes.size()) return 0;
  const std::size_t count = std::min(static_cast<std::size_t>(size), source->bytes.size() - source->at);
  std::memcpy(out, source->bytes.data() + source->at, count);
  source->at += count;
  return static_cast<tmsize_t>(count);
}

tmsize_t write_nothing(thandle_t, void*, tmsize_t) { return 0; }

toff_t seek(thandle_t handle, toff_t offset, int from) {
  Source* source = source_of(handle);
  source->at = from == SEEK_SET ? offset : from == SEEK_CUR ? source->at + offset : source->bytes.size() + offset;
  return source->at;
}

int close_nothing(thandle_t) { return 0; }
toff_t size_of(thandle_t handle) { return source_of(handle)->bytes.size(); }

int map_all(thandle_t handle, void** base, toff_t* size) {
  Source* source = source_of(handle);
  *base = const_cast<std::byte*>(source->bytes.data());  // libtiff reads it only
  *size = source->bytes.size();
  return 1;
}

void unmap_nothing(thandle_t, void*, toff_t) {}

int keep_message(TIFF*, void* user, const char*, const char* format, va_list values) {
  auto* source = static_cast<Source*>(user);
  if (source->message[0] == '\0') std::vsnprintf(source->message, sizeof source->message, format, values);
  return 1;  // no other handler
}

int drop_message(TIFF*, void*, const char*, const char*, va_list) { return 1; }

// A file at one of its pages, with what its tags say.
struct Page {
  Page(const Library& l, std::span<const std::byte> bytes, const DirectoryChain& chain, const ImageLimits& limits)
      : library(l), source{bytes}, handle(nullptr, l.close) {
    const std::unique_ptr<TIFFOpenOptions, decltype(l.options_free)> options(l.options_alloc(), l.options_free);
    if (!options) throw std::bad_alloc();
    l.set_max_alloc(options.get(), static_cast<tmsize_t>(limits.max_memory_bytes));
    l.set_error_handler(options.get(), keep_message, &source);
    l.set_warning_handler(options.get(), drop_message, nullptr);
    handle.reset(l.open("", "r", &source, read_some, write_nothing, seek, close_nothing, size_of, map_all,
                        unmap_nothing, options.get()));
    if (!handle || (!chain.is_first && !l.set_directory(handle.get(), chain.offset))) return;
    TIFF* t = handle.get();
    l.get(t, TIFFTAG_IMAGEWIDTH, &width);
    l.get(t, TIFFTAG_IMAGELENGTH, &height);
    l.get(t, TIFFTAG_ORIENTATION, &orientation);
    l.get_or_default(t, TIFFTAG_BITSPERSAMPLE, &bits);
    l.get_or_default(t, TIFFTAG_SAMPLESPERPIXEL, &samples);
    l.get_or_default(t, TIFFTAG_SAMPLEFORMAT, &sample_format);
    l.get_or_default(t, TIFFTAG_COMPRESSION, &compression);
    l.get_or_default(t, TIFFTAG_PLANARCONFIG, &planar);
    l.get(t, TIFFTAG_PHOTOMETRIC, &photometric);
    if (std::uint16_t* types = nullptr; l.get(t, TIFFTAG_EXTRASAMPLES, &extras, &types) && extras > 0)
      first_extra = types[0];
    if (!chain.has_extra_samples && photometric == PHOTOMETRIC_RGB && samples == 4)
      first_extra = EXTRASAMPLE_UNASSALPHA;
    is_tiled = l.is_tiled(t) != 0;
    block_width = width;
    block_height = height;
    if (is_tiled) {
      l.get(t, TIFFTAG_TILEWIDTH, &block_width);
      l.get(t, TIFFTAG_TILELENGTH, &block_height);
    } else if (std::uint32_t rows = 0; l.get_or_default(t, TIFFTAG_ROWSPERSTRIP, &rows) && rows > 0) {
      block_height = std::min(rows, height);
    }
    // YCbCr becomes RGB in libjpeg; of other compressions in libtiff, which then unpacks whole strips to RGBA.
    if (photometric == PHOTOMETRIC_YCBCR && samples >= 3) {
      if (compression == COMPRESSION_JPEG && planar == PLANARCONFIG_CONTIG) {
        l.set(t, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
        photometric = PHOTOMETRIC_RGB;
      } else {
        is_rgba = true;
        l.set(t, TIFFTAG_ORIENTATION, ORIENTATION_TOPLEFT);  // it is applied later
      }
    }
    block_bytes = is_tiled ? l.tile_size(t) : l.strip_size(t);
    if (is_rgba) block_bytes = std::uint64_t{block_width} * block_height * 4;
    is_read = true;
  }

  std::string message() const {
    return source.message[0] ? log::one_line(source.message) : std::string("cannot be read");
  }
  int planes() const { return planar == PLANARCONFIG_SEPARATE && !is_rgba ? samples : 1; }

  const Library& library;
  Source source;
  std::unique_ptr<TIFF, decltype(TIFFClose)*> handle;
  std::uint32_t width = 0, height = 0, block_width = 0, block_height = 0;
  std::uint16_t orientation = 1, bits = 1, samples = 1, sample_format = SAMPLEFORMAT_UINT, photometric = 0;
  std::uint16_t compression = COMPRESSION_NONE, planar = PLANARCONFIG_CONTIG, extras = 0;
  int first_extra = -1;  // EXTRASAMPLE_...
  bool is_tiled = false, is_rgba = false, is_read = false;
  std::uint64_t block_bytes = 0;  // unpacked; of one plane
};

// What cannot be turned to RGB; empty when all can.
std::string unsupported_kind(const Page& page) {
  constexpr std::uint16_t compressions[] = {COMPRESSION_NONE,          COMPRESSION_CCITTRLE, COMPRESSION_CCITTFAX3,
                                            COMPRESSION_CCITTFAX4,     COMPRESSION_LZW,      COMPRESSION_JPEG,
                                            COMPRESSION_ADOBE_DEFLATE, COMPRESSION_DEFLATE,  COMPRESSION_PACKBITS,
                                            COMPRESSION_LZMA,          COMPRESSION_ZSTD,     COMPRESSION_WEBP};
  if (std::find(std::begin(compressions), std::end(compressions), page.compression) == std::end(compressions))
    return fmt::format("compression {}", page.compression);
  const int colors = page.photometric == PHOTOMETRIC_RGB || page.photometric == PHOTOMETRIC_YCBCR ? 3
                     : page.photometric == PHOTOMETRIC_SEPARATED                                  ? 4
                                                                                                  : 1;
  const std::string kind = fmt::format("colour space {} of {} samples of {} bits (format {})", page.photometric,
                                       page.samples, page.bits, page.sample_format);
  const bool is_known = page.photometric <= PHOTOMETRIC_PALETTE || page.photometric == PHOTOMETRIC_SEPARATED ||
                        page.photometric == PHOTOMETRIC_YCBCR;
  if (!is_known || page.samples > max_samples) return kind;
  if (page.photometric == PHOTOMETRIC_YCBCR && page.samples == 1) return page.bits == 8 ? "" : kind;
  if (page.samples < colors) return kind;
  if (page.sample_format != SAMPLEFORMAT_UINT) {  // only grey is ever signed or floating
    const bool is_grey = page.photometric <= PHOTOMETRIC_MINISBLACK && page.samples == 1;
    const bool has_size =
        page.bits == 32 || (page.sample_format == SAMPLEFORMAT_INT && (page.bits == 8 || page.bits == 16));
    return is_grey && has_size && page.sample_format <= SAMPLEFORMAT_IEEEFP ? "" : kind;
  }
  const bool is_small = page.samples == 1 && (page.bits == 1 || page.bits == 2 || page.bits == 4);
  const bool is_grey = page.photometric <= PHOTOMETRIC_MINISBLACK;
  const bool is_deep = page.bits == 16 && page.photometric != PHOTOMETRIC_PALETTE && !page.is_rgba;
  if (page.bits == 8 || (is_small && colors == 1) || is_deep) return "";
  return is_grey && page.samples == 1 && page.bits == 32 ? "" : kind;
}

// One row of a block: where each sample of pixel 0 is and how far the next pixel is.
struct Row {
  const std::uint8_t* samples[max_samples];
  std::size_t step;
};

template <class T>
T load(const std::uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

std::uint8_t clipped(double value) {  // Pillow's conversion of I and F to L; not a number is 0
  return value >= 255 ? 255 : value > 0 ? static_cast<std::uint8_t>(value) : 0;
}

class Converter {
 public:
  Converter(const Page& page, const Background& background) : page_(page), background_(background) {
    std::uint16_t* maps[3] = {};
    if (page.photometric == PHOTOMETRIC_PALETTE &&
        page.library.get(page.handle.get(), TIFFTAG_COLORMAP, &maps[0], &maps[1], &maps[2]))
      for (std::size_t i = 0; i < (std::size_t{1} << page.bits); ++i)
        for (std::size_t c = 0; c < 3; ++c) palette_[i][c] = static_cast<std::uint8_t>(maps[c][i] >> 8);
    const int colors = page.photometric == PHOTOMETRIC_RGB ? 3 : 1;
    if (page.photometric != PHOTOMETRIC_SEPARATED && page.samples > colors &&
        page.first_extra != EXTRASAMPLE_UNSPECIFIED && page.first_extra >= 0)
      alpha_ = colors;
    is_premultiplied_ = page.first_extra == EXTRASAMPLE_ASSOCALPHA;
  }

  void convert(const Row& row, std::size_t count, std::uint8_t* rgb) const {
    for (std::size_t x = 0; x < count; ++x, rgb += 3) {
      std::uint8_t color[3];
      read_color(row, x, color);
      const unsigned alpha = alpha_ > 0 ? byte(row, x, alpha_) : 255;
      if (alpha_ > 0 && is_premultiplied_ && alpha != 255)
        for (std::uint8_t& c : color) c = alpha == 0 ? 0 : static_cast<std::uint8_t>(std::min(255u, 255u * c / alpha));
      put_pixel(color, alpha, background_, rgb);
    }
  }

 private:
  // The high byte of a sample of 8 or 16 bits.
  std::uint8_t byte(const Row& row, std::size_t x, int sample) const {
    const std::uint8_t* at = row.samples[sample] + x * row.step;
    return page_.bits == 16 ? static_cast<std::uint8_t>(load<std::uint16_t>(at) >> 8) : *at;
  }
  unsigned small(const Row& row, std::size_t x) const {
    const unsigned bits = page_.bits, shift = 8 - bits - static_cast<unsigned>(x * bits % 8);
    return unsigned{row.samples[0][x * bits / 8]} >> shift & ((1u << bits) - 1);
  }
  std::uint8_t grey(const Row& row, std::size_t x) const {
    const std::uint8_t* at = row.samples[0] + x * row.step;
    if (page_.bits < 8) return static_cast<std::uint8_t>(small(row, x) * 255 / ((1u << page_.bits) - 1));
    if (page_.bits == 32)
      return clipped(page_.sample_format == SAMPLEFORMAT_IEEEFP ? double{load<float>(at)}
                                                                : static_cast<double>(load<std::int32_t>(at)));
    if (page_.bits == 16 && page_.sample_format == SAMPLEFORMAT_INT) return clipped(load<std::int16_t>(at));
    return byte(row, x, 0);
  }
  void read_color(const Row& row, std::size_t x, std::uint8_t* color) const {
    switch (page_.photometric) {
      case PHOTOMETRIC_RGB:
        for (int c = 0; c < 3; ++c) color[c] = byte(row, x, c);
        break;
      case PHOTOMETRIC_SEPARATED:
        for (int c = 0; c < 3; ++c) color[c] = channel_of_cmyk(byte(row, x, c), byte(row, x, 3));
        break;
      case PHOTOMETRIC_PALETTE:
        std::memcpy(color, palette_[page_.bits < 8 ? small(row, x) : byte(row, x, 0)].data(), 3);
        break;
      default: {
        std::uint8_t value = grey(row, x);
        if (page_.photometric == PHOTOMETRIC_MINISWHITE && page_.sample_format == SAMPLEFORMAT_UINT && page_.bits <= 16)
          value = static_cast<std::uint8_t>(255 - value);
        color[0] = color[1] = color[2] = value;
      }
    }
  }

  const Page& page_;
  const Background& background_;
  std::array<std::array<std::uint8_t, 3>, 256> palette_{};
  int alpha_ = -1;  // the sample
  bool is_premultiplied_ = false;
};

class BlockReader {
 public:
  BlockReader(const Page& page, const Background& background, Image* image)
      : page_(page), converter_(page, background), image_(image) {
    for (int plane = 0; plane < page.planes(); ++plane)
      planes_.emplace_back(static_cast<std::size_t>(page.block_bytes));
  }

  bool read_all() {
    for (std::uint32_t y = 0; y < page_.height; y += std::min(page_.block_height, page_.height - y))
      for (std::uint32_t x = 0; x < page_.width; x += std::min(page_.block_width, page_.width - x))
        if (!(page_.is_rgba ? read_rgba(x, y) : read_samples(x, y))) return false;
    return true;
  }

 private:
  bool read_samples(std::uint32_t x, std::uint32_t y) {
    const Library& l = page_.library;
    TIFF* t = page_.handle.get();
    const std::uint32_t columns = std::min(page_.block_width, page_.width - x);
    const std::uint32_t rows = std::min(page_.block_height, page_.height - y);
    const std::size_t per_pixel = planes_.size() > 1 ? 1 : page_.samples;
    const std::size_t row_bytes = (std::size_t{page_.block_width} * per_pixel * page_.bits + 7) / 8;
    for (std::size_t p = 0; p < planes_.size(); ++p) {
      const auto sample = static_cast<std::uint16_t>(p);
      const auto size = static_cast<tmsize_t>(planes_[p].size());
      const tmsize_t got = page_.is_tiled ? l.read_tile(t, l.compute_tile(t, x, y, 0, sample), planes_[p].data(), size)
                                          : l.read_strip(t, l.compute_strip(t, y, sample), planes_[p].data(), size);
      if (got < 0 || static_cast<std::size_t>(got) < rows * row_bytes) return false;
    }
    const std::size_t sample_bytes = page_.bits / 8u;
    for (std::uint32_t i = 0; i < rows; ++i) {
      Row row{};
      row.step = per_pixel * sample_bytes;
      for (std::size_t s = 0; s < page_.samples; ++s)
        row.samples[s] = planes_.size() > 1 ? planes_[s].data() + i * row_bytes
                                            : planes_[0].data() + i * row_bytes + s * sample_bytes;
      converter_.convert(row, columns, image_->row(y + i) + std::size_t{x} * 3);
    }
    return true;
  }

  // Rows come from the bottom up, pixels as 0xAABBGGRR.
  bool read_rgba(std::uint32_t x, std::uint32_t y) {
    const Library& l = page_.library;
    TIFF* t = page_.handle.get();
    auto* raster = reinterpret_cast<std::uint32_t*>(planes_[0].data());
    const std::uint32_t columns = std::min(page_.block_width, page_.width - x);
    const std::uint32_t rows = std::min(page_.block_height, page_.height - y);
    if (!(page_.is_tiled ? l.read_rgba_tile(t, x, y, raster, 1) : l.read_rgba_strip(t, y, raster, 1))) return false;
    const std::uint32_t held = page_.is_tiled ? page_.block_height : rows;
    for (std::uint32_t i = 0; i < rows; ++i) {
      std::uint8_t* rgb = image_->row(y + i) + std::size_t{x} * 3;
      for (std::uint32_t column = 0; column < columns; ++column, rgb += 3)
        for (int c = 0; c < 3; ++c)
          rgb[c] = static_cast<std::uint8_t>(raster[std::size_t{held - 1 - i} * page_.block_width + column] >> 8 * c);
    }
    return true;
  }

  const Page& page_;
  Converter converter_;
  Image* image_;
  std::vector<std::vector<std::uint8_t>> planes_;
};

}  // namespace

Result<DynamicLibrary> open_libtiff(std::string_view what) {
  return DynamicLibrary::open("libtiff.so.6", fmt::format("{}: reading TIFF", what), "libtiff6");
}

Result<Header> tiff_header(std::span<const std::byte> bytes, std::string_view what, const DecodeOptions& options) {
  const auto bad = [&](std::string_view reason) { return bad_picture(what, ImageFormat::tiff, reason); };
  if (bytes.size() < 16) return bad("the file ends inside the header");
  DirectoryChain chain(bytes);
  Header header;
  header.info.format = ImageFormat::tiff;
  header.info.frames = chain.count(options.frame);
  if (header.info.frames == 0) return bad("no picture in the file");
  if (header.info.frames > max_directories)
    return Error(ErrorCode::limit, fmt::format("{}: TIFF: more than {} pictures, the limit", what, max_directories),
                 std::string(what));
  if (options.frame < 0 || options.frame >= header.info.frames) return header;  // refused by the caller
  const Result<DynamicLibrary> opened = open_libtiff(what);
  if (!opened) return opened.error();
  const Library library(*opened);
  const Page page(library, bytes, chain, options.limits);
  if (!page.is_read) return bad(page.message());
  if (const std::string kind = unsupported_kind(page); !kind.empty())
    return Error(ErrorCode::unsupported, fmt::format("{}: TIFF: {} cannot be read", what, kind), std::string(what));
  if (page.width > 0 && page.height > 0 && (page.block_bytes == 0 || page.block_width == 0 || page.block_height == 0))
    return bad("strips or tiles of no size");
  header.info.width = page.width;
  header.info.height = page.height;
  header.info.orientation = page.orientation >= 1 && page.orientation <= 8 ? page.orientation : 1;
  header.work_bytes = static_cast<double>(page.block_bytes) * (page.is_rgba ? 2 : page.planes());
  return header;
}

Result<Image> decode_tiff(std::span<const std::byte> bytes, std::string_view what, const Header& header,
                          const DecodeOptions& options) {
  const Result<DynamicLibrary> opened = open_libtiff(what);
  if (!opened) return opened.error();
  const Library library(*opened);
  DirectoryChain chain(bytes);
  chain.count(options.frame);
  const Page page(library, bytes, chain, options.limits);
  Image image(header.info.width, header.info.height);
  if (!page.is_read || !BlockReader(page, options.background, &image).read_all())
    return bad_picture(what, ImageFormat::tiff, page.message());
  return image;
}

}  // namespace tap::codec
