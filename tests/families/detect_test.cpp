// How each family is asked where things are, and what its answers come to: from words to pixels of the source.
#include "golden.h"

#include <array>

#include <doctest/doctest.h>

#include "tasks/detect.h"

using namespace tap;

namespace {

std::unique_ptr<Model> model_of(const std::string& family, const Json& processor = {}) {
  return load_model(golden::root + "/" + family + "/checkpoint",
                    {.dtype = Dtype::f32, .config_change = {}, .processor_options = processor, .weights = false});
}

// What the model would have said.
Answer said(const Model& model, const std::string& text) {
  Answer answer;
  answer.text = text;
  answer.tokens = model.tokenizer().encode(text);
  answer.logprobs.assign(answer.tokens.size(), std::log(0.5F));
  return answer;
}

constexpr std::array<std::array<Dim, 2>, 12> sizes{{{1080, 1920},
                                                    {333, 77},
                                                    {40, 1900},
                                                    {1900, 40},
                                                    {768, 768},
                                                    {2000, 250},
                                                    {250, 2000},
                                                    {640, 480},
                                                    {481, 641},
                                                    {60, 90},
                                                    {1500, 1000},
                                                    {97, 101}}};

const std::string mask_weights = golden::root + "/paligemma_masks/checkpoint/vae-oid.safetensors";

}  // namespace

TEST_CASE("each family is asked in its own words") {
  const auto prompt = [](const std::string& family, std::string_view words) {
    return DetectTask(*model_of(family), words).prompt(0);
  };
  CHECK(prompt("paligemma", "Detect the bird on the roof and the cat.") == "detect bird on the roof ; cat");
  CHECK(prompt("qwen2_5_vl", "Detect the bird on the roof.") ==
        "Locate every bird on the roof in the image, output the bbox coordinates in JSON format.");
  CHECK(prompt("qwen2_5_vl", "point to the bird").find("report the point coordinates") != std::string::npos);
  CHECK(prompt("gemma3", "bird").find("[y1, x1, y2, x2] normalized to 0-1000") != std::string::npos);
  const auto nano = load_model(TAPETUM_SOURCE_DIR "/data/nano",
                               {.dtype = Dtype::f32, .config_change = {}, .processor_options = {}, .weights = false});
  const DetectTask task(*nano, "the bird ; sun ; how many trees");
  REQUIRE(task.questions() == 4);
  CHECK(task.prompt(0) == "detect bird");
  CHECK(task.prompt(1) == "detect sun");
  CHECK(task.prompt(2) == "detect tree");
  CHECK(task.prompt(3) == "How many trees are there?");
  CHECK(DetectTask(*nano, "tree ; how many trees").questions() == 2);  // found once
  CHECK(DetectTask(*nano, "Detect the Bird.", {.raw_prompt = true}).prompt(0) == "Detect the Bird.");
}

TEST_CASE("families that cannot say so in one line") {
  const auto refusal = [](const std::string& family, std::string_view words, DetectOptions options = {}) {
    try {
      DetectTask(*model_of(family), words, options);
    } catch (const Error& error) {
      return error.message();
    }
    return std::string();
  };
  CHECK(refusal("smolvlm", "cat").find("cannot say where things are") != std::string::npos);
  CHECK(refusal("gemma3_text", "cat").find("cannot say where things are") != std::string::npos);
  CHECK(refusal("shieldgemma2", "cat").find("cannot say where things are") != std::string::npos);
  CHECK(refusal("qwen2_5_vl", "segment the cat").find("gives no masks; PaliGemma does") != std::string::npos);
  CHECK(refusal("paligemma", "point to the cat").find("gives no points") != std::string::npos);
  CHECK(refusal("paligemma", "segment the cat").find("--mask-weights") != std::string::npos);
  CHECK(refusal("paligemma", "segment the cat", {.mask_weights = "/nowhere.npz"}).find("/nowhere.npz") !=
        std::string::npos);
}

TEST_CASE("Qwen's boxes come back from the picture it saw, whatever limits it was scaled by") {
  for (const Json& limits : {Json(), Json{{"min_pixels", 56 * 56}, {"max_pixels", 28 * 28 * 64}},
                             Json{{"min_pixels", 28 * 28 * 200}, {"max_pixels", 28 * 28 * 1280}}}) {
    const auto model = model_of("qwen2_5_vl", limits);
    const DetectTask task(*model, "cup");
    for (const auto& [width, height] : sizes) {
      CAPTURE(width);
      CAPTURE(height);
      const SizePx tile = model->processor().plan(width, height).tile;
      const std::array<float, 4> truth{static_cast<float>(width) * 0.2F, static_cast<float>(height) * 0.1F,
                                       static_cast<float>(width) * 0.9F, static_cast<float>(height) * 0.6F};
      const auto seen = [&](std::size_t i) {
        return truth[i] * (i % 2 == 0 ? static_cast<float>(tile.width) / static_cast<float>(width)
                                      : static_cast<float>(tile.height) / static_cast<float>(height));
      };
      const Answer answer = said(
          *model, fmt::format("```json\n[{{\"bbox_2d\": [{:.2f}, {:.2f}, {:.2f}, {:.2f}], \"label\": \"cup\"}}]\n```",
                              seen(0), seen(1), seen(2), seen(3)));
      const Detections found = task.result(width, height, std::span(&answer, 1));
      REQUIRE(found.objects.size() == 1);
      CHECK(std::abs(found.objects[0].box.x1 - truth[0]) < 1);
      CHECK(std::abs(found.objects[0].box.y1 - truth[1]) < 1);
      CHECK(std::abs(found.objects[0].box.x2 - truth[2]) < 1);
      CHECK(std::abs(found.objects[0].box.y2 - truth[3]) < 1);
      CHECK(found.objects[0].label == "cup");
    }
  }
}

