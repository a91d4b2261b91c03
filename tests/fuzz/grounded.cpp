// Answers of models that say where things are: whatever they say, places are inside the picture.
#include "fuzz.h"
#include "media/rle.h"
#include "tasks/grounded_answer.h"

namespace {

using namespace tap;

void require_inside(const GroundedAnswer& found) {
  fuzz::require(static_cast<Dim>(found.objects.size()) <= most_objects, "not too many places");
  fuzz::require(found.objects.size() == found.first_places.size(), "each place has its tokens");
  for (const Detection& d : found.objects) {
    fuzz::require(d.box.x1 >= 0 && d.box.y1 >= 0 && d.box.x2 <= 640 && d.box.y2 <= 480, "a box is inside");
    fuzz::require(d.point || (d.box.x1 < d.box.x2 && d.box.y1 < d.box.y2), "a box has an area");
    fuzz::require(d.codes.empty() || d.codes.size() == 16, "a mask is whole");
  }
}

void run(fuzz::Bytes bytes) {
  const std::string_view text = fuzz::text_of(bytes);
  ImagePlan plan;
  plan.source = {640, 480};
  plan.tile = {644, 476};
  Grounding tokens{.form = Grounding::Form::location_tokens, .range = 1023, .y_first = true};
  require_inside(parse_grounded(tokens, frame_of(tokens, plan), text, "x"));
  Grounding json{.form = Grounding::Form::json};
  require_inside(parse_grounded(json, frame_of(json, plan), text, "x"));
  (void)number_in(text);
  const auto runs = decompressed(text, 48, 64);
  if (!runs) return;
  fuzz::require(runs_of(pixels_of(*runs), 48, 64).area() == runs->area(), "runs are pixels");
}

const fuzz::FuzzTarget target("grounded", run);

}  // namespace
