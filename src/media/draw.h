// Results drawn on pictures, for people.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>

#include "codec/image.h"
#include "media/rle.h"

namespace tap {

struct DrawnBox {
  std::string label;                      // UTF-8; may be empty
  double x1 = 0, y1 = 0, x2 = 0, y2 = 0;  // pixels of the picture; cut to it
  std::optional<double> score;            // shown as a percentage
  bool point = false;                     // a dot at (x1, y1) instead of a frame
  const MaskRuns* mask = nullptr;         // of the whole picture: filled; of another size it is left out
};

struct DrawOptions {
  // A TrueType file; nullopt looks for DejaVu Sans, and without any font the built-in letters serve.
  std::optional<std::string> font_file;
};

// Frames with label chips; widths and letters grow with the picture. A label has the same colour in every picture
// unless two labels of one picture would share it. Chips stay inside the picture and off each other where there is
// room.
void draw_boxes(Image& image, std::span<const DrawnBox> boxes, const DrawOptions& options = {});

}  // namespace tap
