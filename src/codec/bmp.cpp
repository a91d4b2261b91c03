// BMP: OS/2 and Windows headers, 1 to 32 bits, RLE4 and RLE8, bit fields, both row orders. Read as Pillow's
// BmpImagePlugin does, except that run-length coded pixels which are left out are colour 0 and not an error.
#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "codec/format.h"
#include "codec/pixels.h"

namespace tap::codec {

namespace {

constexpr std::size_t file_header_bytes = 14;
constexpr unsigned raw = 0, rle8 = 1, rle4 = 2, bit_fields = 3;

struct Layout {
  Dim width = 0, height = 0;
  bool top_down = false;
  unsigned bits = 0, compression = raw;
  std::array<std::uint32_t, 4> masks{};  // red, green, blue, alpha
  std::array<std::array<std::uint8_t, 3>, 256> palette{};
  std::size_t pixels_at = 0;
  std::size_t row_bytes() const { return ((static_cast<std::size_t>(width) * bits + 31) >> 3) & ~std::size_t{3}; }
};

bool is_run_coded(const Layout& layout) { return layout.compression == rle8 || layout.compression == rle4; }

// The colours of the indices; a palette that maps i to the grey i holds for the indices beyond its end, too.
void read_palette(std::span<const std::byte> table, std::size_t entry_bytes, Layout* layout) {
  bool is_ramp = layout->bits == 8;
  const std::size_t entries = std::min<std::size_t>(table.size() / entry_bytes, 256);
  for (std::size_t i = 0; i < entries; ++i)
    for (std::size_t c = 0; c < 3; ++c) {
      const auto value = std::to_integer<std::uint8_t>(table[i * entry_bytes + 2 - c]);
      layout->palette[i][c] = value;
      is_ramp = is_ramp && value == i;
    }
  for (std::size_t i = entries; i < 256 && is_ramp; ++i) layout->palette[i].fill(static_cast<std::uint8_t>(i));
}

bool is_known_mask(std::uint32_t mask) {  // one run of ones
  return mask == 0 || std::has_single_bit((mask >> std::countr_zero(mask)) + std::uint64_t{1});
}

// The text of what is wrong; empty when the layout is complete.
std::string read_masks(std::span<const std::byte> bytes, std::size_t header_bytes, Layout* layout) {
  constexpr std::size_t masks_at = file_header_bytes + 40;
  const std::size_t count = header_bytes >= 56 ? 4 : 3;
  if (bytes.size() < masks_at + count * 4) return "the file ends inside the header";
  for (std::size_t i = 0; i < count; ++i) layout->masks[i] = little32(bytes, masks_at + i * 4);
  if (layout->bits == 32 && std::all_of(layout->masks.begin(), layout->masks.end(), [](auto m) { return m == 0; }))
    layout->masks = {0xFF0000, 0xFF00, 0xFF, 0xFF000000};
  if (layout->bits != 32) layout->masks[3] = 0;
  if (!std::all_of(layout->masks.begin(), layout->masks.end(), is_known_mask)) return "bit fields with gaps";
  return "";
}

Result<Layout> read_layout(std::span<const std::byte> bytes, std::string_view what) {
  const auto bad = [&](std::string_view reason) { return bad_picture(what, ImageFormat::bmp, reason); };
  const auto unsupported = [&](const std::string& text) {
    return Error(ErrorCode::unsupported, fmt::format("{}: BMP: {}", what, text), std::string(what));
  };
  if (bytes.size() < file_header_bytes + 12) return bad("the file ends inside the header");
  const std::size_t header_bytes = little32(bytes, file_header_bytes);
  if (header_bytes > bytes.size() - file_header_bytes) return bad("the file ends inside the header");
  const std::span<const std::byte> head = bytes.subspan(file_header_bytes);
  Layout layout;
  std::size_t colors = 0, entry_bytes = 4, palette_at = file_header_bytes + header_bytes;
  if (header_bytes == 12) {
    layout.width = little16(head, 4);
    layout.height = little16(head, 6);
    layout.bits = little16(head, 10);
    entry_bytes = 3;
  } else {
    layout.width = little32(head, 4);
    const std::uint32_t height = little32(head, 8);
    layout.top_down = height >> 24 == 0xFF;  // negative
    layout.height = layout.top_down ? std::uint32_t{0} - height : height;
    layout.bits = little16(head, 14);
    layout.compression = little32(head, 16);
    colors = little32(head, 32);
  }
  if (layout.bits != 1 && layout.bits != 4 && layout.bits != 8 && layout.bits != 16 && layout.bits != 24 &&
      layout.bits != 32)
    return unsupported(fmt::format("{} bits a pixel; 1, 4, 8, 16, 24 or 32 can be read", layout.bits));
  switch (layout.compression) {
    case raw: layout.masks = {0x7C00, 0x3E0, 0x1F, 0}; break;  // what 16 bits mean
    case rle8:
    case rle4:
      if (layout.bits != (layout.compression == rle8 ? 8u : 4u)) return bad("run lengths of another pixel size");
      break;
    case bit_fields:
      if (layout.bits < 16) return bad("bit fields for colour indices");
      if (std::string reason = read_masks(bytes, header_bytes, &layout); !reason.empty()) return bad(reason);
      if (header_bytes == 40) palette_at += 12;
      break;
    default: return unsupported(fmt::format("compression {}; 0 to 3 can be read", layout.compression));
  }
  if (layout.compression == raw && layout.bits >= 24) layout.masks = {0xFF0000, 0xFF00, 0xFF, 0};
  if (colors == 0) colors = std::size_t{1} << layout.bits;
  layout.pixels_at = little32(bytes, 10);
  if (layout.bits <= 8) {
    if (colors > 65536) return bad(fmt::format("a palette of {} colours", colors));
    const std::size_t size = std::min(colors * entry_bytes, bytes.size() - palette_at);
    read_palette(bytes.subspan(palette_at, size), entry_bytes, &layout);
    if (layout.pixels_at == 0 || layout.pixels_at == file_header_bytes + header_bytes)
      layout.pixels_at = palette_at + colors * entry_bytes;  // some writers forget the palette
  } else if (layout.pixels_at == 0) {
    layout.pixels_at = palette_at;
  }
  if (layout.pixels_at > bytes.size()) return bad("the pixels begin after the end of the file");
  return layout;
}

unsigned channel_of(std::uint32_t pixel, std::uint32_t mask) {
  if (mask == 0) return 0;
  const int shift = std::countr_zero(mask);
  const std::uint64_t most = mask >> shift;
  return static_cast<unsigned>(std::uint64_t{(pixel & mask) >> shift} * 255 / most);
}

void read_row(const Layout& layout, std::span<const std::byte> row, const Background& background, std::uint8_t* rgb) {
  const unsigned bits = layout.bits;
  for (std::size_t x = 0; x < static_cast<std::size_t>(layout.width); ++x, rgb += 3) {
    if (bits <= 8) {
      const unsigned shift = 8 - bits - static_cast<unsigned>(x * bits % 8);
      const unsigned index = std::to_integer<unsigned>(row[x * bits / 8]) >> shift & ((1u << bits) - 1);
      std::memcpy(rgb, layout.palette[index].data(), 3);
      continue;
    }
    const std::uint32_t pixel = little(row, x * bits / 8, bits / 8);
    std::uint8_t color[3];
    for (std::size_t c = 0; c < 3; ++c) color[c] = static_cast<std::uint8_t>(channel_of(pixel, layout.masks[c]));
    put_pixel(color, layout.masks[3] == 0 ? 255 : channel_of(pixel, layout.masks[3]), background, rgb);
  }
}

// Run-length codes: pairs of count and value; count 0 escapes to end of line, end of picture, a step, or plain pixels.
class RunReader {
 public:
  RunReader(std::span<const std::byte> bytes, const Layout& layout, Image* image)
      : bytes_(bytes), layout_(layout), image_(image), at_(layout.pixels_at), total_(layout.width * layout.height) {}

