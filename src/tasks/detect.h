// Find things in a picture: a phrase in, labelled boxes in the picture's own pixels out.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/family.h"
#include "runtime/session.h"

namespace tap {

// A box in pixels of the upright picture; x right, y down; x1 <= x2, y1 <= y2, inside the picture.
struct BoxPx {
  float x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  bool operator==(const BoxPx&) const = default;
};

struct Detection {
  std::string label;
  BoxPx box;
  std::optional<float> score;  // unset where the family gives none
};

struct Detections {
  Dim width = 0, height = 0;  // of the upright picture
  std::string prompt_sent;
  std::vector<Detection> objects;
  std::string text;  // the model's answer as it came
  Timings timings;
};

// The model's way to be asked for boxes. Throws Error(unsupported) when the checkpoint has no location tokens.
const Grounding& grounding_of(const Model& model);

// The family's wording for a phrase; a leading "detect" and final full stop of the user's are dropped.
std::string detect_prompt(const Grounding& grounding, std::string_view phrase);

// Boxes in a model's answer. What is no well-formed box (three tokens, a value outside the frame, y2 < y1) is left out;
// a box without a label gets `fallback_label`.
std::vector<Detection> parse_detections(const Grounding& grounding, std::string_view text, Dim width, Dim height,
                                        std::string_view fallback_label = "");

// Throws Error(unsupported) when the checkpoint has no location tokens, Error(usage) when the phrase says nothing.
void require_detect(const Model& model, std::string_view phrase);
// What to ask, and what an answer to it found in the picture of that size. Throws as require_detect.
Conversation detect_conversation(const Model& model, std::shared_ptr<const Image> image, std::string_view phrase,
                                 std::string_view system = "");
Detections detections_of(const Model& model, const Answer& answer, Dim width, Dim height, std::string_view phrase);
// Both with a session in between.
Detections detect(Session& session, std::shared_ptr<const Image> image, std::string_view phrase,
                  const GenerateOptions& options, std::string_view system = "");

}  // namespace tap
