#include "media/text_mask.h"

#include <algorithm>
#include <array>

#include <ft2build.h>
#include FT_FREETYPE_H

#include "base/file.h"
#include "media/font8x16.h"

namespace tap::media {

struct TextPainter::Face {
  FT_Library library = nullptr;
  FT_Face face = nullptr;
  ~Face() {
    if (face) FT_Done_Face(face);
    if (library) FT_Done_FreeType(library);
  }
  bool open(const std::string& file, int size_px) {
    return FT_Init_FreeType(&library) == 0 && FT_New_Face(library, file.c_str(), 0, &face) == 0 &&
           FT_Set_Pixel_Sizes(face, 0, static_cast<FT_UInt>(size_px)) == 0;
  }
  bool load(char32_t letter, bool render) const {
    return FT_Load_Char(face, letter, (render ? FT_LOAD_RENDER : FT_LOAD_DEFAULT) | FT_LOAD_TARGET_LIGHT) == 0;
  }
  Dim ascent() const { return (face->size->metrics.ascender + 63) / 64; }
  Dim height() const { return ascent() + (63 - face->size->metrics.descender) / 64; }
};

namespace {

constexpr std::size_t longest_text = 256;  // letters; a label is no essay
constexpr int letter_width = 8, letter_height = 16;

std::vector<char32_t> letters_of(std::string_view text) {
  std::vector<char32_t> out;
  for (std::size_t i = 0; i < text.size() && out.size() < longest_text;) {
    const auto first = static_cast<unsigned char>(text[i++]);
    int more = first < 0x80                    ? 0
               : first >= 0xC2 && first < 0xE0 ? 1
               : first >= 0xE0 && first < 0xF0 ? 2
               : first >= 0xF0 && first < 0xF5 ? 3
                                               : -1;
    char32_t letter = more < 0 ? U'\uFFFD' : more == 0 ? first : first & (0x3Fu >> more);
    for (; more > 0; --more) {
      if (i >= text.size() || (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) {
        letter = U'\uFFFD';
        break;
      }
      letter = letter << 6 | (static_cast<unsigned char>(text[i++]) & 0x3Fu);
    }
    out.push_back(letter < 0x20 || (letter >= 0x7F && letter < 0xA0) ? U' ' : letter);
  }
  return out;
}

}  // namespace

TextPainter::TextPainter(const std::string& font_file, int size_px) : size_px_(std::max(4, size_px)) {
  if (font_file.empty()) return;
  face_ = std::make_unique<Face>();
  if (!face_->open(font_file, size_px_)) face_.reset();
}

TextPainter::~TextPainter() = default;

// Width of the text; ends[i] is where letter i ends.
Dim TextPainter::advance_to(const std::vector<char32_t>& text, std::vector<Dim>& ends) const {
  const Dim factor = std::max(1, (size_px_ + 8) / letter_height);
  Dim at_64ths = 0;
  ends.clear();
  for (const char32_t letter : text) {
    if (!face_)
      at_64ths += letter_width * factor * 64;
    else if (face_->load(letter, false))
      at_64ths += face_->face->glyph->advance.x;
    ends.push_back((at_64ths + 63) / 64);
  }
  return ends.empty() ? 0 : ends.back();
}

TextMask TextPainter::paint_letters(const std::vector<char32_t>& text) const {
  TextMask mask;
  std::vector<Dim> ends;
  mask.width = advance_to(text, ends);
  if (!face_) {
    const Dim factor = std::max(1, (size_px_ + 8) / letter_height);
    mask.height = letter_height * factor;
    mask.alpha.resize(static_cast<std::size_t>(mask.width * mask.height));
    constexpr std::uint8_t box[letter_height] = {0,    0,    0,    0x7e, 0x42, 0x42, 0x42, 0x42,
                                                 0x42, 0x42, 0x42, 0x42, 0x7e, 0,    0,    0};
    for (Dim y = 0; y < mask.height; ++y)
      for (Dim x = 0; x < mask.width; ++x) {
        const char32_t letter = text[static_cast<std::size_t>(x / (letter_width * factor))];
        const std::uint8_t* rows = letter >= 32 && letter < 127 ? font8x16[letter - 32] : box;
        if (rows[y / factor] >> (7 - x / factor % letter_width) & 1)
          mask.alpha[static_cast<std::size_t>(y * mask.width + x)] = 255;
      }
    return mask;
  }
  mask.height = face_->height();
  mask.alpha.resize(static_cast<std::size_t>(mask.width * mask.height));
  Dim at_64ths = 0;
  for (const char32_t letter : text) {
    if (!face_->load(letter, true)) continue;
    const FT_GlyphSlot glyph = face_->face->glyph;
    if (glyph->bitmap.rows > 0 && glyph->bitmap.pixel_mode != FT_PIXEL_MODE_GRAY)
      continue;  // a strike of bits or colours
    const Dim left = at_64ths / 64 + glyph->bitmap_left, top = face_->ascent() - glyph->bitmap_top;
    for (Dim y = 0; y < glyph->bitmap.rows; ++y)
      for (Dim x = 0; x < glyph->bitmap.width; ++x) {
        const Dim to_x = left + x, to_y = top + y;
        if (to_x < 0 || to_x >= mask.width || to_y < 0 || to_y >= mask.height) continue;
        std::uint8_t& to = mask.alpha[static_cast<std::size_t>(to_y * mask.width + to_x)];
        to = std::max(to, glyph->bitmap.buffer[y * glyph->bitmap.pitch + x]);
      }
    at_64ths += glyph->advance.x;
  }
  return mask;
}

TextMask TextPainter::paint(std::string_view utf8, Dim max_width_px) const {
  std::vector<char32_t> text = letters_of(utf8);
  std::vector<Dim> ends;
  if (advance_to(text, ends) > max_width_px) {
    const std::vector<char32_t> dots(3, U'.');
    std::vector<Dim> dot_ends;
    const Dim room = max_width_px - advance_to(dots, dot_ends);
    const auto kept = std::upper_bound(ends.begin(), ends.end(), room) - ends.begin();
    text.resize(static_cast<std::size_t>(kept));
    if (room > 0) text.insert(text.end(), dots.begin(), dots.end());
  }
  return paint_letters(text);
}

std::string default_font_file() {
  for (const char* file :
       {"/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
        "/usr/share/fonts/TTF/DejaVuSans.ttf", "/usr/share/fonts/dejavu/DejaVuSans.ttf"})
    if (file_exists(file)) return file;
  return {};
}

}  // namespace tap::media
