// What `detect`, `segment`, `count` and `batch` say of what was found, and how they ask.
#pragma once

#include "cli/items.h"
#include "tasks/detect.h"

namespace tap::cli {

DetectOptions detect_options(const Options& options, Want::Kind usual);
// The task's questions about the picture, as the item's conversations.
void ask_where(const DetectTask& task, const std::shared_ptr<const Image>& image, const std::string& system,
               Item& item);

// A line a place and a count, each behind `heading`.
std::string detections_text(const Detections& found, const std::string& heading);

}  // namespace tap::cli
