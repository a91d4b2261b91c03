// Boxes as the command line tells them.
#pragma once

#include <string>

#include "io/json.h"
#include "tasks/detect.h"

namespace tap::cli {

Json detections_json(const Detections& found);  // {"prompt_sent", "objects", "counts", "text"}
// A line for each thing, "label: x1,y1 to x2,y2", or "nothing found"; `heading` before each.
std::string detections_text(const Detections& found, const std::string& heading);

}  // namespace tap::cli
