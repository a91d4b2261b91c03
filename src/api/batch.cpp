// Conversations given whole: one, or many at once.
#include "api/internal.h"

#include <algorithm>
#include <map>

namespace tap::api {

std::vector<tap::Message> inner_messages(std::span<const v1::Message> messages) {
  constexpr std::string_view roles[] = {"system", "user", "assistant"};
  std::vector<tap::Message> all;
  for (const v1::Message& message : messages) {
    const auto role = static_cast<std::size_t>(message.role);
    if (role >= std::size(roles)) throw v1::Error(v1::ErrorCode::usage, "no such role", "role");
    tap::Message& one = all.emplace_back(tap::Message{std::string(roles[role]), {}});
    for (const v1::Part& part : message.parts)
      one.parts.push_back(part.image ? tap::Part{{}, Access::picture(*part.image)} : tap::Part{part.text});
  }
  return all;
}

namespace {

// A conversation that is being answered.
struct Item {
  std::size_t index = 0;
  bool exact = false;  // the ends of its text count, white space too
  std::string text = {};
  Stopwatch since = {};
};

v1::Answer public_answer(const tap::Answer& from, const Item& item) {
  v1::Answer answer;
  answer.text = item.exact ? item.text : std::string(trimmed(item.text));
  answer.finish = from.finish_reason == FinishReason::length ? v1::Finish::length : v1::Finish::stop;
  answer.prompt_tokens = from.timings.prompt_tokens;
  answer.image_tokens = from.timings.image_tokens;
  answer.cached_tokens = from.timings.cached_tokens;
  answer.output_tokens = from.timings.output_tokens;
  answer.first_token_ms = from.timings.first_token_ms;
  answer.total_ms = item.since.ms();
  return answer;
}

v1::Error public_error(const tap::Error& error) {
  return v1::Error(code_of(error.code()), error.message(), error.item());
}

class Batch {
 public:
  Batch(Engine& engine, std::span<const std::vector<v1::Message>> conversations, const v1::AskOptions& options,
        std::int64_t at_once)
      : conversations_(conversations), generate_(generate_options(options, engine)), outcomes_(conversations.size()) {
    if (options.max_tokens < 1) fail(tap::ErrorCode::usage, "max_tokens is {}, must be at least 1", options.max_tokens);
    BatchOptions how;
    how.sequences = std::min<Dim>(at_once, static_cast<Dim>(conversations.size()));
    how.features = engine.features;
    generator_.emplace(*engine.model, std::move(how));
  }

  // One forward of all that are under way. False: all have ended.
  bool step() {
    while (next_ < conversations_.size() && generator_->has_room()) begin(next_++);
    if (generator_->idle()) return false;
    BatchGenerator::Step done = generator_->step();
    for (const BatchGenerator::Event& event : done.events) running_.at(event.id).text += event.token.text;
    for (BatchGenerator::Finished& finished : done.finished) {
      Item item = std::move(running_.extract(finished.id).mapped());
      item.text += finished.rest;
      if (finished.error)
        outcomes_[item.index].error = public_error(*finished.error);
      else
        outcomes_[item.index].answer = public_answer(finished.answer, item);
    }
    return true;
  }

  std::vector<v1::Outcome> outcomes() { return std::move(outcomes_); }

 private:
  void begin(std::size_t index) {
    try {
      Item item{.index = index, .exact = generate_.constraint != nullptr};
      Conversation conversation;
      conversation.messages = inner_messages(conversations_[index]);
      if (conversation.messages.empty()) fail(tap::ErrorCode::usage, "there are no messages to answer");
      const tap::Message& last = conversation.messages.back();
      conversation.go_on = last.role == "assistant";
      if (!conversation.go_on &&
          std::ranges::all_of(last.parts, [](const tap::Part& part) { return trimmed(part.text).empty(); }))
        fail(tap::ErrorCode::usage, "the question is empty");
      item.exact |= conversation.go_on;
      running_[generator_->add(conversation, generate_)] = std::move(item);
    } catch (const v1::Error& error) {
      outcomes_[index].error = error;
    } catch (const tap::Error& error) {
      if (error.code() == tap::ErrorCode::cancelled) throw;
      outcomes_[index].error = public_error(error);
    }
  }

  std::span<const std::vector<v1::Message>> conversations_;
  GenerateOptions generate_;
  std::vector<v1::Outcome> outcomes_;
  std::optional<BatchGenerator> generator_;
  std::map<BatchGenerator::Id, Item> running_;
  std::size_t next_ = 0;  // conversation
};

}  // namespace

}  // namespace tap::api

namespace tap::v1 {

std::vector<Outcome> Model::answer_all(std::span<const std::vector<Message>> conversations, const AskOptions& options,
                                       std::int64_t at_once) const {
  constexpr std::int64_t most = 256;
  if (at_once < 1 || at_once > most)
    throw Error(ErrorCode::usage, fmt::format("at_once is {}, must be from 1 to {}", at_once, most), "at_once");
  if (conversations.empty()) return {};
  // Other calls of the model have their turns between the forwards; the cache lies in the engine's arena, which the
  // last turn must own when it goes.
  std::optional<api::Batch> batch;
  const auto end = [&] { api::with_engine(*engine_, {}, [&] { batch.reset(); }); };
  try {
    api::with_engine(*engine_, options.keep_on, [&] { batch.emplace(*engine_, conversations, options, at_once); });
    while (api::with_engine(*engine_, options.keep_on, [&] { return batch->step(); })) {
    }
  } catch (...) {
    end();
    throw;
  }
  std::vector<Outcome> outcomes = batch->outcomes();
  end();
  return outcomes;
}

Answer Model::answer(std::span<const Message> messages, const AskOptions& options) const {
  const std::vector<Message> conversation(messages.begin(), messages.end());
  Outcome outcome = std::move(answer_all({&conversation, 1}, options, 1).front());
  if (outcome.error) throw *outcome.error;
  return std::move(*outcome.answer);
}

}  // namespace tap::v1
