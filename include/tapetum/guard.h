// Safety filtering: classifiers that judge pictures and texts by policies, alone or around a chat.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tapetum/answer.h>
#include <tapetum/image.h>

namespace tap::api {  // the library's inside
struct Judge;
}  // namespace tap::api

namespace tap {
namespace v1 [[gnu::visibility("default")]] {

struct PolicyScore {
  std::string policy = {};
  double p_violates = 0;  // [0, 1]: P(Yes) in the softmax over the logits of Yes and No alone
  double threshold = 0;   // refused from it on
  bool violates = false;
};

// What a guard says of one picture or text.
struct Safety {
  bool flagged = false;                  // a policy is violated
  std::string checked = {};              // "image" or "text"
  std::vector<PolicyScore> scores = {};  // in the order of the policies
};

struct GuardOptions {
  std::vector<std::string> policies = {};                     // by name; none: all that the guard has
  std::vector<std::pair<std::string, std::string>> own = {};  // further ones, name and text; they win over equal names
  double threshold = 0.5;                                     // [0, 1]
  std::map<std::string, double> thresholds = {};              // of policies with one of their own
  int threads = 0;                                            // as in LoadOptions
};

// A classifier. Copies are handles to the same one; any number of threads may use it, their calls take turns.
class Guard {
 public:
  // "nano" judges pictures (the demonstration: drawn scenes), ShieldGemma 2 pictures, ShieldGemma 1 texts; names as in
  // Model::load. Throws what that throws, unsupported for a model that is no guard, usage for an unknown policy or a
  // threshold out of range.
  //   tap::Guard guard = tap::Guard::load("nano");
  static Guard load(const std::string& name = "nano", const GuardOptions& options = {});

  bool judges_pictures() const noexcept;
  bool judges_texts() const noexcept;

  // Throw unsupported for what this guard cannot judge, cancelled, what computing throws: nothing passes unjudged.
  //   if (guard.judge(roof).flagged) std::cout << "refused\n";
  Safety judge(const Image& image, const KeepOn& keep_on = {});
  Safety judge(std::string_view text, const KeepOn& keep_on = {});  // what a user says
  Safety judge_answer(std::string_view question, std::string_view answer, const KeepOn& keep_on = {});

 private:
  friend struct api::Access;
  explicit Guard(std::shared_ptr<api::Judge> judge) noexcept : judge_(std::move(judge)) {}
  std::shared_ptr<api::Judge> judge_;
};

}  // namespace gnu::visibility("default")]]
}  // namespace tap
