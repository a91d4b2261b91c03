// GIF. The blocks are walked here, so that all frames are counted without decoding one; giflib unpacks the pixels of
// one frame after the other up to the one that is wanted, and they are composed as Pillow's GifImagePlugin does.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include <gif_lib.h>

#include "codec/format.h"
#include "codec/pixels.h"

namespace tap::codec {

namespace {

constexpr std::size_t screen_bytes = 13, descriptor_bytes = 9;
constexpr int keep_disposal = 1, background_disposal = 2;  // higher: what was there before (3)
// A code of 12 bits stands for at most 4094 pixels.
constexpr double pixels_per_byte = 4094 / 1.5;

struct Area {
  Dim x = 0, y = 0, width = 0, height = 0;
};

struct Frame {
  Area area;
  bool interlaced = false;
  int transparent = -1;                // colour index
  int disposal = 0;                    // what happens to the frame when the next one is drawn
  std::span<const std::byte> palette;  // RGB triples; empty: indices are grey values
  std::size_t pixels_at = 0;           // LZW code size and sub-blocks
};

// A palette in which each colour i is the grey i says nothing (GifImagePlugin._is_palette_needed).
bool is_grey_ramp(std::span<const std::byte> palette) {
  for (std::size_t i = 0; i < palette.size(); ++i)
    if (std::to_integer<std::size_t>(palette[i]) != i / 3) return false;
  return true;
}

class Walker {
 public:
  explicit Walker(std::span<const std::byte> bytes) : bytes_(bytes), at_(screen_bytes) {
    const unsigned flags = byte(10);
    width = little16(bytes, 6);
    height = little16(bytes, 8);
    if (flags & 0x80) {
      background = static_cast<int>(byte(11));
      global_ = read_palette(flags);
    }
  }

  // The next frame whose description is whole.
  bool next(Frame* frame) {
    *frame = Frame{};
    while (at_ < bytes_.size()) {
      const unsigned kind = byte(at_++);
      if (kind == ';') return false;
      if (kind == '!') read_extension(frame);
      if (kind == ',') return read_description(frame);  // anything else between blocks is skipped
    }
    return false;
  }

  Dim width = 0, height = 0;
  int background = 0;  // colour index

 private:
  unsigned byte(std::size_t at) const { return std::to_integer<unsigned>(bytes_[at]); }

  std::span<const std::byte> read_palette(unsigned flags) {
    const std::size_t size = std::min<std::size_t>(std::size_t{3} << ((flags & 7) + 1), bytes_.size() - at_);
    const std::span<const std::byte> palette = bytes_.subspan(at_, size);
    at_ += size;
    return is_grey_ramp(palette) ? std::span<const std::byte>() : palette;
  }

  void skip_blocks() {
    while (at_ < bytes_.size()) {
      const std::size_t size = byte(at_++);
      if (size == 0) return;
      at_ += std::min(size, bytes_.size() - at_);
    }
  }

  void read_extension(Frame* frame) {
    if (bytes_.size() - at_ >= 6 && byte(at_) == 0xF9 && byte(at_ + 1) >= 4) {
      const unsigned flags = byte(at_ + 2);
      if (flags & 1) frame->transparent = static_cast<int>(byte(at_ + 5));
      if (const int disposal = static_cast<int>(flags >> 2 & 7)) disposal_ = disposal;  // "unspecified" changes nothing
    }
    if (at_ < bytes_.size()) ++at_;
    skip_blocks();
  }

  bool read_description(Frame* frame) {
    if (bytes_.size() - at_ <= descriptor_bytes) {
      at_ = bytes_.size();
      return false;
    }
    frame->area = {little16(bytes_, at_), little16(bytes_, at_ + 2), little16(bytes_, at_ + 4),
                   little16(bytes_, at_ + 6)};
    const unsigned flags = byte(at_ + 8);
    at_ += descriptor_bytes;
    frame->interlaced = (flags & 0x40) != 0;
    frame->palette = flags & 0x80 ? read_palette(flags) : global_;
    frame->disposal = disposal_;
    frame->pixels_at = at_;
    width = std::max(width, frame->area.x + frame->area.width);  // a frame outside the screen widens it, as in Pillow
    height = std::max(height, frame->area.y + frame->area.height);
    if (at_ < bytes_.size()) ++at_;  // the code size
    skip_blocks();
    return true;
  }

