#include "api/internal.h"

namespace tap::api {

v1::Safety public_safety(const tap::Safety& safety) {
  v1::Safety all{safety.flagged(), std::string(safety.checked), {}};
  for (const tap::PolicyScore& score : safety.scores)
    all.scores.push_back({score.policy, score.p_violates, score.threshold, score.violates()});
  return all;
}

void judge_input(std::span<const v1::Guard> guards, const Conversation& conversation, std::span<const v1::Image> images,
                 const KeepOn& keep_on) {
  bool words_are_judged = false;
  for (const v1::Guard& guard : guards) {
    Judge& judge = Access::judge(guard);
    with_engine(*judge.engine, keep_on, [&] {
      if (judge.guard->judges_texts()) {
        require_safe(judge.guard->judge_text(words_of(conversation)), "the question");
        words_are_judged = true;
      } else {
        for (const v1::Image& image : images)
          require_safe(judge.guard->judge_picture(Access::picture(image)), "a picture");
      }
    });
  }
  if (!guards.empty() && !words_are_judged && conversation.images().empty())
    throw v1::Error(v1::ErrorCode::unsupported,
                    "the question is text alone, and the guards before it judge pictures only; add one of texts, such "
                    "as google/shieldgemma-2b");
}

}  // namespace tap::api

namespace tap::v1 {

Guard Guard::load(const std::string& name, const GuardOptions& options) {
  const Model model = Model::load(name, {.dtype = Dtype::automatic, .threads = options.threads, .keep_on = {}});
  return api::guarded([&] {
    auto judge = std::make_shared<api::Judge>();
    judge->engine = api::Access::engine(model);
    tap::GuardOptions how;
    how.policies = options.policies;
    for (const auto& [policy, text] : options.own) how.own.push_back({policy, text});
    how.threshold = options.threshold;
    how.thresholds = options.thresholds;
    api::with_engine(*judge->engine, {}, [&] {
      // the engine owns the model and outlives the guard
      const std::shared_ptr<const tap::Model> held(judge->engine, judge->engine->model.get());
      judge->guard = std::make_unique<tap::Guard>(held, std::move(how));
    });
    return api::Access::guard(std::move(judge));
  });
}

bool Guard::judges_pictures() const noexcept { return judge_->guard->judges_pictures(); }
bool Guard::judges_texts() const noexcept { return judge_->guard->judges_texts(); }

Safety Guard::judge(const Image& image, const KeepOn& keep_on) {
  return api::with_engine(*judge_->engine, keep_on, [&] {
    return api::public_safety(judge_->guard->judge_picture(api::Access::picture(image)));
  });
}

Safety Guard::judge(std::string_view text, const KeepOn& keep_on) {
  return api::with_engine(*judge_->engine, keep_on,
                          [&] { return api::public_safety(judge_->guard->judge_text(text)); });
}

Safety Guard::judge_answer(std::string_view question, std::string_view answer, const KeepOn& keep_on) {
  return api::with_engine(*judge_->engine, keep_on,
                          [&] { return api::public_safety(judge_->guard->judge_answer(question, answer)); });
}

}  // namespace tap::v1
