#include "tasks/ui_actions.h"

#include <doctest/doctest.h>

#include "base/file.h"
#include "io/json.h"

using namespace tap;

TEST_CASE("what the published parser makes of UI-TARS' answers") {
  const Json file = Json::parse(read_file(TAPETUM_SOURCE_DIR "/tests/data/answers/ui_tars.json", 1 << 20).value());
  for (const Json& one : file["ui_tars"]) {
    CAPTURE(one["text"].get<std::string>());
    const SizePx seen{one["width"].get<Dim>(), one["height"].get<Dim>()};
    const auto answer = parse_ui_answer(one["text"].get<std::string>(), seen, seen);
    REQUIRE(answer);
    REQUIRE(answer->actions.size() == one["calls"].size());
    for (std::size_t i = 0; i < answer->actions.size(); ++i) {
      const Json& call = one["calls"][i];
      const UiAction& action = answer->actions[i];
      CHECK(action.name == call["action"]);
      CHECK(answer->thought == (call["thought"].is_null() ? "" : call["thought"].get<std::string>()));
      CHECK(answer->reflection == (call["reflection"].is_null() ? "" : call["reflection"].get<std::string>()));
      std::size_t inputs = action.texts.size() + action.start.has_value() + action.end.has_value();
      CHECK(inputs == call["inputs"].size());
      for (const auto& [key, value] : call["inputs"].items()) {
        if (value.is_string()) {
          CHECK(action.texts.at(key) == value.get<std::string>());
          continue;
        }
        const auto& box = key == "start_box" ? action.start : action.end;
        REQUIRE(box);
        const auto shares = value.get<std::vector<double>>();
        CHECK(box->x1 / static_cast<double>(seen.width) == doctest::Approx(shares[0]));
        CHECK(box->y1 / static_cast<double>(seen.height) == doctest::Approx(shares[1]));
        CHECK(box->x2 / static_cast<double>(seen.width) == doctest::Approx(shares[2]));
        CHECK(box->y2 / static_cast<double>(seen.height) == doctest::Approx(shares[3]));
      }
    }
  }
}

TEST_CASE("places come back to the screenshot and stay inside it") {
  const auto answer =
      parse_ui_answer("Action: drag(start_point='<point>546 28</point>', end_point='<point>9999 9999</point>')",
                      {1092, 56}, {2184, 100});
  REQUIRE(answer);
  CHECK(answer->actions[0].start == BoxPx{1092, 50, 1092, 50});
  CHECK(answer->actions[0].end == BoxPx{2184, 100, 2184, 100});
  const auto marked =
      parse_ui_answer("Action: click(start_box='<|box_start|>(546,28)<|box_end|>')", {1092, 56}, {1092, 56});
  REQUIRE(marked);
  CHECK(marked->actions[0].start == BoxPx{546, 28, 546, 28});
}

TEST_CASE("answers that ask for nothing that can be done are refused") {
  for (const char* text :
       {"", "Thought: nothing", "Action: ", "Action: click", "Action: click(start_box='(1)')",
        "Action: click(start_box='(a,b)')", "Action: click(start_box='(1,2,3,4,5)')", "Action: import os(content='x')",
        "Action: type(content=5)", "Action: type(content='open", "Action: __import__('os').system('x')"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_ui_answer(text, {100, 100}, {100, 100}));
  }
  std::string many = "Action: ";
  for (int i = 0; i < 100; ++i) many += "wait()\n\n";
  CHECK_FALSE(parse_ui_answer(many, {100, 100}, {100, 100}));
  CHECK_FALSE(parse_ui_answer(std::string(1 << 17, 'a'), {100, 100}, {100, 100}));
}

TEST_CASE("prompts name the actions of their screen and end with the instruction") {
  const std::string computer = ui_prompt(Screen::computer, "Open {the} menu");
  CHECK(computer.find("right_single(point='<point>x1 y1</point>')") != std::string::npos);
  CHECK(computer.find("press_back") == std::string::npos);
  CHECK(computer.ends_with("## User Instruction\nOpen {the} menu"));
  CHECK(computer.find("- Use English in `Thought` part.") != std::string::npos);
  CHECK(ui_prompt(Screen::mobile, "x").find("press_back()") != std::string::npos);
}
