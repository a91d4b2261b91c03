// The keyboard, the mouse and the files of a person at a tab.
#include "browser/keys.h"
#include "browser/tab.h"

namespace tap::browser {

Point Tab::place_of(std::string_view selector) {
  const Json place = call(R"((selector) => {
    const element = document.querySelector(selector);
    if (!element) return "there is none";
    element.scrollIntoView({ block: "center", inline: "nearest", behavior: "instant" });
    const { left, top, width, height } = element.getBoundingClientRect();
    if (width === 0 && height === 0) return "it is not shown";
    const x = left + width / 2, y = top + height / 2;
    const hit = document.elementFromPoint(x, y);
    const reached = hit && (element === hit || element.contains(hit) || hit.closest("label")?.control === element);
    return reached ? { x, y } : `${hit?.outerHTML.slice(0, 80) ?? "nothing"} is there instead`;
  })",
                          Json::array({selector}));
  if (place.is_string())
    throw Error(ErrorCode::bad_input, fmt::format("{}: {}", selector, place.get<std::string>()), std::string(selector));
  return {member(place, "x").get<double>(), member(place, "y").get<double>()};
}

void Tab::mouse(std::string_view type, Point at, int buttons, int count) {
  command("Input.dispatchMouseEvent", {{"type", type},
                                       {"x", at.x},
                                       {"y", at.y},
                                       {"button", type == "mouseMoved" && buttons == 0 ? "none" : "left"},
                                       {"buttons", buttons},
                                       {"clickCount", count}});
}

void Tab::move_to(Point at) { mouse("mouseMoved", at, 0); }

void Tab::click(Point at, int count) {
  move_to(at);
  for (int i = 1; i <= count; ++i) {
    mouse("mousePressed", at, 1, i);
    mouse("mouseReleased", at, 0, i);
  }
}

void Tab::drag(Point from, Point to) {
  constexpr int steps = 5;
  move_to(from);
  mouse("mousePressed", from, 1, 1);
  for (int i = 1; i <= steps; ++i)
    mouse("mouseMoved", {from.x + (to.x - from.x) * i / steps, from.y + (to.y - from.y) * i / steps}, 1);
  mouse("mouseReleased", to, 0, 1);
}

void Tab::press(std::string_view name) {
  const auto [key, modifiers] = chord_of(name);
  Json event = {{"type", key.text.empty() ? "rawKeyDown" : "keyDown"},
                {"modifiers", modifiers},
                {"key", key.key},
                {"code", key.code},
                {"windowsVirtualKeyCode", key.number}};
  if (!key.text.empty()) event["text"] = key.text;
  command("Input.dispatchKeyEvent", event);
  event["type"] = "keyUp";
  event.erase("text");
  command("Input.dispatchKeyEvent", event);
}

void Tab::type(std::string_view text) {
  std::string other;  // what no key of this keyboard types
  const auto insert = [&] {
    if (!other.empty()) command("Input.insertText", {{"text", std::exchange(other, {})}});
  };
  for (const char c : text) {
    if (c != '\n' && !key_of(c)) {
      other += c;
      continue;
    }
    insert();
    press(c == '\n' ? std::string_view("Enter") : std::string_view(&c, 1));
  }
  insert();
}

std::string Tab::object_of(std::string_view selector) {
  const Json found =
      command("Runtime.evaluate", {{"expression", fmt::format("document.querySelector({})", to_json_line(selector))}});
  std::string id = text_at(member(found, "result"), "objectId");
  if (id.empty()) throw Error(ErrorCode::bad_input, fmt::format("{}: there is none", selector), std::string(selector));
  return id;
}

void Tab::set_files(std::string_view selector, const std::vector<std::string>& paths) {
  command("DOM.setFileInputFiles", {{"files", paths}, {"objectId", object_of(selector)}});
}

void Tab::drop_files(Point at, const std::vector<std::string>& paths) {
  const Json data = {{"items", Json::array()}, {"files", paths}, {"dragOperationsMask", 1}};
  for (const char* type : {"dragEnter", "dragOver", "drop"})
    command("Input.dispatchDragEvent", {{"type", type}, {"x", at.x}, {"y", at.y}, {"data", data}});
}

}  // namespace tap::browser
