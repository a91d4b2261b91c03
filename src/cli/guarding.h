// --guard on every command that asks a model: what goes in is judged before, what comes out before anybody sees it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/options.h"
#include "io/json.h"
#include "runtime/conversation.h"
#include "tasks/guard.h"

namespace tap::cli {

// MODEL[:THRESHOLD][@in|out]; a threshold is a number or a file of `guard calibrate`.
struct GuardSpec {
  std::string model;
  std::string threshold;  // empty: 0.5
  bool in = true, out = true;
};
GuardSpec parse_guard(std::string_view text);  // throws Error(usage)

// Sets one threshold for all policies, or those of a file {"thresholds": {policy: number}}. Throws Error.
void set_threshold(GuardOptions& options, const std::string& text);

// The guard's model, with a context of its own. `options` say what load_model_for reads of them.
std::shared_ptr<const Model> load_guard(const GuardSpec& spec, const Options& options);

class Guards {
 public:
  Guards() = default;
  // Loads the models that --guard names. Throws Error: a guard that is none, or one of pictures behind a model.
  explicit Guards(const Options& options);
  Guards(const Guards&) = delete;
  Guards& operator=(const Guards&) = delete;

  bool empty() const { return guards_.empty(); }
  // What the input guards say of a picture's file; pictures seen before are not judged again. Throws Error(refused).
  std::vector<Safety> judge_picture(std::span<const std::byte> file, const std::string& what);
  // Whether anything judges pictures before a model.
  bool judges_pictures() const;
  // Of a video's frames.
  std::vector<Safety> judge_frames(Dim frames, const std::function<std::shared_ptr<const Image>(Dim)>& frame,
                                   const std::string& what);
  // What they say of all that users typed in the conversation. Throws Error(refused), and Error(unsupported) for a
  // conversation of words alone that no input guard can judge.
  std::vector<Safety> judge_words(const Conversation& conversation, const std::string& what);
  // Lets an answer out as the output guards pass it; null: there are none.
  std::unique_ptr<AnswerFilter> filter(const Conversation& conversation, const std::string& what);

 private:
  struct One {
    One(std::shared_ptr<const Model> model, GuardOptions options, const GuardSpec& spec)
        : guard(std::move(model), std::move(options)), in(spec.in), out(spec.out) {}
    Guard guard;
    bool in, out;
    std::vector<std::pair<PictureKey, Safety>> pictures;  // judged before, by their files' bytes
  };
  std::vector<std::unique_ptr<One>> guards_;
};

}  // namespace tap::cli
