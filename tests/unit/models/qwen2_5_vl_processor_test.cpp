#include "models/qwen2_5_vl_processor.h"

#include <doctest/doctest.h>

#include "base/file.h"
#include "media/resize.h"
#include "runtime/model.h"

using namespace tap;

namespace {

const std::string folder = TAPETUM_SOURCE_DIR "/tests/families/qwen2_5_vl/checkpoint";

std::unique_ptr<Model> opened(const Json& options = {}, const Json& change = {}) {
  return load_model(folder,
                    {.dtype = Dtype::f32, .config_change = change, .processor_options = options, .weights = false});
}

std::string refusal(const Json& options, const Json& change = {}) {
  try {
    opened(options, change);
    return "accepted";
  } catch (const Error& error) {
    return error.message();
  }
}

std::shared_ptr<const Image> gradient(Dim width, Dim height) {
  auto image = std::make_shared<Image>(width, height);
  for (std::size_t i = 0; i < image->pixels.size(); ++i) image->pixels[i] = static_cast<std::uint8_t>(i * 7);
  return image;
}

FrameTimes every_second(int frames, double fps = 1) {
  FrameTimes times{{}, fps};
  for (int i = 0; i < frames; ++i) times.seconds.push_back(i / fps);
  return times;
}

}  // namespace

// tests/data/smart_resize.json: [height, width, factor, min_pixels, max_pixels, height, width] of transformers 5.23's
// smart_resize; zeros where it raises.
TEST_CASE("smart_resize gives the reference's sizes, halves to even") {
  const Json rows = Json::parse(read_file(TAPETUM_SOURCE_DIR "/tests/data/smart_resize.json", 1 << 20).value());
  int refused = 0;
  for (const Json& row : rows) {
    CAPTURE(row.dump());
    const SizePx size{row[1].get<Dim>(), row[0].get<Dim>()};
    const auto fitted = [&] {
      return qwen2_5_vl::smart_resize(size, row[2].get<Dim>(), row[3].get<Dim>(), row[4].get<Dim>());
    };
    if (row[5].get<Dim>() == 0) {
      CHECK_THROWS_AS(fitted(), Error);
      ++refused;
      continue;
    }
    CHECK(fitted() == SizePx{row[6].get<Dim>(), row[5].get<Dim>()});
  }
  CHECK(rows.size() > 400);
  CHECK(refused > 10);
}

TEST_CASE("[B13] a picture of one pixel by 5000 is refused with its sides") {
  const auto model = opened();
  try {
    model->processor().plan(1, 5000);
    FAIL("planned");
  } catch (const Error& error) {
    CHECK(error.message() == "a picture of 1x5000: this model takes sides of up to 200 to 1");
  }
  CHECK_THROWS_AS(model->processor().plan(0, 10), Error);
}

TEST_CASE("pixels are patches in blocks, equal for both frames of a picture's step") {
  const auto model = opened({{"min_pixels", 3136}, {"max_pixels", 12845056}});
  const Processor& processor = model->processor();
  const auto image = gradient(84, 56);  // 6 x 4 patches, a size of its own
  const ImagePlan plan = processor.plan(84, 56);
  CHECK(plan.resizes.empty());
  CHECK(plan.grid == PatchGrid{1, 4, 6});
  CHECK(plan.tokens == 6);
  CHECK(plan.tiles() == 1);
  const Tensor pixels = processor.pixels(*image, plan);
  CHECK(pixels.shape() == Shape({24, 1176}));
  const std::array<double, 3> mean{0.48145466, 0.4578275, 0.40821073}, std{0.26862954, 0.26130258, 0.27577711};
  // Patch 5 stands in the second block of the first pair of rows: row 0, column 3.
  for (const auto& [patch, top, left] : {std::tuple{0, 0, 0}, {1, 0, 1}, {2, 1, 0}, {5, 0, 3}, {12, 2, 0}, {23, 3, 5}})
    for (Dim channel = 0; channel < 3; ++channel)
      for (Dim y = 0; y < 14; y += 13)
        for (Dim x = 0; x < 14; x += 5)
          for (Dim frame = 0; frame < 2; ++frame) {
            const auto c = static_cast<std::size_t>(channel);
            const double value = image->row(top * 14 + y)[(left * 14 + x) * 3 + channel] / 255.0;
            const float got = pixels.row(patch)[((channel * 2 + frame) * 14 + y) * 14 + x];
            CHECK(got == doctest::Approx((value - mean[c]) / std[c]).epsilon(1e-5));
          }
}

