// The guards around a model: what goes in is judged before, what comes out before anybody sees it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/conversation.h"
#include "tasks/guard.h"

namespace tap {

class Guards {
 public:
  Guards() = default;
  Guards(const Guards&) = delete;
  Guards& operator=(const Guards&) = delete;

  // One more, of what goes in, what comes out, or both. Throws Error: a guard that is none, or one of pictures behind a
  // model.
  void add(std::shared_ptr<const Model> model, GuardOptions options, bool in, bool out);
  std::vector<std::string_view> unchecked()
      const;  // of "pictures", "questions" and "answers": what none of them judges

  bool empty() const { return guards_.empty(); }
  bool named(std::string_view name) const;  // whether one of them has this name
  // That judges such things; where there is none, the first, which says so when it is asked. There must be one.
  Guard& first_of(bool pictures);
  // What the input guards say of a picture's file; pictures seen before are not judged again. Throws Error(refused).
  std::vector<Safety> judge_picture(std::span<const std::byte> file, const std::string& what);
  std::vector<Safety> judge_picture(const std::shared_ptr<const Image>& image, const std::string& what);
  // Whether anything judges pictures before a model.
  bool judges_pictures() const;
  bool judges_answers() const;
  // Of a video's frames.
  std::vector<Safety> judge_frames(Dim frames, const std::function<std::shared_ptr<const Image>(Dim)>& frame,
                                   const std::string& what);
  // What they say of all that users typed in the conversation. Throws Error(refused), and Error(unsupported) for a
  // conversation of words alone that no input guard can judge.
  std::vector<Safety> judge_words(const Conversation& conversation, const std::string& what);
  // Lets an answer out as the output guards pass it; null: there are none.
  std::unique_ptr<AnswerFilter> filter(const Conversation& conversation, const std::string& what);

 private:
  std::vector<Safety> judge_known(const PictureKey& key, const std::string& what,
                                  const std::function<Safety(Guard&)>& judge);
  struct One {
    One(std::shared_ptr<const Model> model, GuardOptions options, bool before, bool behind)
        : guard(std::move(model), std::move(options)), in(before), out(behind) {}
    Guard guard;
    bool in, out;
    std::vector<std::pair<PictureKey, Safety>> pictures;  // judged before, by their files' bytes
  };
  std::vector<std::unique_ptr<One>> guards_;
};

}  // namespace tap
