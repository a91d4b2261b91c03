// A model's answer to typed places: tolerant of what models do wrong, strict about what a place may be.
#pragma once

#include <span>
#include <string_view>

#include "models/family.h"
#include "tasks/detections.h"

namespace tap {

// From what an answer's numbers count to pixels of the upright picture.
struct CoordinateFrame {
  double width = 0, height = 0;     // of the upright picture, pixels
  double x_range = 0, y_range = 0;  // an x of x_range is the right edge
  bool y_first = false;
};
// plan: of the picture as it was asked about.
CoordinateFrame frame_of(const Grounding& grounding, const ImagePlan& plan);

constexpr Dim most_objects = 1000;  // of one answer; further ones are left out

struct GroundedAnswer {
  std::vector<Detection> objects;         // in the answer's order
  std::vector<std::size_t> first_places;  // of each object: which of the answer's location tokens is its first
  Dim invalid = 0;
};

// Location tokens: y1 x1 y2 x2 with y2 > y1 and x2 > x1, then for masks 16 codes, then a label up to the next place or
// ";". Fewer than 16 codes give the box alone and count as invalid, as anything else that looks like a place does.
// JSON: objects with a key for a box or a point, in a list or alone, in a code fence or not, the list cut short or not;
// boxes run over the edge are cut to it. A place without a label gets `fallback_label`.
GroundedAnswer parse_grounded(const Grounding& grounding, const CoordinateFrame& frame, std::string_view text,
                              std::string_view fallback_label = "");

// The first number in an answer, in digits or as a word up to twenty.
std::optional<Dim> number_in(std::string_view answer);

}  // namespace tap