TEST_CASE("PaliGemma's and Gemma's boxes are shares of the source") {
  const auto pali = model_of("paligemma"), gemma = model_of("gemma3");
  const DetectTask by_tokens(*pali, "the cup"), by_thousandths(*gemma, "the cup");
  for (const auto& [width, height] : sizes) {
    const float w = static_cast<float>(width), h = static_cast<float>(height);
    const Answer tokens = said(*pali, "<loc0000><loc0341><loc0682><loc1023> cup");
    const Detections found = by_tokens.result(width, height, std::span(&tokens, 1));
    REQUIRE(found.objects.size() == 1);
    CHECK(found.objects[0].box.x1 == doctest::Approx(w / 3));
    CHECK(found.objects[0].box.y1 == 0);
    CHECK(found.objects[0].box.x2 == w);
    CHECK(found.objects[0].box.y2 == doctest::Approx(h * 2 / 3));
    CHECK(found.objects[0].primary);
    CHECK(found.objects[0].score.value_or(0) == doctest::Approx(0.5));
    const Answer json = said(*gemma, R"([{"box_2d": [0, 250, 500, 1000], "label": "cup"}])");
    const Detections boxes = by_thousandths.result(width, height, std::span(&json, 1));
    REQUIRE(boxes.objects.size() == 1);
    CHECK(boxes.objects[0].box == BoxPx{w / 4, 0, w, h / 2});
    CHECK_FALSE(boxes.objects[0].score.has_value());
  }
  const Answer edge = said(*pali, "<loc0000><loc0000><loc1023><loc1023> cup");
  const DetectTask demo(*pali, "cup", {.location_range = 1024});
  CHECK(demo.result(1024, 1024, std::span(&edge, 1)).objects[0].box.x2 == 1023);
}

TEST_CASE("a mask is decoded and pasted into its box, as the evaluator does") {
  const auto model = model_of("paligemma");
  const DetectTask task(*model, "segment the person", {.mask_weights = mask_weights});
  CHECK(task.prompt(0) == "segment person");
  std::string codes;
  std::vector<int> numbers;
  for (int i = 0; i < 16; ++i) codes += fmt::format("<seg{:03}>", i * 7), numbers.push_back(i * 7);
  const Answer answer = said(*model, "<loc0100><loc0200><loc0611><loc0777>" + codes + " person");
  const Detections found = task.result(200, 120, std::span(&answer, 1));
  REQUIRE(found.objects.size() == 1);
  REQUIRE(found.objects[0].mask);
  const MaskCodec codec = MaskCodec::load(mask_weights);
  const Tensor pasted =
      paste_mask(codec.decode(numbers).reshape({64, 64}), mask_box({100, 200, 611, 777}, 120, 200), 120, 200);
  CHECK(pixels_of(*found.objects[0].mask) ==
        std::vector<std::uint8_t>(pasted.data<std::uint8_t>(), pasted.data<std::uint8_t>() + 200 * 120));
  CHECK(found.objects[0].mask->area() > 0);
  const Answer half = said(*model, "<loc0100><loc0200><loc0611><loc0777><seg001><seg002> person");
  const Detections short_mask = task.result(200, 120, std::span(&half, 1));
  REQUIRE(short_mask.objects.size() == 1);
  CHECK_FALSE(short_mask.objects[0].mask);
  CHECK(short_mask.invalid == 1);
}

TEST_CASE("counting by finding and by asking, and whether they agree") {
  const auto model = model_of("paligemma");
  const DetectTask task(*model, "how many birds are there?");
  REQUIRE(task.questions() == 2);
  CHECK(task.prompt(0) == "detect bird");
  CHECK(task.prompt(1) == "answer en how many birds are there?");
  const std::string box = "<loc0100><loc0100><loc0200><loc0200> bird",
                    near = "<loc0101><loc0100><loc0201><loc0200> bird",
                    far = "<loc0500><loc0500><loc0600><loc0600> bird";
  const auto count = [&](const std::string& places, const std::string& number) {
    const std::vector<Answer> answers{said(*model, places), said(*model, number)};
    return task.result(1000, 1000, answers).counts.front();
  };
  CHECK(count(box + " ; " + near + " ; " + far, "2").boxes == 2);
  CHECK(count(box + " ; " + far, "2").agree());
  CHECK_FALSE(count(box + " ; " + far, "three").agree());
  CHECK(count(box + " ; " + far, "three").value() == 3);
  CHECK(count(box, "many").agree());
  CHECK_FALSE(count(box, "many").answered.has_value());
  CHECK(count("", "0").boxes == 0);
}
