// The results of the C interface with what they point to: each type is the C struct, which comes first, and its memory.
#pragma once

#include <memory>
#include <new>
#include <string>
#include <vector>

#include <tapetum.h>
#include <tapetum/tapetum.h>

struct tapetum_error {
  tap::Error error;
  std::string code;
};
struct tapetum_image {
  tap::Image image;
};
struct tapetum_model {
  tap::Model model;
};
struct tapetum_chat {
  tap::Chat chat;
};
struct tapetum_guard {
  tap::Guard guard;
};

namespace tap::c {

struct AnswerResult : tapetum_answer {
  explicit AnswerResult(Answer from) : tapetum_answer{}, words(std::move(from.text)), finish(name(from.finish)) {
    text = words.c_str();
    finish_reason = finish.c_str();
    prompt_tokens = from.prompt_tokens;
    image_tokens = from.image_tokens;
    cached_tokens = from.cached_tokens;
    output_tokens = from.output_tokens;
    first_token_ms = from.first_token_ms;
    total_ms = from.total_ms;
  }
  std::string words, finish;
};

struct OutcomesResult : tapetum_outcomes {
  explicit OutcomesResult(std::vector<Outcome> from) : tapetum_outcomes{} {
    for (Outcome& one : from) {
      if (one.answer)
        rows.push_back({answers.emplace_back(std::make_unique<AnswerResult>(std::move(*one.answer))).get(), nullptr});
      else
        rows.push_back(
            {nullptr,
             errors.emplace_back(std::make_unique<tapetum_error>(*one.error, std::string(name(one.error->code()))))
                 .get()});
    }
    count = rows.size();
    items = rows.data();
  }
  std::vector<tapetum_outcome> rows;
  std::vector<std::unique_ptr<AnswerResult>> answers;
  std::vector<std::unique_ptr<tapetum_error>> errors;
};

struct DetectionsResult : tapetum_detections {
  explicit DetectionsResult(std::vector<Detection> from) : tapetum_detections{}, found(std::move(from)) {
    for (const Detection& one : found)
      rows.push_back({one.label.c_str(), one.box.x1, one.box.y1, one.box.x2, one.box.y2, one.score.value_or(-1.0f),
                      one.point.has_value(), one.mask ? one.mask->pixels.data() : nullptr});
    count = rows.size();
    items = rows.data();
  }
  std::vector<Detection> found;
  std::vector<tapetum_detection> rows;
};

struct CountsResult : tapetum_counts {
  explicit CountsResult(std::vector<Count> from) : tapetum_counts{}, found(std::move(from)) {
    for (const Count& one : found) rows.push_back({one.label.c_str(), one.boxes, one.answered.value_or(-1)});
    count = rows.size();
    items = rows.data();
  }
  std::vector<Count> found;
  std::vector<tapetum_count_item> rows;
};

struct VectorResult : tapetum_vector {
  explicit VectorResult(std::vector<float> from) : tapetum_vector{}, numbers(std::move(from)) {
    count = numbers.size();
    values = numbers.data();
  }
  std::vector<float> numbers;
};

struct SafetyResult : tapetum_safety {
  explicit SafetyResult(Safety from) : tapetum_safety{}, found(std::move(from)) {
    for (const PolicyScore& one : found.scores)
      rows.push_back({one.policy.c_str(), one.p_violates, one.threshold, one.violates});
    flagged = found.flagged;
    checked = found.checked.c_str();
    count = rows.size();
    scores = rows.data();
  }
  Safety found;
  std::vector<tapetum_policy_score> rows;
};

}  // namespace tap::c
