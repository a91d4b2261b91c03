// Which frames of a video are looked at, against the references' own choice (tools/goldens/make_frames.py).
#include <doctest/doctest.h>

#include "base/file.h"
#include "io/json.h"
#include "runtime/model.h"

using namespace tap;

namespace {

std::unique_ptr<Model> model_of(const std::string& family, const Json& options) {
  return load_model(TAPETUM_SOURCE_DIR "/tests/families/" + family + "/checkpoint",
                    {.dtype = Dtype::f32, .config_change = {}, .processor_options = options, .weights = false});
}

}  // namespace

TEST_CASE("the frames of a video are those that the references take") {
  const auto smol = model_of(
      "smolvlm2", {{"video_sampling", {{"fps", 1}, {"max_frames", 64}, {"video_size", {{"longest_edge", 32}}}}}});
  const auto qwen = model_of("qwen2_5_vl", {});
  const Json file = Json::parse(read_file(TAPETUM_SOURCE_DIR "/tests/data/frames.json", 1 << 22).value());
  int qwen_cases = 0;
  for (const Json& one : file["cases"]) {
    const Dim frames = one["frames"].get<Dim>();
    const double fps = one["video_fps"].get<double>();
    const VideoShape shape{frames, fps, static_cast<double>(frames) / fps};
    CAPTURE(frames);
    CAPTURE(fps);
    CHECK(smol->processor().choose_frames(shape, {}).indices == one["smolvlm2"].get<std::vector<Dim>>());
    if (!one.contains("qwen")) continue;
    ++qwen_cases;
    FrameWish wish;
    wish.fps = one["fps"].get<double>();
    const FrameChoice choice = qwen->processor().choose_frames(shape, wish);
    CHECK(choice.indices == one["qwen"].get<std::vector<Dim>>());
    CHECK(choice.sampled_fps == doctest::Approx(one["qwen_fps"].get<double>()));
  }
  CHECK(file["cases"].size() == 120);
  CHECK(qwen_cases > 80);
}

TEST_CASE("a number of frames can be asked for, and one frame is a video too") {
  const auto qwen = model_of("qwen2_5_vl", {});
  FrameWish wish;
  wish.frames = 7;
  CHECK(qwen->processor().choose_frames({100, 25, 4}, wish).indices.size() == 8);
  CHECK(qwen->processor().choose_frames({1, 25, 0.04}, {}).indices == std::vector<Dim>{0});
  const auto smol = model_of("smolvlm2", {});
  wish.frames = 3;
  CHECK(smol->processor().choose_frames({100, 10, 10}, wish).indices.size() == 3);
  CHECK(smol->processor().choose_frames({1, 25, 0.04}, {}).indices == std::vector<Dim>{0});
  CHECK_THROWS_AS(model_of("smolvlm", {})->processor().choose_frames({10, 1, 10}, {}), Error);
  CHECK_THROWS_AS(model_of("gemma3", {})->processor().choose_frames({10, 1, 10}, {}), Error);
}
