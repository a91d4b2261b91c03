#include "tasks/ui_actions.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/strings.h"

namespace tap {

namespace {

constexpr std::size_t most_actions = 64, most_bytes = 1 << 16;

constexpr std::string_view head =
    "You are a GUI agent. You are given a task and your action history, with screenshots. You need to perform the next "
    "action to complete the task. \n\n"
    "## Output Format\n```\nThought: ...\nAction: ...\n```\n\n"
    "## Action Space\n\n";
constexpr std::string_view computer_actions =
    "click(point='<point>x1 y1</point>')\n"
    "left_double(point='<point>x1 y1</point>')\n"
    "right_single(point='<point>x1 y1</point>')\n"
    "drag(start_point='<point>x1 y1</point>', end_point='<point>x2 y2</point>')\n"
    "hotkey(key='ctrl c') # Split keys with a space and use lowercase. Also, do not use more than 3 keys in one hotkey "
    "action.\n"
    "type(content='xxx') # Use escape characters \\\\', \\\\\\\", and \\\\n in content part to ensure we can parse the "
    "content in normal python string format. If you want to submit your input, use \\\\n at the end of content. \n"
    "scroll(point='<point>x1 y1</point>', direction='down or up or right or left') # Show more information on the "
    "`direction` side.\n"
    "wait() #Sleep for 5s and take a screenshot to check for any changes.\n";
constexpr std::string_view mobile_actions =
    "click(point='<point>x1 y1</point>')\n"
    "long_press(point='<point>x1 y1</point>')\n"
    "type(content='') #If you want to submit your input, use \"\\\\n\" at the end of `content`.\n"
    "scroll(point='<point>x1 y1</point>', direction='down or up or right or left')\n"
    "open_app(app_name=\\'\\')\n"
    "drag(start_point='<point>x1 y1</point>', end_point='<point>x2 y2</point>')\n"
    "press_home()\n"
    "press_back()\n";
constexpr std::string_view tail =
    "finished(content='xxx') # Use escape characters \\\\', \\\\\", and \\\\n in content part to ensure we can parse "
    "the "
    "content in normal python string format.\n\n\n"
    "## Note\n- Use {} in `Thought` part.\n"
    "- Write a small plan and finally summarize your next action (with its target element) in one sentence in "
    "`Thought` "
    "part.\n\n## User Instruction\n{}";

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// "<point>510 150</point>" and "<|box_start|>(510,150)<|box_end|>" to "(510,150)"; keys to start_box and end_box.
std::string one_notation(std::string_view answer) {
  std::string text(trimmed(answer));
  replace_all(text, "[EOS]", "");
  replace_all(text, "<|box_start|>", "");
  replace_all(text, "<|box_end|>", "");
  for (std::size_t at = text.find("<point>"); at != std::string::npos; at = text.find("<point>", at)) {
    const std::size_t end = text.find("</point>", at);
    if (end == std::string::npos) break;
    std::string inside(trimmed(std::string_view(text).substr(at + 7, end - at - 7)));
    const std::size_t blank = inside.find_first_of(blanks);
    if (blank != std::string::npos)
      inside = inside.substr(0, blank) + "," + std::string(trimmed(std::string_view(inside).substr(blank)));
    text.replace(at, end + 8 - at, "(" + inside + ")");
  }
  replace_all(text, "start_point=", "start_box=");
  replace_all(text, "end_point=", "end_box=");
  for (std::size_t at = text.find("point="); at != std::string::npos; at = text.find("point=", at + 10))
    text.replace(at, 6, "start_box=");
  return text;
}

// What stands between a heading and "Action: ".
std::string section(std::string_view text, std::string_view heading, std::string_view until = "Action: ") {
  const auto at = text.find(heading);
  if (at == std::string_view::npos) return {};
  text = text.substr(at + heading.size());
  return std::string(trimmed(text.substr(0, text.find(until))));
}

struct Call {
  std::string name;
  std::vector<std::pair<std::string, std::string>> arguments;
};

// name(key='value', …): Python's call with texts, and quotes inside a text that are not escaped.
std::optional<Call> read_call(std::string_view text) {
  Call call;
  const auto open = text.find('(');
  if (open == std::string_view::npos) return std::nullopt;
  call.name = std::string(trimmed(text.substr(0, open)));
  const auto is_name = [](std::string_view word) {
    return !word.empty() && std::ranges::all_of(word, [](unsigned char c) { return std::isalnum(c) || c == '_'; });
  };
  if (!is_name(call.name)) return std::nullopt;
  text = trimmed(text.substr(open + 1));
  if (text.ends_with(')')) text = trimmed(text.substr(0, text.size() - 1));
  while (!text.empty()) {
    const auto equals = text.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string key(trimmed(text.substr(0, equals)));
    text = trimmed(text.substr(equals + 1));
    if (!is_name(key) || text.empty() || (text[0] != '\'' && text[0] != '"')) return std::nullopt;
    const char quote = text[0];
    // The text ends at a quote behind which comes the end, or a comma and another key.
    std::size_t end = std::string_view::npos;
    for (std::size_t i = 1; i < text.size() && end == std::string_view::npos; ++i) {
      if (text[i] == '\\') {
        ++i;
        continue;
      }
      if (text[i] != quote) continue;
      const std::string_view rest = trimmed(text.substr(i + 1));
      if (rest.empty() || (rest[0] == ',' && rest.find('=') != std::string_view::npos)) end = i;
    }
    if (end == std::string_view::npos) return std::nullopt;
    std::string value;
    for (std::size_t i = 1; i < end; ++i) {
      if (text[i] != '\\' || i + 1 >= end) {
        value += text[i];
        continue;
      }
      const char escaped = text[++i];
      value += escaped == 'n' ? '\n' : escaped == 't' ? '\t' : escaped == 'r' ? '\r' : escaped;
    }
    call.arguments.emplace_back(key, value);
    text = trimmed(text.substr(end + 1));
    if (text.starts_with(',')) text = trimmed(text.substr(1));
  }
  return call;
}

// "(x,y)" or "(x1,y1,x2,y2)".
std::optional<BoxPx> box_of(std::string_view text, SizePx seen, SizePx source) {
  std::vector<double> numbers;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '(' || c == ')' || c == ',' || c == '[' || c == ']' || blanks.find(c) != std::string_view::npos) {
      ++i;
      continue;
    }
    double value = 0;
    const auto [end, failed] = std::from_chars(text.data() + i, text.data() + text.size(), value);
    if (failed != std::errc() || !std::isfinite(value) || numbers.size() == 4) return std::nullopt;
    numbers.push_back(value);
    i = static_cast<std::size_t>(end - text.data());
  }
  if (numbers.size() == 2) numbers.insert(numbers.end(), {numbers[0], numbers[1]});
  if (numbers.size() != 4) return std::nullopt;
  const auto on = [](double at, Dim from, Dim to) {
    return static_cast<float>(
        std::clamp(at / static_cast<double>(from) * static_cast<double>(to), 0.0, static_cast<double>(to)));
  };
  return BoxPx{on(numbers[0], seen.width, source.width), on(numbers[1], seen.height, source.height),
               on(numbers[2], seen.width, source.width), on(numbers[3], seen.height, source.height)};
}

}  // namespace

