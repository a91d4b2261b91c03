// Videos in families that take them: equal steps are computed once and change nothing, like ones are lossy and say so.
#include "golden.h"

#include <cstring>

#include <doctest/doctest.h>

#include "runtime/picture_encoder.h"

using namespace tap;
using golden::picture;

namespace {

std::unique_ptr<Model> model_of(const char* family) {
  return load_model(golden::root + "/" + family + "/checkpoint",
                    {.dtype = Dtype::f32, .config_change = {}, .processor_options = {}, .weights = true});
}

// Frames by the seeds of their pixels.
std::shared_ptr<Clip> clip_of(const Model& model, const std::vector<int>& seeds, Dim width = 64, Dim height = 48) {
  auto clip = std::make_shared<Clip>();
  FrameTimes times{{}, 2, static_cast<double>(seeds.size()) / 2};
  for (std::size_t i = 0; i < seeds.size(); ++i) times.seconds.push_back(static_cast<double>(i) / 2);
  clip->plan = model.processor().plan_video(width, height, times);
  for (const int seed : seeds)
    clip->frames.push_back(model.processor().prepare(*picture(width, height, seed), clip->plan));
  return clip;
}

Tensor rows_of(const Model& model, PictureEncoder& encoder, const std::shared_ptr<const Clip>& clip) {
  (void)model;
  const Medium medium{nullptr, clip};
  return encoder.rows(encoder.key_of(medium), medium, clip->plan);
}

bool equal(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(a.bytes())) == 0;
}

}  // namespace

TEST_CASE("equal steps of a video are computed once, and its rows are the same to the bit") {
  for (const char* family : {"smolvlm2", "qwen2_5_vl"}) {
    CAPTURE(family);
    const auto model = model_of(family);
    const auto clip = clip_of(*model, {1, 1, 1, 1, 5, 5, 1, 1, 9, 9});
    PictureEncoder encoder(*model, nullptr);
    const Tensor rows = rows_of(*model, encoder, clip);
    CHECK(rows.dim(0) == clip->plan.tokens);
    const Dim steps = clip->plan.tiles(), each = static_cast<Dim>(clip->frames.size()) / steps;
    CHECK(encoder.steps() == steps);
    CHECK(encoder.reused() == steps - 3);
    CHECK(encoder.error() == 0);
    // Each step alone, without any other to take from.
    ImagePlan one = clip->plan;
    if (one.grid.steps > 0) one.grid.steps = 1;
    const Dim tokens = rows.dim(0) / steps;
    for (Dim step = 0; step < steps; ++step) {
      const auto frames =
          std::span(clip->frames).subspan(static_cast<std::size_t>(step * each), static_cast<std::size_t>(each));
      const Tensor alone =
          model->network().see(model->processor().video_tiles(frames, clip->plan, step, step + 1), one);
      CHECK(equal(alone, rows.rows(step * tokens, (step + 1) * tokens)));
    }
  }
}

TEST_CASE("steps that differ little take rows of the one before when that is asked for, and the error is measured") {
  const auto model = model_of("qwen2_5_vl");
  auto clip = clip_of(*model, {1, 1, 1, 1, 7, 7});
  for (std::size_t i = 0; i < clip->frames[2].pixels.size(); i += 4)
    clip->frames[2].pixels[i] ^= 1;  // noise of a sensor
  PictureEncoder exact(*model, nullptr), lossy(*model, nullptr);
  const Tensor all = rows_of(*model, exact, clip);
  CHECK(exact.reused() == 0);
  clip->change = 0.5;
  const Tensor some = rows_of(*model, lossy, clip);
  CHECK(lossy.reused() == 1);
  CHECK(lossy.error() == doctest::Approx(0.125).epsilon(0.01));  // a quarter of one of two frames by 1
  CHECK_FALSE(equal(all, some));
  CHECK(equal(all.rows(0, all.dim(0) / 3), some.rows(0, some.dim(0) / 3)));
}

TEST_CASE("a video and pictures in one conversation, and what a model cannot take") {
  const auto model = model_of("qwen2_5_vl");
  const auto clip = clip_of(*model, {1, 2, 3, 4});
  Conversation talk;
  talk.user_about({nullptr, clip}, "What happens?");
  talk.assistant("Much.");
  talk.user("And here?", {picture(64, 48, 3)});
  const PreparedPrompt prepared = model->prepare(talk);
  REQUIRE(prepared.plans.size() == 2);
  CHECK(prepared.plans[0].is_video());
  CHECK_FALSE(prepared.plans[1].is_video());
  Session session(*model);
  const golden::Run first = golden::run(session, talk, 6);
  CHECK(session.pictures_encoded() == 2);
  Session again(*model);
  CHECK(golden::run(again, talk, 6).ids == first.ids);
  const auto smol = model_of("smolvlm");
  CHECK_THROWS_AS(smol->processor().plan_video(64, 48, {{0}, 1, 1}), Error);
}

TEST_CASE("the words of a video's prompt count in English and by the clock") {
  const auto model = model_of("smolvlm2");
  const auto text = [&](std::size_t frames, double step, double duration) {
    FrameTimes times{{}, 1, duration};
    for (std::size_t i = 0; i < frames; ++i) times.seconds.push_back(static_cast<double>(i) * step);
    auto clip = std::make_shared<Clip>();
    clip->plan = model->processor().plan_video(64, 48, times);
    for (std::size_t i = 0; i < frames; ++i) clip->frames.push_back(Image(32, 32));
    return model->prepare(Conversation().user_about({nullptr, clip}, "?")).prompt.text;
  };
  CHECK(text(21, 61, 3723).find("series of twenty-one frames from a 1:02:03 [H:MM:SS] video.\n") != std::string::npos);
  CHECK(text(21, 61, 3723).find("\nFrame from 20:20:") != std::string::npos);
  CHECK(text(2, 1, 90000).find("from a 1 day, 1:00:00 [H:MM:SS]") != std::string::npos);
}