  bool read() {  // false: the file ends before the picture does
    while (position_ < total_) {
      if (bytes_.size() - at_ < 2) return false;
      const unsigned count = byte(at_), value = byte(at_ + 1);
      at_ += 2;
      if (count > 0) {
        repeat(count, value);
      } else if (value == 0) {
        position_ = (position_ + layout_.width - 1) / layout_.width * layout_.width;
        column_ = 0;
      } else if (value == 1) {
        return true;
      } else if (value == 2) {
        if (bytes_.size() - at_ < 2) return false;
        position_ = std::min<Dim>(total_, position_ + byte(at_) + Dim{byte(at_ + 1)} * layout_.width);
        column_ = position_ % layout_.width;
        at_ += 2;
      } else if (!copy(value)) {
        return false;
      }
    }
    return true;
  }

 private:
  unsigned byte(std::size_t at) const { return std::to_integer<unsigned>(bytes_[at]); }

  void put(unsigned index) {
    if (position_ >= total_) return;
    const Dim row = position_ / layout_.width, y = layout_.top_down ? row : layout_.height - 1 - row;
    std::memcpy(image_->row(y) + position_ % layout_.width * 3, layout_.palette[index].data(), 3);
    ++position_;
  }

  void repeat(unsigned count, unsigned value) {  // a run ends with its row
    const Dim run = std::clamp<Dim>(layout_.width - column_, 0, count);
    for (Dim i = 0; i < run; ++i) put(layout_.compression == rle8 ? value : i % 2 == 0 ? value >> 4 : value & 15);
    column_ += run;
  }

