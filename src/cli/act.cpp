// tapetum act "INSTRUCTION" SCREENSHOT
#include "base/file.h"
#include "cli/asking.h"
#include "cli/commands.h"
#include "tasks/ui_actions.h"

namespace tap::cli {

namespace {

Json place_json(const BoxPx& box) {
  if (box.x1 == box.x2 && box.y1 == box.y2) return {box.x1, box.y1};
  return {box.x1, box.y1, box.x2, box.y2};
}

std::string place_text(const BoxPx& box) {
  if (box.x1 == box.x2 && box.y1 == box.y2) return fmt::format("{:.0f},{:.0f}", box.x1, box.y1);
  return fmt::format("{:.0f},{:.0f} to {:.0f},{:.0f}", box.x1, box.y1, box.x2, box.y2);
}

Json action_json(const UiAction& action) {
  Json json = {{"action", action.name}};
  for (const auto& [key, text] : action.texts) json[key] = text;
  if (action.start) json["start"] = place_json(*action.start);
  if (action.end) json["end"] = place_json(*action.end);
  return json;
}

std::string action_text(const UiAction& action) {
  std::string line = action.name;
  if (action.start) line += fmt::format(" {}", place_text(*action.start));
  if (action.end) line += fmt::format(" to {}", place_text(*action.end));
  for (const auto& [key, text] : action.texts) line += fmt::format(" {} {}", key, Json(text).dump());
  return line + "\n";
}

}  // namespace

int run_act(const Options& options) {
  if (options.words.size() != 2)
    fail(ErrorCode::usage, "act takes an instruction and a screenshot: tapetum act \"click Login\" screen.png");
  std::string instruction = options.words[0], screen = options.words[1];
  if (file_exists(instruction) && !names_pictures(screen)) std::swap(instruction, screen);
  const PictureList pictures = list_pictures({screen}, options);
  const auto what = options.mobile ? Screen::mobile : Screen::computer;
  return ask_about(pictures, options, {}, [&](const Turn& turn, Item& item) {
    item.conversation = act_conversation(turn.model, what, instruction, turn.image());
    item.report = [&model = turn.model, path = turn.name, width = turn.width, height = turn.height,
                   many = turn.many](std::span<const Answer> answers) {
      const UiAnswer found = act_answer(model, answers.front(), width, height, path);
      Json json = {{"image", path},
                   {"width", width},
                   {"height", height},
                   {"model", model.name()},
                   {"prompt_sent", answers.front().prompt_sent},
                   {"thought", found.thought.empty() ? Json(nullptr) : Json(found.thought)},
                   {"actions", Json::array()},
                   {"text", answers.front().text}};
      std::string text = found.thought.empty() ? "" : found.thought + "\n";
      for (const UiAction& action : found.actions) {
        json["actions"].push_back(action_json(action));
        text += (many ? path + ": " : "") + action_text(action);
      }
      return Outcome{std::move(json), std::move(text)};
    };
  });
}

}  // namespace tap::cli