  std::span<const std::byte> bytes_, global_;
  std::size_t at_;
  int disposal_ = keep_disposal;
};

// One frame through giflib: it sees a file of that frame alone, without palettes.
class FrameReader {
 public:
  FrameReader(std::span<const std::byte> bytes, const Frame& frame) : frame_(frame), rest_(bytes) {
    std::memcpy(head_, "GIF89a", 6);
    put16(6, frame.area.width), put16(8, frame.area.height);
    head_[screen_bytes] = ',';
    put16(screen_bytes + 5, frame.area.width), put16(screen_bytes + 7, frame.area.height);
    rest_ = bytes.subspan(frame.pixels_at);
  }

  // Calls line(y, indices) for each row of the frame; false when the data ends or makes no sense.
  template <class Line>
  bool read(Line&& line) {
    int error = 0;
    const std::unique_ptr<GifFileType, void (*)(GifFileType*)> file(DGifOpen(this, take, &error), [](GifFileType* f) {
      int ignored = 0;
      if (f) DGifCloseFile(f, &ignored);
    });
    GifRecordType kind = UNDEFINED_RECORD_TYPE;
    if (!file || DGifGetRecordType(file.get(), &kind) != GIF_OK || kind != IMAGE_DESC_RECORD_TYPE ||
        DGifGetImageDesc(file.get()) != GIF_OK)
      return false;
    std::vector<GifPixelType> row(static_cast<std::size_t>(frame_.area.width));
    constexpr Dim starts[] = {0, 4, 2, 1}, steps[] = {8, 8, 4, 2};
    for (int pass = 0; pass < (frame_.interlaced ? 4 : 1); ++pass)
      for (Dim y = frame_.interlaced ? starts[pass] : 0; y < frame_.area.height;
           y += frame_.interlaced ? steps[pass] : 1) {
        if (DGifGetLine(file.get(), row.data(), static_cast<int>(row.size())) != GIF_OK) return false;
        line(y, static_cast<const std::uint8_t*>(row.data()));
      }
    return true;
  }

 private:
  void put16(std::size_t at, Dim value) {
    head_[at] = static_cast<std::uint8_t>(value & 0xFF);
    head_[at + 1] = static_cast<std::uint8_t>(value >> 8);
  }

  static int take(GifFileType* file, GifByteType* out, int count) {
    auto* self = static_cast<FrameReader*>(file->UserData);
    int done = 0;
    for (; done < count; ++done) {
      if (self->head_at_ < sizeof self->head_) {
        out[done] = self->head_[self->head_at_++];
      } else if (self->rest_at_ < self->rest_.size()) {
        out[done] = std::to_integer<GifByteType>(self->rest_[self->rest_at_++]);
      } else {
        break;
      }
    }
    return done;
  }

  const Frame& frame_;
  std::uint8_t head_[screen_bytes + 1 + descriptor_bytes] = {};
  std::size_t head_at_ = 0, rest_at_ = 0;
  std::span<const std::byte> rest_;
};

using Rgba = std::array<std::uint8_t, 4>;

Rgba color_of(std::span<const std::byte> palette, int index) {
  if (palette.empty()) {
    const auto grey = static_cast<std::uint8_t>(index);
    return {grey, grey, grey, 255};
  }
  const std::size_t at = static_cast<std::size_t>(index) * 3;
  if (at + 3 > palette.size()) return {0, 0, 0, 255};
  return {std::to_integer<std::uint8_t>(palette[at]), std::to_integer<std::uint8_t>(palette[at + 1]),
          std::to_integer<std::uint8_t>(palette[at + 2]), 255};
}

std::array<Rgba, 256> colors_of(std::span<const std::byte> palette, int transparent) {
  std::array<Rgba, 256> colors;
  for (int i = 0; i < 256; ++i) colors[static_cast<std::size_t>(i)] = color_of(palette, i);
  if (transparent >= 0) colors[static_cast<std::size_t>(transparent)][3] = 0;
  return colors;
}

// Pixels of any size in bytes (1: colour indices, 4: RGBA), with the operations that composing takes.
class Canvas {
 public:
  Canvas(Dim width, Dim height, std::span<const std::uint8_t> color)
      : width_(width), height_(height), pixel_(static_cast<Dim>(color.size())) {
    pixels_.resize(static_cast<std::size_t>(width * height * pixel_));
    fill({0, 0, width, height}, color);
  }
  std::uint8_t* at(Dim x, Dim y) { return pixels_.data() + (y * width_ + x) * pixel_; }
  Dim width() const { return width_; }
  Dim height() const { return height_; }
  std::size_t size() const { return static_cast<std::size_t>(width_ * height_); }