  bool copy(unsigned count) {
    const auto pixels = static_cast<std::size_t>(std::min<Dim>(count, total_ - position_));
    const std::size_t size = layout_.compression == rle8 ? pixels : (pixels + 1) / 2;
    if (bytes_.size() - at_ < size) return false;
    for (std::size_t i = 0; i < pixels; ++i)
      put(layout_.compression == rle8 ? byte(at_ + i) : byte(at_ + i / 2) >> (i % 2 == 0 ? 4 : 0) & 15);
    at_ += size;
    column_ += count;
    if (at_ % 2 != 0 && at_ < bytes_.size()) ++at_;  // words
    return true;
  }

  std::span<const std::byte> bytes_;
  const Layout& layout_;
  Image* image_;
  std::size_t at_;
  Dim position_ = 0, total_, column_ = 0;  // in pixels, rows in the order of the file
};

}  // namespace

Result<Header> bmp_header(std::span<const std::byte> bytes, std::string_view what, const DecodeOptions&) {
  const Result<Layout> layout = read_layout(bytes, what);
  if (!layout) return layout.error();
  Header header;
  header.info.format = ImageFormat::bmp;
  header.info.width = layout->width;
  header.info.height = layout->height;
  if (!is_run_coded(*layout))
    header.least_bytes = static_cast<double>(layout->pixels_at) +
                         static_cast<double>(layout->row_bytes()) * static_cast<double>(layout->height);
  return header;
}

Result<Image> decode_bmp(std::span<const std::byte> bytes, std::string_view what, const Header&,
                         const DecodeOptions& options) {
  const Layout layout = read_layout(bytes, what).value();  // the header was read before
  Image image(layout.width, layout.height);
  if (is_run_coded(layout)) {
    for (std::size_t i = 0; i < image.pixels.size(); i += 3) std::memcpy(&image.pixels[i], layout.palette[0].data(), 3);
    if (!RunReader(bytes, layout, &image).read())
      return bad_picture(what, ImageFormat::bmp, "the file ends before the picture does");
    return image;
  }
  const std::size_t row_bytes = layout.row_bytes();
  for (Dim row = 0; row < layout.height; ++row)
    read_row(layout, bytes.subspan(layout.pixels_at + static_cast<std::size_t>(row) * row_bytes, row_bytes),
             options.background, image.row(layout.top_down ? row : layout.height - 1 - row));
  return image;
}

}  // namespace tap::codec
