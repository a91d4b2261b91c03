// tapetum watch VIDEO|/dev/videoN ["question"]
#include <algorithm>
#include <cmath>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "cli/asking.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/videos.h"
#include "media/camera.h"
#include "media/pixels.h"

namespace tap::cli {

namespace {

constexpr const char* watch_question = "Describe the image.";

// Frames in their order; `next` gives the first one at or after a time.
class Source {
 public:
  struct Frame {
    Image image;
    double seconds = 0;
  };
  virtual ~Source() = default;
  virtual std::optional<Frame> next(double at_least) = 0;  // nothing at the end
  virtual double begin() const { return 0; }
  virtual bool live() const { return false; }
};

class FileSource final : public Source {
 public:
  FileSource(const std::string& path, const Options& options)
      : video_(path), begin_(options.start.value_or(0)), end_(options.end.value_or(video_.duration())) {
    const auto seconds = video_.seconds();
    if (begin_ > seconds.back() || end_ < begin_)
      throw Error(
          ErrorCode::bad_input,
          fmt::format("{}: has no frame from {} to {} s: it lasts {:.2f} s", path, begin_, end_, video_.duration()),
          path);
  }
  double begin() const override { return begin_; }
  std::optional<Frame> next(double at_least) override {
    const auto seconds = video_.seconds();
    const Dim index = std::ranges::lower_bound(seconds, at_least - 1e-9) - seconds.begin();
    if (index >= video_.frames() || seconds[static_cast<std::size_t>(index)] > end_) return std::nullopt;
    VideoFile::Frame frame = video_.frame(index);
    return Frame{std::move(frame.image), frame.seconds};
  }

 private:
  VideoFile video_;
  double begin_, end_;
};

class CameraSource final : public Source {
 public:
  explicit CameraSource(const std::string& path) : camera_(path) {}
  bool live() const override { return true; }
  std::optional<Frame> next(double) override {
    Image image = camera_.newest();
    return Frame{std::move(image), since_.ms() / 1000};
  }

 private:
  Camera camera_;
  Stopwatch since_;
};

void sleep_until(const Stopwatch& clock, double seconds) {
  while (clock.ms() < seconds * 1000) {
    ExecContext::current().checkpoint();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace

int run_watch(const Options& options) {
  if (options.words.empty() || options.words.size() > 2)
    fail(ErrorCode::usage, "watch takes a video or a camera, and a question if you like: tapetum watch clip.mp4");
  const std::string& path = options.words[0];
  const std::string question = options.words.size() > 1 ? options.words[1] : watch_question;
  const double change = change_of(options);
  const Loaded loaded = load_model_for(options, {}, 1);
  const Model& model = *loaded.model;
  const GenerateOptions generate = generate_options(options, model);
  Guards guards(options);
  std::unique_ptr<Source> source;
  if (is_camera(path))
    source = std::make_unique<CameraSource>(path);
  else
    source = std::make_unique<FileSource>(path, options);
  Session session(model, {.context = options.context, .features = nullptr});

  const double step = 1 / options.fps.value_or(1);
  const bool paced = options.stream || source->live();
  const Stopwatch clock;
  std::shared_ptr<const Image> described;
  std::string said;
  Dim looked = 0, alike = 0, left_out = 0;
  double error = 0;
  for (double at = source->begin();; at += step) {
    ExecContext::current().checkpoint();
    if (paced) {
      const double now = source->begin() + clock.ms() / 1000;
      if (now > at + step) {  // behind: on with what is there now
        const double missed = std::floor((now - at) / step);
        left_out += static_cast<Dim>(missed);
        at += missed * step;
      }
      sleep_until(clock, at - source->begin());
    }
    const std::optional<Source::Frame> frame = source->next(at);
    if (!frame) break;
    at = std::max(at, frame->seconds);
    if (described) {
      const double changed = mean_difference(*described, frame->image);
      if (changed <= std::max(change, 0.0)) {
        ++alike;
        error = std::max(error, changed);
        continue;
      }
    }
    described = std::make_shared<const Image>(frame->image);
    ++looked;
    if (guards.judges_pictures())
      (void)guards.judge_frames(
          1, [&](Dim) { return described; }, fmt::format("{} at {}", path, clock_text(at)));
    Conversation asked;
    if (!options.system.empty()) asked.system(options.system);
    asked.user(question, {described});
    if (looked == 1) (void)guards.judge_words(asked, "the question");  // it stays the same
    const Stopwatch watch;
    Answer got = answer(session, asked, generate);
    if (const auto filter = guards.filter(asked, fmt::format("the answer at {}", clock_text(at))))
      got.text = filter->whole(got.text);
    if (got.text == said) continue;  // what is seen has not changed
    said = got.text;
    if (options.json)
      write_json({{"seconds", frame->seconds}, {"text", got.text}, {"ms", watch.ms()}});
    else
      write_out(fmt::format("{} {}\n", clock_text(frame->seconds), got.text));
  }
  if (log::level() != log::Level::quiet)
    std::fprintf(stderr, "%s\n",
                 fmt::format("{} frames looked at, {} passed over as {}{}", looked, alike,
                             change < 0 ? "equal" : fmt::format("alike (they differ by at most {:.2f} of 255)", error),
                             left_out > 0 ? fmt::format(", {} left out to keep up", left_out) : std::string())
                     .c_str());
  return 0;
}

}  // namespace tap::cli
