// What is found in a picture, in pixels of the upright picture: x right, y down.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "codec/image.h"
#include "media/rle.h"
#include "runtime/timings.h"

namespace tap {

struct BoxPx {  // x1 <= x2, y1 <= y2, inside the picture
  float x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  float area() const { return (x2 - x1) * (y2 - y1); }
  bool operator==(const BoxPx&) const = default;
};

struct PointPx {
  float x = 0, y = 0;
  bool operator==(const PointPx&) const = default;
};

struct Detection {
  std::string label;
  BoxPx box;                     // of a point: the point twice
  std::optional<float> score;    // mean probability of the tokens that say where; unset where they cannot be told apart
  std::optional<PointPx> point;  // what was asked for is a point
  std::optional<MaskRuns> mask;  // of the whole picture
  bool primary = false;          // the first of a thing that was asked for as one ("the bird")
  std::vector<int> codes = {};   // of a mask as the answer gave it: 16 of 0 to 127
};

struct Count {
  std::string label;
  Dim boxes = 0;                // counted by detecting, boxes on each other once
  std::optional<Dim> answered;  // counted by asking; unset where the answer is no number
  bool agree() const { return !answered || *answered == boxes; }
  Dim value() const { return answered.value_or(boxes); }
};

struct Detections {
  Dim width = 0, height = 0;              // of the upright picture
  std::vector<std::string> prompts_sent;  // one a question
  std::vector<Detection> objects;
  std::vector<Count> counts;  // of what was asked to be counted
  std::string text;           // the model's answers as they came, one a line
  Dim invalid = 0;            // places in them that cannot be: out of range, upside down, half a mask
  bool cut = false;           // an answer reached its limit of tokens: there may be more
  Timings timings;            // of all questions
};

// On the picture, for people: boxes, points and masks with their labels.
void draw_detections(Image& image, std::span<const Detection> objects);

// Intersection over union in continuous coordinates.
double overlap_of(const BoxPx& a, const BoxPx& b);

}  // namespace tap
