// Safety filtering: whether pictures and texts violate policies, as a classifier judges them, and answers that are let
// out only after they were judged. What cannot be judged is not let through.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/session.h"

namespace tap {

struct PolicyScore {
  std::string policy;
  double p_violates =
      0;  // P(Yes) in the softmax over the logits of Yes and No alone, as ShieldGemma's processor has it
  double threshold = 0.5;
  double off_form = 0;  // what the full softmax gives to all other tokens: near 1, the question was not understood
  Dim frame = 0;        // of a picture with several: the one that scored highest
  bool violates() const { return !(p_violates < threshold); }
};

// What a guard says of one picture or text.
struct Safety {
  std::string guard;                // the model that judged
  std::string_view checked;         // "image" or "text"
  std::vector<PolicyScore> scores;  // one a policy
  Dim frames = 1;                   // of the picture, all judged
  bool flagged() const;
  const PolicyScore& worst() const;  // the furthest above its threshold
};

struct GuardOptions {
  std::vector<std::string> policies;              // names; none, or "all": all that the guard has
  std::vector<SafetyHead::Policy> own = {};       // further ones; they win over equal names
  double threshold = 0.5;                         // from 0 to 1: refused from it on
  std::map<std::string, double> thresholds = {};  // of policies with one of their own
};

constexpr Dim guard_most_frames = 1000;  // of one file; more cannot be judged
constexpr Dim guard_most_held_characters = 200;

class Guard {
 public:
  // Throws Error(unsupported) when the model is no classifier or takes no policies but its own, Error(usage) naming an
  // unknown policy and those that exist, or a threshold out of range.
  Guard(std::shared_ptr<const Model> model, GuardOptions options);

  const std::string& name() const { return model_->name(); }
  bool judges_pictures() const { return head_.judges == SafetyHead::Judges::pictures; }
  bool judges_texts() const { return head_.judges == SafetyHead::Judges::texts; }
  std::span<const SafetyHead::Policy> policies() const { return policies_; }

  // Both throw Error(unsupported) naming a guard that could where this one cannot judge such a thing.
  //
  // Every picture of a file, each laid on white and on black where it is transparent; the highest score counts.
  // `what` names it in errors. Throws what decoding throws, Error(limit) beyond guard_most_frames.
  Safety judge_picture(std::span<const std::byte> file, std::string_view what);
  Safety judge_picture(const std::shared_ptr<const Image>& image);
  // Of a video: the highest score of so many frames counts.
  Safety judge_frames(Dim frames, const std::function<std::shared_ptr<const Image>(Dim)>& frame, std::string_view what);
  // What a user says; then what a model answered to it. Texts beyond the guard's context are judged in parts that
  // overlap.
  Safety judge_text(std::string_view text);
  Safety judge_answer(std::string_view question, std::string_view answer);

  Dim judged() const { return judged_; }  // questions put to the model so far

 private:
  void require(SafetyHead::Judges wanted, std::string_view what) const;
  Safety blank(std::string_view checked) const;
  void judge_frame(const std::shared_ptr<const Image>& image, Dim frame, Safety& safety);
  PolicyScore score_text(const SafetyHead::Policy& policy, std::string_view question, std::string_view text,
                         bool is_answer);
  Safety judge_words(std::string_view question, std::string_view text, bool is_answer);
  PolicyScore put(const Conversation& question);
  void warn_off_form(const Safety& safety);  // once

  std::shared_ptr<const Model> model_;
  SafetyHead head_;
  std::vector<SafetyHead::Policy> policies_;
  GuardOptions options_;
  Session session_;
  Dim judged_ = 0;
  bool warned_ = false;
};

// All that users typed in a conversation.
std::string words_of(const Conversation& conversation);

// Throws Error(refused) saying who refuses `what` and why, when it is flagged.
void require_safe(const Safety& safety, std::string_view what);

// An answer on its way out: pieces go in, what guards have passed comes out. Held back by sentence, at most
// guard_most_held_characters; each sentence is judged with all that came before it.
class AnswerFilter {
 public:
  // Throws Error(unsupported) for a guard that judges pictures only.
  AnswerFilter(std::vector<Guard*> guards, std::string question, std::string what);
  // What may be shown now. Throws Error(refused): nothing of the sentence it is about has come out.
  std::string feed(std::string_view piece);
  std::string finish();  // the rest
  std::string whole(std::string_view answer) { return feed(answer) + finish(); }
  const std::vector<Safety>& verdicts() const { return verdicts_; }  // of the last judging, one a guard

 private:
  void judge(std::string_view chunk);
  std::vector<Guard*> guards_;
  std::string question_, what_, passed_, held_;
  std::vector<Safety> verdicts_;
};

// Bytes of the first part of `text` that may be judged alone: through the end of a sentence that is followed by white
// space, or at most `characters`, cut at white space where there is some. 0: not yet.
std::size_t judged_part(std::string_view text, Dim characters);

}  // namespace tap