std::string ui_prompt(Screen screen, std::string_view instruction, std::string_view language) {
  return std::string(head) + std::string(screen == Screen::computer ? computer_actions : mobile_actions) +
         fmt::format(fmt::runtime(tail), language, instruction);
}

namespace {

Grounding::Acting acting_of(const Model& model) {
  const auto grounding = model.grounding();
  if (!grounding || grounding->acting == Grounding::Acting::no)
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: this model cannot use a screen; UI-TARS can, and nano a little", model.name()),
                model.name());
  return grounding->acting;
}

// "click Login" and "Click on the Login." to "click Login", as nano was taught.
std::string click_words(std::string_view instruction) {
  std::string_view thing = trimmed(instruction);
  for (const std::string_view start : {"click ", "Click ", "tap ", "Tap ", "press ", "Press ", "on ", "the "})
    if (thing.starts_with(start)) thing = trimmed(thing.substr(start.size()));
  while (thing.ends_with('.')) thing.remove_suffix(1);
  return fmt::format("click {}", thing);
}

}  // namespace

Conversation act_conversation(const Model& model, Screen screen, std::string_view instruction,
                              std::shared_ptr<const Image> image) {
  if (trimmed(instruction).empty()) fail(ErrorCode::usage, "act: say what to do");
  if (acting_of(model) == Grounding::Acting::click_tokens)
    return Conversation().user(click_words(instruction), {std::move(image)});
  Conversation conversation;  // the words stand before the screenshot
  conversation.messages.push_back({"user", {{ui_prompt(screen, instruction)}, {{}, std::move(image)}}});
  return conversation;
}

