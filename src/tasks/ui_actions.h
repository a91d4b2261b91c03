// UI-TARS-1.5: Qwen2.5-VL asked to use a screen. Its prompts, and what its answers ask for, in pixels of the
// screenshot. Parity: bytedance/UI-TARS, codes/ui_tars/prompt.py and action_parser.py.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "runtime/session.h"
#include "tasks/detections.h"

namespace tap {

enum class Screen { computer, mobile };

// The whole user message, which stands before the screenshot.
std::string ui_prompt(Screen screen, std::string_view instruction, std::string_view language = "English");

struct UiAction {
  std::string name;                          // "click", "type", …
  std::map<std::string, std::string> texts;  // "content", "key", "direction", …
  std::optional<BoxPx> start, end;           // where; a point is a box without area
};

struct UiAnswer {
  std::string thought, reflection;  // empty: not said
  std::vector<UiAction> actions;
};

// Coordinates in the answer are pixels of the picture of size `seen`, as the model saw it (ImagePlan::tile); they
// become pixels of `source` and are cut to it. The error names what cannot be read; `what` stands before it.
Result<UiAnswer> parse_ui_answer(std::string_view text, SizePx seen, SizePx source, std::string_view what = "answer");

// What to ask a checkpoint about a screenshot, and what its answer asks for in the screenshot's pixels. Both throw
// Error(unsupported) for one that cannot act; reading the answer throws Error(bad_input) for one that asks for nothing.
Conversation act_conversation(const Model& model, Screen screen, std::string_view instruction,
                              std::shared_ptr<const Image> image);
UiAnswer act_answer(const Model& model, const Answer& answer, Dim width, Dim height, std::string_view what);

}  // namespace tap