  void fill(const Area& area, std::span<const std::uint8_t> color) {
    for (Dim y = area.y; y < area.y + area.height; ++y)
      for (Dim x = area.x; x < area.x + area.width; ++x)
        std::memcpy(at(x, y), color.data(), static_cast<std::size_t>(pixel_));
  }
  // What lies in the area; zeros outside the canvas.
  Canvas crop(const Area& area) {
    const Rgba nothing{};
    Canvas out(area.width, area.height, std::span(nothing).first(static_cast<std::size_t>(pixel_)));
    const Dim columns = std::min(area.width, width_ - area.x), rows = std::min(area.height, height_ - area.y);
    for (Dim y = 0; y < rows && columns > 0; ++y)
      std::memcpy(out.at(0, y), at(area.x, area.y + y), static_cast<std::size_t>(columns * pixel_));
    return out;
  }
  void paste(Canvas& from, Dim x, Dim y) {
    for (Dim row = 0; row < from.height_ && from.width_ > 0; ++row)
      std::memcpy(at(x, y + row), from.at(0, row), static_cast<std::size_t>(from.width_ * pixel_));
  }
  void grow(Dim width, Dim height, std::span<const std::uint8_t> color) {
    if (width == width_ && height == height_) return;
    Canvas wider(width, height, color);
    wider.paste(*this, 0, 0);
    *this = std::move(wider);
  }

 private:
  Dim width_, height_, pixel_;
  std::vector<std::uint8_t> pixels_;
};

constexpr std::array<std::uint8_t, 1> index_zero{0};

// The first frame is a picture of colour indices. From the second on the canvas is RGBA, except that a first frame
// without a palette stays a picture of grey values to which only the first frame's transparency applies.
class Composer {
 public:
  Composer(std::span<const std::byte> bytes, int background) : bytes_(bytes), background_(background) {}

  // Draws a frame on a canvas of width x height. `last`: what would happen to it afterwards is not needed.
  bool draw(const Frame& frame, Dim width, Dim height, bool last) {
    dispose();
    if (!canvas_) {
      palette_ = frame.palette;
      transparent_ = frame.transparent;
      if (!last) plan_first_disposal(frame);
      const std::array<std::uint8_t, 1> fill{static_cast<std::uint8_t>(std::max(0, transparent_))};
      canvas_.emplace(width, height, fill);
      return draw_indices(frame, -1);
    }
    if (is_indexed_ && !(palette_.empty() && frame.palette.empty())) to_rgba(*canvas_);
    if (!last) plan_disposal(frame);
    if (is_indexed_) {
      canvas_->grow(width, height, index_zero);
      return draw_indices(frame, frame.transparent);
    }
    if (canvas_->size() != static_cast<std::size_t>(width * height)) {
      has_alpha_ = frame.transparent >= 0;
      canvas_->grow(width, height, has_alpha_ ? Rgba{} : color_of(frame.palette, 0));
    }
    return draw_colors(frame);
  }

  Image result(Dim width, Dim height, const Background& background) {
    saved_.reset();
    Image image(width, height);
    std::uint8_t* out = image.pixels.data();
    if (is_indexed_) {
      const std::array<Rgba, 256> colors = colors_of(palette_, transparent_);
      std::array<std::array<std::uint8_t, 3>, 256> laid;
      for (std::size_t i = 0; i < 256; ++i) put_pixel(colors[i].data(), colors[i][3], background, laid[i].data());
      const std::uint8_t* from = canvas_->at(0, 0);
      for (std::size_t i = 0; i < canvas_->size(); ++i, out += 3) std::memcpy(out, laid[from[i]].data(), 3);
    } else {
      lay_rgba(canvas_->at(0, 0), canvas_->size(), has_alpha_ ? background : Background(), out);
    }
    return image;
  }

 private:
  bool draw_indices(const Frame& frame, int skip) {
    return FrameReader(bytes_, frame).read([&](Dim y, const std::uint8_t* row) {
      std::uint8_t* to = canvas_->at(frame.area.x, frame.area.y + y);
      for (Dim x = 0; x < frame.area.width; ++x)
        if (row[x] != skip) to[x] = row[x];
    });
  }

  bool draw_colors(const Frame& frame) {
    const std::array<Rgba, 256> colors = colors_of(frame.palette, frame.transparent);
    return FrameReader(bytes_, frame).read([&](Dim y, const std::uint8_t* row) {
      std::uint8_t* to = canvas_->at(frame.area.x, frame.area.y + y);
      for (Dim x = 0; x < frame.area.width; ++x, to += 4)
        if (colors[row[x]][3] != 0) std::memcpy(to, colors[row[x]].data(), 4);
    });
  }

  void to_rgba(Canvas& indices) {
    const std::array<Rgba, 256> colors = colors_of(palette_, transparent_);
    Canvas rgba(indices.width(), indices.height(), Rgba{});
    const std::uint8_t* from = indices.at(0, 0);
    std::uint8_t* to = rgba.at(0, 0);
    for (std::size_t i = 0; i < indices.size(); ++i, to += 4) std::memcpy(to, colors[from[i]].data(), 4);
    *canvas_ = std::move(rgba);
    is_indexed_ = false;
    has_alpha_ = transparent_ >= 0;
  }

