// Every stage of every golden case against the reference implementation, from the golden's own input of that stage.
#include "golden.h"

#include <cstring>

#include <doctest/doctest.h>

using namespace tap;

TEST_CASE("golden ids and pixels are equal to the last bit") {
  int pixel_cases = 0;
  for (const golden::Folder& folder : golden::folders())
    for (const golden::Case& one : folder.cases) {
      CAPTURE(folder.name);
      CAPTURE(one.name);
      if (!one.has("image0") || !one.entry.contains("prompt") || one.entry.contains("suffix")) continue;
      const auto model = golden::load(folder, Dtype::f32, one.entry.value("options", Json::object()));
      const PreparedPrompt prepared = model->prepare_trusted(one.entry["prompt"].get<std::string>(), one.images());
      CHECK(prepared.prompt.ids == one.ids("input_ids"));
      CHECK(prepared.sent == one.entry["prompt"].get<std::string>());
      std::vector<Tensor> parts;
      for (std::size_t i = 0; i < prepared.media.size(); ++i)
        parts.push_back(model->processor().pixels(*prepared.media[i].image, prepared.plans[i]));
      const Tensor pixels = ops::concat_rows(parts), wanted = golden::pixels(one);
      REQUIRE(pixels.shape() == wanted.shape());
      CHECK(std::memcmp(pixels.raw(), wanted.raw(), static_cast<std::size_t>(pixels.bytes())) == 0);
      ++pixel_cases;
    }
  CHECK(pixel_cases >= 5);
}

TEST_CASE("golden towers, projectors and decoders agree in f32") {
  int cases = 0;
  for (const golden::Folder& folder : golden::folders()) {
    const auto model = golden::load(folder);
    const Network& network = model->network();
    for (const golden::Case& one : folder.cases) {
      CAPTURE(folder.name);
      CAPTURE(one.name);
      if (!one.has("logits") || one.entry.contains("suffix") || one.entry.contains("config_change")) continue;
      const Prompt prompt = model->processor().from_ids(one.ids("input_ids"), golden::plans(one, *model));
      const auto check_logits = [&](const Tensor& features) {
        const Tensor rows = features.defined() ? features.reshape({-1, features.width()}) : features;
        const Tensor x = golden::embedded(*model, prompt, rows);
        const Tensor logits = network.logits(network.forward(x, prompt.batch(0, prompt.rows()), nullptr));
        CHECK(golden::max_abs(logits, one.read("logits")) < folder.tolerance);
      };
      ++cases;
      if (prompt.slots.empty()) {
        check_logits({});
        continue;
      }
      const Tensor hidden =
          network.tower({golden::pixels(one), golden::pixels(one, "pixel_attention_mask"), golden::grids(one)});
      if (one.has("vision_hidden")) CHECK(golden::max_abs(hidden, one.read("vision_hidden")) < folder.tolerance);
      const Tensor features = network.project(one.has("vision_hidden") ? one.read("vision_hidden") : hidden);
      CHECK(golden::max_abs(features, golden::features(one)) < folder.tolerance);
      check_logits(golden::features(one));
      check_logits(network.project(hidden));
    }
  }
  CHECK(cases >= 6);
}

TEST_CASE("golden greedy tokens follow from the pictures through a session") {
  int compared = 0;
  for (const golden::Folder& folder : golden::folders())
    for (const golden::Case& one : folder.cases) {
      CAPTURE(folder.name);
      CAPTURE(one.name);
      if (!one.has("image0") || !one.has("greedy_tokens")) continue;
      const auto model = golden::load(folder, Dtype::f32, one.entry.value("options", Json::object()));
      Session session(*model);
      const auto wanted = one.ids("greedy_tokens");
      GenerateOptions options;
      options.max_tokens = static_cast<Dim>(wanted.size());
      options.ignore_end = true;
      Generation generation =
          session.ask(model->prepare_trusted(one.entry["prompt"].get<std::string>(), one.images()), options);
      const Tensor margins = one.read("greedy_margin"), logits = one.single("greedy_logits");
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        if (margins.data<float>()[i] < 10 * folder.tolerance) break;
        const auto event = generation.next();
        REQUIRE(event);
        CHECK(event->id == wanted[i]);
        const auto row = static_cast<Dim>(i);
        CHECK(golden::max_abs(generation.last_logits(), logits.rows(row, row + 1)) < folder.tolerance);
        ++compared;
      }
    }
  CHECK(compared >= 30);
}

TEST_CASE("padded patches and dropped tiles change nothing for the others") {
  for (const golden::Folder& folder : golden::folders()) {
    const golden::Case& one = folder.cases.front();
    CAPTURE(folder.name);
    if (!one.has("pixel_attention_mask")) continue;
    const auto model = golden::load(folder);
    const Tensor pixels = one.single("pixel_values").rows(0, 1), mask = one.single("pixel_attention_mask").rows(0, 1);
    const Tensor alone = model->network().tower({pixels, mask});
    // An all-zero tile is dropped, wherever it stands.
    const std::vector<Tensor> three{Tensor::zeros(pixels.shape()), pixels, Tensor::zeros(pixels.shape())};
    CHECK(golden::max_abs(model->network().tower({ops::concat_rows(three), {}}), alone) < 1e-5);
    // Right half masked: what stands there is not seen by the left half's patches, garbage or not.
    const Dim edge = pixels.dim(2), half = edge / 2;
    Tensor left_mask = mask.clone(), garbage = pixels.clone();
    for (Dim y = 0; y < edge; ++y)
      for (Dim x = half; x < edge; ++x) {
        left_mask.write<std::int64_t>()[y * edge + x] = 0;
        for (Dim c = 0; c < 3; ++c) garbage.write<float>()[(c * edge + y) * edge + x] = 9;
      }
    const Tensor a = model->network().tower({pixels, left_mask}), b = model->network().tower({garbage, left_mask});
    const Dim side = static_cast<Dim>(std::sqrt(static_cast<double>(a.dim(1)))), width = a.dim(2);
    double left = 0, right = 0;
    for (Dim p = 0; p < a.dim(1); ++p)
      for (Dim i = 0; i < width; ++i) {
        const double d = std::abs(a.data<float>()[p * width + i] - b.data<float>()[p * width + i]);
        double& worst = p % side < side / 2 ? left : right;
        worst = std::max(worst, d);
      }
    CHECK(left < 1e-5);
    CHECK(right > 1e-3);
    CHECK_THROWS_AS(model->network().tower({pixels, Tensor::zeros(mask.shape(), DType::i64)}), Error);
  }
}
