#include "tasks/guards.h"

#include <algorithm>

#include "runtime/feature_cache.h"

namespace tap {

namespace {

constexpr std::size_t remembered_pictures = 4096;

}  // namespace

void Guards::add(std::shared_ptr<const Model> model, GuardOptions options, bool in, bool out) {
  auto one = std::make_unique<One>(std::move(model), std::move(options), in, out);
  if (out) (void)AnswerFilter({&one->guard}, {}, {});  // refuses a guard of pictures
  guards_.push_back(std::move(one));
}

bool Guards::named(std::string_view name) const {
  return std::ranges::any_of(guards_, [&](const auto& one) { return one->guard.name() == name; });
}

Guard& Guards::first_of(bool pictures) {
  const auto at = std::ranges::find_if(
      guards_, [&](const auto& one) { return pictures ? one->guard.judges_pictures() : one->guard.judges_texts(); });
  return at == guards_.end() ? guards_.front()->guard : (*at)->guard;
}

std::vector<std::string_view> Guards::unchecked() const {
  if (empty()) return {};
  const auto checks = [&](bool One::*stage, bool pictures) {
    return std::ranges::any_of(
        guards_, [&](const auto& one) { return (*one).*stage && one->guard.judges_pictures() == pictures; });
  };
  std::vector<std::string_view> open;
  if (!checks(&One::in, true)) open.push_back("pictures");
  if (!checks(&One::in, false)) open.push_back("questions");
  if (!checks(&One::out, false)) open.push_back("answers");
  return open;
}

// Of every guard that judges pictures before a model; those seen before are not judged again.
std::vector<Safety> Guards::judge_known(const PictureKey& key, const std::string& what,
                                        const std::function<Safety(Guard&)>& judge) {
  std::vector<Safety> all;
  for (const auto& one : guards_) {
    if (!one->in || !one->guard.judges_pictures()) continue;
    auto at = std::ranges::find(one->pictures, key, &std::pair<PictureKey, Safety>::first);
    if (at == one->pictures.end()) {
      if (one->pictures.size() >= remembered_pictures) one->pictures.clear();
      one->pictures.emplace_back(key, judge(one->guard));
      at = one->pictures.end() - 1;
    }
    require_safe(at->second, what);
    all.push_back(at->second);
  }
  return all;
}

std::vector<Safety> Guards::judge_picture(std::span<const std::byte> file, const std::string& what) {
  return judge_known(bytes_key({reinterpret_cast<const char*>(file.data()), file.size()}), what,
                     [&](Guard& guard) { return guard.judge_picture(file, what); });
}

std::vector<Safety> Guards::judge_picture(const std::shared_ptr<const Image>& image, const std::string& what) {
  return judge_known(picture_key("", "", *image), what, [&](Guard& guard) { return guard.judge_picture(image); });
}

bool Guards::judges_answers() const {
  return std::ranges::any_of(guards_, [](const auto& one) { return one->out; });
}

bool Guards::judges_pictures() const {
  return std::ranges::any_of(guards_, [](const auto& one) { return one->in && one->guard.judges_pictures(); });
}

std::vector<Safety> Guards::judge_frames(Dim frames, const std::function<std::shared_ptr<const Image>(Dim)>& frame,
                                         const std::string& what) {
  std::vector<Safety> all;
  for (const auto& one : guards_) {
    if (!one->in || !one->guard.judges_pictures()) continue;
    all.push_back(one->guard.judge_frames(frames, frame, what));
    require_safe(all.back(), what);
  }
  return all;
}

std::vector<Safety> Guards::judge_words(const Conversation& conversation, const std::string& what) {
  std::vector<Safety> all;
  const Guard* unable = nullptr;
  for (const auto& one : guards_) {
    if (!one->in) continue;
    if (one->guard.judges_pictures()) {
      unable = &one->guard;
      continue;
    }
    all.push_back(one->guard.judge_text(words_of(conversation)));
    require_safe(all.back(), what);
  }
  if (all.empty() && unable && conversation.media().empty())
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: is text alone, and {} judges pictures only; name a guard of texts too, such as "
                            "--guard google/shieldgemma-2b@in",
                            what, unable->name()),
                what);
  return all;
}

std::unique_ptr<AnswerFilter> Guards::filter(const Conversation& conversation, const std::string& what) {
  std::vector<Guard*> behind;
  for (const auto& one : guards_)
    if (one->out) behind.push_back(&one->guard);
  if (behind.empty()) return nullptr;
  return std::make_unique<AnswerFilter>(std::move(behind), words_of(conversation), what);
}

}  // namespace tap
