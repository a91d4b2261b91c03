// Text as coverage, for drawing. Inside media only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/dim.h"

namespace tap::media {

struct TextMask {
  Dim width = 0, height = 0;        // height is the line's: the same for every text of a painter
  std::vector<std::uint8_t> alpha;  // [height, width], 255 = ink
};

class TextPainter {
 public:
  // font_file empty or unreadable: the built-in 8x16 letters, enlarged by whole factors. `size_px` is the em size.
  TextPainter(const std::string& font_file, int size_px);
  ~TextPainter();
  // One line. Control characters become spaces, broken UTF-8 U+FFFD, characters without a glyph a box. Text wider than
  // max_width_px is cut and ends in "...".
  TextMask paint(std::string_view utf8, Dim max_width_px) const;
  bool built_in() const { return !face_; }

 private:
  struct Face;
  TextMask paint_letters(const std::vector<char32_t>& text) const;
  Dim advance_to(const std::vector<char32_t>& text, std::vector<Dim>& ends) const;
  std::unique_ptr<Face> face_;
  int size_px_;
};

std::string default_font_file();  // DejaVu Sans where distributions put it; empty when it is nowhere

}  // namespace tap::media
