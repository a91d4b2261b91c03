// PBM, PGM, PPM and PAM (P1 to P7). Values are scaled as Pillow's PpmImagePlugin does; grey of more than 8 bits keeps
// its high byte.
#include <algorithm>
#include <cmath>
#include <vector>

#include "codec/format.h"
#include "codec/pixels.h"

namespace tap::codec {

namespace {

struct Layout {
  int kind = 0;  // the digit after P
  Dim width = 0, height = 0;
  int channels = 1;
  unsigned max_value = 1;
  bool has_alpha = false;
  std::size_t pixels_at = 0;

  bool is_text() const { return kind <= 3; }
  bool is_bits() const { return kind == 1 || kind == 4; }
  std::size_t sample_bytes() const { return max_value > 255 ? 2 : 1; }
  std::size_t row_bytes() const {
    const auto samples = static_cast<std::size_t>(width) * static_cast<std::size_t>(channels + (has_alpha ? 1 : 0));
    return kind == 4 ? (samples + 7) / 8 : samples * sample_bytes();
  }
};

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Words of a text with comments from # to the end of the line.
class Words {
 public:
  Words(std::span<const std::byte> bytes, std::size_t at)
      : text_(reinterpret_cast<const char*>(bytes.data()), bytes.size()), at_(at) {}

  // The next word of at most 10 characters; the white space after it is consumed. Empty at the end.
  std::string_view next() {
    skip();
    const std::size_t first = at_;
    while (at_ < text_.size() && !is_space(text_[at_]) && text_[at_] != '#' && at_ - first <= most) ++at_;
    const std::string_view word = text_.substr(first, at_ - first);
    if (at_ < text_.size() && is_space(text_[at_])) ++at_;
    return word;
  }
  std::optional<std::uint32_t> number() { return number_of(next()); }
  // The next character that is neither white space nor comment; 0 at the end.
  char character() {
    skip();
    return at_ < text_.size() ? text_[at_++] : '\0';
  }
  std::size_t at() const { return at_; }

  static std::optional<std::uint32_t> number_of(std::string_view word) {
    if (word.empty() || word.size() > most) return std::nullopt;
    std::uint64_t value = 0;
    for (const char c : word) {
      if (c < '0' || c > '9') return std::nullopt;
      value = value * 10 + static_cast<unsigned>(c - '0');
    }
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, 0xFFFFFFFF));
  }

 private:
  static constexpr std::size_t most = 10;

  void skip() {
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '#')
        while (at_ < text_.size() && text_[at_] != '\n' && text_[at_] != '\r') ++at_;
      if (at_ == text_.size() || !is_space(text_[at_])) return;
    }
  }

  std::string_view text_;
  std::size_t at_;
};

// PAM: lines of a name and a value up to ENDHDR. The text of what is wrong.
std::string read_pam(std::span<const std::byte> bytes, Layout* layout) {
  constexpr std::size_t max_header_bytes = 4096;
  Words words(bytes.first(std::min(bytes.size(), max_header_bytes)), 2);
  std::optional<std::uint32_t> width, height, depth, max_value;
  for (std::string_view name = words.next(); name != "ENDHDR"; name = words.next()) {
    if (name == "TUPLTYPE") {
      words.next();
    } else if (name == "WIDTH") {
      width = words.number();
    } else if (name == "HEIGHT") {
      height = words.number();
    } else if (name == "DEPTH") {
      depth = words.number();
    } else if (name == "MAXVAL") {
      max_value = words.number();
    } else if (name.empty()) {
      return "the header has no ENDHDR";
    }
  }
  if (!width || !height || !depth || !max_value) return "the header wants WIDTH, HEIGHT, DEPTH and MAXVAL";
  if (*depth < 1 || *depth > 4) return fmt::format("DEPTH {}; 1 to 4 can be read", *depth);
  layout->width = *width;
  layout->height = *height;
  layout->channels = *depth >= 3 ? 3 : 1;
  layout->has_alpha = *depth % 2 == 0;
  layout->max_value = *max_value;
  layout->pixels_at = words.at();
  return "";
}

std::string read_numbers(std::span<const std::byte> bytes, Layout* layout) {
  Words words(bytes, 2);
  const auto width = words.number(), height = words.number();
  const auto max_value = layout->is_bits() ? std::optional<std::uint32_t>(1) : words.number();
  if (!width || !height || !max_value) return "the header wants a width, a height and the largest value";
  layout->width = *width;
  layout->height = *height;
  layout->channels = layout->kind % 3 == 0 ? 3 : 1;
  layout->max_value = *max_value;
  layout->pixels_at = words.at();
  return "";
}

Result<Layout> read_layout(std::span<const std::byte> bytes, std::string_view what) {
  Layout layout;
  layout.kind = std::to_integer<int>(bytes[1]) - '0';
  std::string reason = layout.kind == 7 ? read_pam(bytes, &layout) : read_numbers(bytes, &layout);
  if (reason.empty() && (layout.max_value < 1 || layout.max_value > 65535))
    reason = fmt::format("the largest value is {}, must be 1 to 65535", layout.max_value);
  if (!reason.empty()) return bad_picture(what, ImageFormat::ppm, reason);
  return layout;
}

