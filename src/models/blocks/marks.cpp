#include "models/blocks/marks.h"

#include <algorithm>

namespace tap {

namespace {

std::string counted(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

[[noreturn]] void refuse_marks(std::span<const Mark> marks, std::size_t found, std::span<const ImagePlan> plans) {
  std::string names;
  for (const Mark& mark : marks) names += (names.empty() ? "" : " or ") + mark.text;
  const bool videos = std::ranges::any_of(plans, &ImagePlan::is_video);
  fail(ErrorCode::bad_input, "the prompt has {} {} mark{} for {}", found, names, found == 1 ? "" : "s",
       counted(plans.size(), videos ? "picture and video" : "picture"));
}

}  // namespace

std::vector<TextSpan> expand_marks(std::span<const TextSpan> spans, std::span<const Mark> marks,
                                   std::span<const ImagePlan> plans,
                                   const std::function<std::string(const ImagePlan&)>& text_of) {
  std::vector<TextSpan> expanded;
  std::size_t found = 0;
  for (const TextSpan& span : spans) {
    expanded.push_back({"", span.trusted});
    std::string& text = expanded.back().text;
    std::size_t from = 0;
    while (span.trusted) {
      std::size_t at = std::string::npos;
      const Mark* mark = nullptr;
      for (const Mark& one : marks)
        if (const std::size_t place = span.text.find(one.text, from); place < at) at = place, mark = &one;
      if (!mark) break;
      text.append(span.text, from, at - from);
      if (found < plans.size()) {
        const ImagePlan& plan = plans[found];
        if (plan.is_video() != mark->video)
          fail(ErrorCode::bad_input, "the prompt has {} where a {} is given", mark->text,
               plan.is_video() ? "video" : "picture");
        text += text_of(plan);
      }
      ++found;
      from = at + mark->text.size();
    }
    text.append(span.text, from);
  }
  if (found != plans.size()) refuse_marks(marks, found, plans);
  return expanded;
}

Prompt prompt_of(const Processor& processor, const Tokenizer& tokenizer, std::span<const TextSpan> spans,
                 std::span<const ImagePlan> plans, bool add_special_tokens) {
  Prompt prompt = processor.from_ids(tokenizer.encode(spans, add_special_tokens), plans);
  for (const TextSpan& span : spans) prompt.text += span.text;
  return prompt;
}

std::string added_token(const ModelFiles& files, std::string_view key, TokenId id) {
  std::string text = files.tokenizer.is_added(id) ? files.tokenizer.token_text(id) : "";
  if (text.empty()) files.config.refuse(key, "is no added token of tokenizer.json");
  return text;
}

std::string repeated(const std::string& text, Dim count) {
  std::string all;
  all.reserve(text.size() * static_cast<std::size_t>(count));
  for (Dim i = 0; i < count; ++i) all += text;
  return all;
}

Prompt causal_prompt(std::span<const TokenId> ids) {
  Prompt prompt;
  prompt.ids.assign(ids.begin(), ids.end());
  prompt.positions.resize(1);
  for (std::int32_t row = 0; row < static_cast<std::int32_t>(ids.size());) {
    prompt.positions[0].push_back(row);
    prompt.intervals.push_back({0, ++row});
  }
  return prompt;
}

void fill_slots(Prompt& prompt, std::span<const TokenId> ids, std::span<const ImagePlan> plans) {
  prompt.slots.clear();
  prompt.pictures.clear();
  for (Dim row = 0; const TokenId id : prompt.ids) {
    if (std::ranges::find(ids, id) != ids.end()) prompt.slots.push_back(row);
    ++row;
  }
  const Dim found = static_cast<Dim>(prompt.slots.size());
  if (plans.empty()) {
    if (found > 0) prompt.pictures.push_back({0, found});
    return;
  }
  Dim begin = 0;
  for (const ImagePlan& plan : plans) {
    prompt.pictures.push_back({begin, plan.tokens});
    begin += plan.tokens;
  }
  if (begin != found)
    fail(ErrorCode::bad_file, "tokenizer.json: {} picture tokens come out of a prompt with {}", found, begin);
}

}  // namespace tap