  // Before anything was drawn there is nothing to go back to but transparency.
  void plan_first_disposal(const Frame& frame) {
    if (frame.disposal < background_disposal || (frame.disposal > background_disposal && frame.transparent < 0)) return;
    disposed_ = frame.area;
    fill_[0] = static_cast<std::uint8_t>(frame.transparent >= 0 ? frame.transparent : background_);
  }

  void plan_disposal(const Frame& frame) {
    if (frame.disposal < background_disposal) return;
    disposed_ = frame.area;
    if (frame.disposal > background_disposal) {
      saved_.emplace(canvas_->crop(frame.area));
    } else if (is_indexed_) {
      const int clear = transparent_ >= 0 ? transparent_ : frame.transparent;
      fill_[0] = static_cast<std::uint8_t>(clear >= 0 ? clear : background_);
    } else {
      const int index = frame.transparent >= 0 ? frame.transparent : background_;
      const bool inside = frame.palette.empty() || static_cast<std::size_t>(index) * 3 + 3 <= frame.palette.size();
      fill_ = color_of(frame.palette, inside ? index : 0);
      if (frame.transparent >= 0) fill_[3] = 0;
    }
  }

  void dispose() {
    if (!disposed_) return;
    if (saved_) {
      canvas_->paste(*saved_, disposed_->x, disposed_->y);
    } else {
      canvas_->fill(*disposed_, std::span(fill_).first(is_indexed_ ? 1 : 4));
    }
    saved_.reset();
    disposed_.reset();
  }

  std::span<const std::byte> bytes_;
  int background_, transparent_ = -1;     // colour indices; transparent_ is the first frame's
  std::span<const std::byte> palette_;    // the first frame's
  std::optional<Canvas> canvas_, saved_;  // saved_: what a frame covers and gives back
  bool is_indexed_ = true, has_alpha_ = false;
  std::optional<Area> disposed_;  // what the last frame leaves to be undone
  Rgba fill_{};
};

}  // namespace

Result<Header> gif_header(std::span<const std::byte> bytes, std::string_view what, const DecodeOptions& options) {
  if (bytes.size() < screen_bytes) return bad_picture(what, ImageFormat::gif, "the file ends inside the header");
  Header header;
  header.info.format = ImageFormat::gif;
  header.info.frames = 0;
  Walker walker(bytes);
  bool grows = false;
  for (Frame frame; walker.next(&frame); ++header.info.frames) {
    if (header.info.frames > options.frame) continue;  // only counted
    const bool wider = walker.width != header.info.width || walker.height != header.info.height;
    const double pixels = static_cast<double>(frame.area.width) * static_cast<double>(frame.area.height);
    if (static_cast<double>(bytes.size() - frame.pixels_at) < pixels / pixels_per_byte)
      return bad_picture(
          what, ImageFormat::gif,
          fmt::format("frame {} declares {}x{} pixels, which the {} bytes left cannot hold", header.info.frames,
                      frame.area.width, frame.area.height, bytes.size() - frame.pixels_at));
    header.info.width = walker.width;
    header.info.height = walker.height;
    const double canvas = static_cast<double>(walker.width) * static_cast<double>(walker.height);
    header.work_pixels += pixels + (frame.disposal >= background_disposal ? pixels : 0) + (wider ? canvas : 0);
    grows = grows || (wider && header.info.frames > 0);
  }
  if (header.info.frames == 0) return bad_picture(what, ImageFormat::gif, "no picture in the file");
  // Beside the RGB result: indices; or RGBA and what a frame covered; and a second canvas where it grows.
  header.work_bytes = static_cast<double>(header.info.width) * static_cast<double>(header.info.height) *
                      (options.frame == 0 ? 1
                       : grows            ? 9
                                          : 5);
  return header;
}

Result<Image> decode_gif(std::span<const std::byte> bytes, std::string_view what, const Header& header,
                         const DecodeOptions& options) {
  Walker walker(bytes);
  Composer composer(bytes, walker.background);
  for (Dim i = 0; i <= options.frame; ++i) {
    Frame frame;
    TAP_ASSERT(walker.next(&frame));  // the header counted them
    if (!composer.draw(frame, walker.width, walker.height, i == options.frame))
      return bad_picture(what, ImageFormat::gif, fmt::format("the pixels of frame {} are damaged or cut", i));
  }
  return composer.result(header.info.width, header.info.height, options.background);
}

}  // namespace tap::codec
