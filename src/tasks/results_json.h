// What tasks find, as the JSON that the program and the server give out.
#pragma once

#include <vector>

#include "io/json.h"
#include "tasks/detections.h"
#include "tasks/guard.h"

namespace tap {

// {"prompt_sent", "objects": [{"label", "box", "score", …}], "counts": {label: objects}, "text", …}
Json detections_json(const Detections& found);

// {"guard", "checked", "flagged", "categories": {policy: violated}, "category_scores": {policy: probability}, "results"}
Json safety_json(const Safety& safety);
Json safety_json(const std::vector<Safety>& all);  // an array

}  // namespace tap
