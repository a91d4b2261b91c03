#include "tasks/detect.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/log.h"

namespace tap {

namespace {

constexpr float frame_size =
    1024;  // location tokens count 0..1023 over the whole picture (big_vision, PaliGemma's README)
constexpr std::string_view token_start = "<loc";
constexpr std::size_t token_length = 9;  // <loc0123>
constexpr std::size_t most_objects = 1000;

std::string_view trimmed(std::string_view text, std::string_view blanks = " \t\r\n") {
  const auto begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

// The value of a location token at the start of `text`, or nothing.
std::optional<int> location(std::string_view text) {
  if (text.size() < token_length || !text.starts_with(token_start) || text[token_length - 1] != '>')
    return std::nullopt;
  int value = 0;
  for (const char c : text.substr(token_start.size(), 4)) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value < static_cast<int>(frame_size) ? std::optional(value) : std::nullopt;
}

std::optional<Detection> parse_one(std::string_view part, Dim width, Dim height, std::string_view fallback_label) {
  std::array<int, 4> yxyx{};
  for (int& value : yxyx) {
    const auto found = location(part);
    if (!found) return std::nullopt;
    value = *found;
    part.remove_prefix(token_length);
  }
  if (location(part)) return std::nullopt;  // a fifth token: no box
  if (yxyx[2] < yxyx[0] || yxyx[3] < yxyx[1]) return std::nullopt;
  const auto px = [](int value, Dim size) { return static_cast<float>(value) / frame_size * static_cast<float>(size); };
  const std::string_view label = trimmed(part);
  return Detection{std::string(label.empty() ? fallback_label : label),
                   {px(yxyx[1], width), px(yxyx[0], height), px(yxyx[3], width), px(yxyx[2], height)},
                   std::nullopt};
}

}  // namespace

const Grounding& grounding_of(const Model& model) {
  if (const Grounding* grounding = model.grounding()) return *grounding;
  fail(ErrorCode::unsupported,
       "{}: this model has no location tokens, so it cannot give boxes; nano can (leave out -m)", model.name());
}

std::string detect_prompt(const Grounding& grounding, std::string_view phrase) {
  std::string_view thing = trimmed(phrase);
  constexpr std::string_view verb = "detect ";
  const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  if (thing.size() > verb.size() &&
      std::equal(verb.begin(), verb.end(), thing.begin(), [&](char b, char a) { return same(a, b); }))
    thing.remove_prefix(verb.size());
  thing = trimmed(thing, " \t\r\n.");
  if (thing.starts_with("the ")) thing.remove_prefix(4);
  std::string prompt = grounding.prompt;
  if (const auto at = prompt.find("{}"); at != std::string::npos) prompt.replace(at, 2, thing);
  return prompt;
}

std::vector<Detection> parse_detections(const Grounding& grounding, std::string_view text, Dim width, Dim height,
                                        std::string_view fallback_label) {
  std::vector<Detection> found;
  const std::string_view separator = trimmed(grounding.separator);
  while (!text.empty() && found.size() < most_objects) {
    const auto end = std::min(text.find(separator), text.size());
    if (auto one = parse_one(trimmed(text.substr(0, end)), width, height, fallback_label))
      found.push_back(std::move(*one));
    text.remove_prefix(std::min(text.size(), end + separator.size()));
  }
  return found;
}

void require_detect(const Model& model, std::string_view phrase) {
  (void)grounding_of(model);
  if (trimmed(phrase).empty()) fail(ErrorCode::usage, "detect: say what to look for");
}

Conversation detect_conversation(const Model& model, std::shared_ptr<const Image> image, std::string_view phrase,
                                 std::string_view system) {
  require_detect(model, phrase);
  Conversation conversation;
  if (!system.empty()) conversation.system(std::string(system));
  conversation.user(detect_prompt(*model.grounding(), phrase), {std::move(image)});
  return conversation;
}

Detections detections_of(const Model& model, const Answer& given, Dim width, Dim height, std::string_view phrase) {
  std::vector<TokenId> tokens = given.tokens;
  const auto& ends = model.end_tokens();
  while (!tokens.empty() && std::ranges::find(ends, tokens.back()) != ends.end()) tokens.pop_back();
  Detections result{width, height, given.prompt_sent, {}, {}, given.timings};
  // From the tokens, not from the streamed text: location tokens may be special ones.
  result.text = std::string(trimmed(model.tokenizer().decode(tokens)));
  result.objects = parse_detections(*model.grounding(), result.text, width, height, trimmed(phrase));
  if (given.finish_reason == FinishReason::length)
    log::warn("the answer was cut after {} tokens: there may be more of \"{}\"", tokens.size(), phrase);
  return result;
}

Detections detect(Session& session, std::shared_ptr<const Image> image, std::string_view phrase,
                  const GenerateOptions& options, std::string_view system) {
  const Dim width = image->width, height = image->height;
  const Conversation conversation = detect_conversation(session.model(), std::move(image), phrase, system);
  return detections_of(session.model(), answer(session, conversation, options), width, height, phrase);
}

}  // namespace tap
