#include "tasks/detections.h"

#include <algorithm>

#include "media/draw.h"

namespace tap {

void draw_detections(Image& image, std::span<const Detection> objects) {
  std::vector<DrawnBox> boxes;
  for (const Detection& d : objects)
    boxes.push_back({.label = d.label,
                     .x1 = d.box.x1,
                     .y1 = d.box.y1,
                     .x2 = d.box.x2,
                     .y2 = d.box.y2,
                     .score = {},
                     .point = d.point.has_value(),
                     .mask = d.mask ? &*d.mask : nullptr});
  draw_boxes(image, boxes);
}

double overlap_of(const BoxPx& a, const BoxPx& b) {
  const double w = std::min(a.x2, b.x2) - std::max(a.x1, b.x1), h = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  if (w <= 0 || h <= 0) return 0;
  return w * h / (double{a.area()} + double{b.area()} - w * h);
}

}  // namespace tap