UiAnswer act_answer(const Model& model, const Answer& answer, Dim width, Dim height, std::string_view what) {
  if (acting_of(model) == Grounding::Acting::ui_tars)
    return parse_ui_answer(answer.text, model.processor().plan(width, height).tile, {width, height}, what).value();
  std::vector<TokenId> tokens = answer.tokens;
  std::erase_if(tokens,
                [&](TokenId id) { return std::ranges::find(model.end_tokens(), id) != model.end_tokens().end(); });
  const std::string text = model.tokenizer().decode(tokens);
  const auto place = text.find("<loc");
  int y = 0, x = 0;
  if (place == std::string::npos || std::sscanf(text.c_str() + place, "<loc%4d><loc%4d>", &y, &x) != 2 || y < 0 ||
      x < 0 || y > 1023 || x > 1023)
    throw Error(ErrorCode::bad_input, fmt::format("{}: the answer \"{}\" is no place", what, trimmed(text)),
                std::string(what));
  const float px = static_cast<float>(x) / 1024 * static_cast<float>(width);
  const float py = static_cast<float>(y) / 1024 * static_cast<float>(height);
  UiAnswer found;
  found.actions.push_back({"click", {}, BoxPx{px, py, px, py}, {}});
  return found;
}

Result<UiAnswer> parse_ui_answer(std::string_view text, SizePx seen, SizePx source, std::string_view what) {
  const auto bad = [&](std::string_view why) {
    return Error(ErrorCode::bad_input, fmt::format("{}: {}", what, why), std::string(what));
  };
  if (text.size() > most_bytes) return bad(fmt::format("{} bytes, the limit is {}", text.size(), most_bytes));
  const std::string all = one_notation(text);
  UiAnswer answer;
  if (all.starts_with("Reflection:")) {
    answer.reflection = section(all, "Reflection: ", "Action_Summary: ");
    answer.thought = section(all, "Action_Summary: ");
  } else {
    answer.thought = section(all, all.starts_with("Action_Summary:") ? "Action_Summary: " : "Thought: ");
  }
  const auto last = all.rfind("Action: ");
  if (last == std::string::npos) return bad("has no \"Action: \"");
  for (std::string_view rest = std::string_view(all).substr(last + 8); !trimmed(rest).empty();) {
    const auto end = rest.find(")\n\n");
    const std::string_view one = trimmed(rest.substr(0, end == std::string_view::npos ? end : end + 1));
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 3);
    if (answer.actions.size() == most_actions) return bad(fmt::format("more than {} actions", most_actions));
    const auto call = read_call(one);
    if (!call) return bad(fmt::format("\"{}\" is no action", one.substr(0, 80)));
    UiAction action{call->name, {}, {}, {}};
    for (const auto& [key, value] : call->arguments) {
      const bool start = key == "start_box", finish = key == "end_box";
      if (value.empty()) continue;
      if (!start && !finish) {
        action.texts[key] = value;
        continue;
      }
      const auto box = box_of(value, seen, source);
      if (!box) return bad(fmt::format("{} is \"{}\": no place", key, value.substr(0, 80)));
      (start ? action.start : action.end) = box;
    }
    answer.actions.push_back(std::move(action));
  }
  if (answer.actions.empty()) return bad("has no action behind \"Action: \"");
  return answer;
}

}  // namespace tap