TEST_CASE("a video's steps come out alone as they come out together, an odd last frame twice") {
  const auto model = opened();
  const Processor& processor = model->processor();
  const ImagePlan plan = processor.plan_video(84, 56, every_second(5));
  CHECK(plan.grid == PatchGrid{3, 4, 6});
  CHECK(plan.tiles() == 3);
  CHECK(plan.tokens == 18);
  CHECK(plan.step_seconds == 2);
  std::vector<Image> frames;
  for (int i = 0; i < 5; ++i) {
    Image frame(84, 56);
    std::fill(frame.pixels.begin(), frame.pixels.end(), static_cast<std::uint8_t>(40 * i));
    frames.push_back(processor.prepare(frame, plan));
  }
  const Tensor all = processor.video_tiles(frames, plan, 0, 3);
  CHECK(all.shape() == Shape({72, 1176}));
  for (Dim step = 0; step < 3; ++step) {
    const auto some = std::span<const Image>(frames).subspan(static_cast<std::size_t>(2 * step));
    const Tensor alone = processor.video_tiles(some, plan, step, step + 1);
    const Tensor part = all.rows(step * 24, (step + 1) * 24);
    CHECK(std::equal(alone.data<float>(), alone.data<float>() + alone.elements(), part.data<float>()));
  }
  const float* last = all.row(48);
  CHECK(last[0] == last[196]);              // frame 4 in both places
  CHECK(all.row(0)[0] != all.row(0)[196]);  // frames 0 and 1
  CHECK_THROWS_AS(processor.video_tiles({}, plan, 0, 1), Error);
  CHECK_THROWS_AS(processor.plan_video(84, 56, FrameTimes{}), Error);
}

TEST_CASE("positions count time, row and column, and go on after the largest") {
  const auto model = opened();
  const TextSpan text{"a<|vision_start|><|image_pad|><|vision_end|>b<|vision_start|><|video_pad|><|vision_end|>c",
                      true};
  const std::vector<ImagePlan> plans{model->processor().plan(84, 56),
                                     model->processor().plan_video(84, 56, every_second(8))};
  const Prompt prompt = model->processor().place(std::span(&text, 1), plans);
  REQUIRE(prompt.positions.size() == 3);
  CHECK(prompt.pictures.size() == 2);
  CHECK(prompt.pictures[1].count == 24);
  // a, vision_start: 0 and 1. The picture of 2 x 3 cells starts at 2; its largest position is a column's: 4.
  const auto at = [&](Dim row) {
    const auto i = static_cast<std::size_t>(row);
    return std::array{prompt.positions[0][i], prompt.positions[1][i], prompt.positions[2][i]};
  };
  CHECK(at(2) == std::array{2, 2, 2});
  CHECK(at(4) == std::array{2, 2, 4});
  CHECK(at(7) == std::array{2, 3, 4});
  CHECK(at(8) == std::array{5, 5, 5});  // vision_end
  // b at 6, vision_start at 7, the video from 8: 4 steps of 2 seconds, 2 positions a second.
  CHECK(at(11) == std::array{8, 8, 8});
  CHECK(at(17) == std::array{12, 8, 8});
  CHECK(at(34) == std::array{20, 9, 10});
  CHECK(at(35) == std::array{21, 21, 21});
  CHECK(prompt.next_position() == 23);
}

TEST_CASE("marks and media must agree in number and kind") {
  const auto model = opened();
  const auto error = [&](const char* text, std::vector<ImagePlan> plans) {
    const TextSpan span{text, true};
    try {
      model->processor().place(std::span(&span, 1), plans);
      return std::string("placed");
    } catch (const Error& e) {
      return e.message();
    }
  };
  const ImagePlan picture = model->processor().plan(84, 56),
                  video = model->processor().plan_video(84, 56, every_second(2));
  CHECK(error("<|image_pad|>", {picture}) == "placed");
  CHECK(error("<|image_pad|>", {video}) == "the prompt has <|image_pad|> where a video is given");
  CHECK(error("<|video_pad|>", {picture}) == "the prompt has <|video_pad|> where a picture is given");
  CHECK(error("none", {picture}) == "the prompt has 0 <|image_pad|> or <|video_pad|> marks for 1 picture");
}

TEST_CASE("[B06] settings and configs that contradict each other are refused by key") {
  CHECK(refusal({}) == "accepted");
  CHECK(refusal({{"patch_size", 16}})
            .starts_with("preprocessor_config.json: patch_size is 16: config.json: vision_config says 14"));
  CHECK(refusal({{"max_pixels", 100}}).starts_with("preprocessor_config.json: max_pixels is 100: is below min_pixels"));
  CHECK(refusal({{"image_std", {1, 0, 1}}}).starts_with("preprocessor_config.json: image_std"));
  CHECK(refusal({}, {{"rope_scaling", nullptr}}).starts_with("config.json: rope_scaling"));
  CHECK(
      refusal({}, {{"rope_scaling.mrope_section", {2, 3, 4}}}).starts_with("config.json: rope_scaling.mrope_section"));
  CHECK(refusal({}, {{"use_sliding_window", true}}).starts_with("config.json: use_sliding_window"));
  CHECK(refusal({}, {{"vision_config.out_hidden_size", 32}}).starts_with("config.json: vision_config.out_hidden_size"));
  CHECK(refusal({}, {{"vision_config.fullatt_block_indexes", {9}}})
            .starts_with("config.json: vision_config.fullatt_block_indexes"));
  CHECK(refusal({}, {{"video_token_id", 5}}).starts_with("config.json: video_token_id"));
}