// Python's round(value / max_value * most), half to even, in the same order of operations.
unsigned scaled(unsigned value, unsigned max_value, unsigned most) {
  const double exact = static_cast<double>(value) / max_value * most;
  return std::min(most, static_cast<unsigned>(std::nearbyint(exact)));
}

// How each stored value looks in 8 bits.
std::vector<std::uint8_t> table_of(const Layout& layout) {
  const bool is_deep_grey = layout.channels == 1 && layout.max_value > 255;
  std::vector<std::uint8_t> table(layout.sample_bytes() == 2 ? 65536 : 256);
  for (unsigned v = 0; v < table.size(); ++v)
    table[v] = static_cast<std::uint8_t>(is_deep_grey ? scaled(v, layout.max_value, 65535) >> 8
                                                      : scaled(v, layout.max_value, 255));
  return table;
}

// The text of what is wrong.
std::string read_text(std::span<const std::byte> bytes, const Layout& layout, Image* image) {
  Words words(bytes, layout.pixels_at);
  const std::vector<std::uint8_t> table = table_of(layout);
  std::uint8_t* out = image->pixels.data();
  for (Dim i = 0; i < layout.width * layout.height * layout.channels; ++i) {
    std::uint8_t value = 0;
    if (layout.kind == 1) {
      const char digit = words.character();
      if (digit == '\0') return "the file ends before the picture does";
      if (digit != '0' && digit != '1') return "a pixel that is neither 0 nor 1";
      value = digit == '0' ? 255 : 0;
    } else {
      const std::string_view word = words.next();
      if (word.empty()) return "the file ends before the picture does";
      const std::optional<std::uint32_t> number = Words::number_of(word);
      if (!number || *number > layout.max_value) return fmt::format("a value that is not 0 to {}", layout.max_value);
      value = table[*number];
    }
    if (layout.channels == 3) {
      *out++ = value;
    } else {
      for (int c = 0; c < 3; ++c) *out++ = value;
    }
  }
  return "";
}

void read_bits(std::span<const std::byte> bytes, const Layout& layout, Image* image) {
  for (Dim y = 0; y < layout.height; ++y) {
    const auto row = bytes.subspan(layout.pixels_at + static_cast<std::size_t>(y) * layout.row_bytes());
    std::uint8_t* out = image->row(y);
    for (std::size_t x = 0; x < static_cast<std::size_t>(layout.width); ++x, out += 3) {
      const bool is_black = (std::to_integer<unsigned>(row[x / 8]) >> (7 - x % 8) & 1) != 0;
      out[0] = out[1] = out[2] = is_black ? 0 : 255;
    }
  }
}

void read_samples(std::span<const std::byte> bytes, const Layout& layout, const Background& background, Image* image) {
  const std::vector<std::uint8_t> table = table_of(layout);
  const std::size_t size = layout.sample_bytes();
  std::size_t at = layout.pixels_at;
  const auto next = [&] {
    unsigned value = std::to_integer<unsigned>(bytes[at]);
    if (size == 2) value = value << 8 | std::to_integer<unsigned>(bytes[at + 1]);
    at += size;
    return table[value];
  };
  for (std::size_t i = 0; i < image->pixels.size(); i += 3) {
    std::uint8_t rgb[3];
    for (int c = 0; c < 3; ++c) rgb[c] = c == 0 || layout.channels == 3 ? next() : rgb[0];
    put_pixel(rgb, layout.has_alpha ? next() : 255, background, &image->pixels[i]);
  }
}

}  // namespace

Result<Header> ppm_header(std::span<const std::byte> bytes, std::string_view what, const DecodeOptions&) {
  const Result<Layout> layout = read_layout(bytes, what);
  if (!layout) return layout.error();
  Header header;
  header.info.format = ImageFormat::ppm;
  header.info.width = layout->width;
  header.info.height = layout->height;
  const double samples = static_cast<double>(layout->width) * static_cast<double>(layout->height) * layout->channels;
  header.least_bytes = static_cast<double>(layout->pixels_at);
  if (layout->kind == 1) {
    header.least_bytes += samples;
  } else if (layout->is_text()) {
    header.least_bytes += 2 * samples - 1;  // a digit and a blank
  } else {
    header.least_bytes += static_cast<double>(layout->row_bytes()) * static_cast<double>(layout->height);
  }
  return header;
}

Result<Image> decode_ppm(std::span<const std::byte> bytes, std::string_view what, const Header&,
                         const DecodeOptions& options) {
  const Layout layout = read_layout(bytes, what).value();  // the header was read before
  Image image(layout.width, layout.height);
  if (layout.is_text()) {
    if (const std::string reason = read_text(bytes, layout, &image); !reason.empty())
      return bad_picture(what, ImageFormat::ppm, reason);
  } else if (layout.is_bits()) {
    read_bits(bytes, layout, &image);
  } else {
    read_samples(bytes, layout, options.background, &image);
  }
  return image;
}

}  // namespace tap::codec
