// The pieces together: the rule of the Idefics3 and SmolVLM processors, spelled out here once more, must give the
// golden pixels to the bit. The family's own plan is tested with the family.
#include <cmath>

#include <doctest/doctest.h>

#include "base/error.h"
#include "golden_file.h"
#include "media/pixels.h"
#include "media/resize.h"
#include "media/tile.h"

namespace tap {
namespace {

struct Rule {
  Dim longest, tile;
  Filter filter;
  PixelScaling scaling;
  bool split;
};

Rule rule_of(const std::string& folder, bool split) {
  const Json in = parse_json(read_file(folder + "/checkpoint/preprocessor_config.json", 1 << 20).value(),
                             "preprocessor_config.json")
                      .value();
  return {in.at("size").at("longest_edge"),
          in.at("max_image_size").at("longest_edge"),
          filter_of_code(in.at("resample")),
          {in.at("rescale_factor"), in.at("image_mean"), in.at("image_std")},
          split};
}

std::pair<Dim, Dim> scaled(Dim width, Dim height, Dim longest) {
  const double aspect = static_cast<double>(width) / static_cast<double>(height);
  if (width >= height) {
    const Dim other = static_cast<Dim>(static_cast<double>(longest) / aspect);
    return {longest, std::max<Dim>(1, other + other % 2)};
  }
  const Dim other = static_cast<Dim>(static_cast<double>(longest) * aspect);
  return {std::max<Dim>(1, other + other % 2), longest};
}

std::vector<Image> tiles_of(const Image& image, const Rule& rule) {
  const auto [width, height] = scaled(image.width, image.height, rule.longest);
  const Image first = resize(image, width, height, rule.filter);
  if (!rule.split) return {resize(first, rule.tile, rule.tile, rule.filter)};
  const double aspect = static_cast<double>(width) / static_cast<double>(height);
  Dim w = width, h = height;
  if (w >= h) {
    w = round_up(w, rule.tile);
    h = round_up(static_cast<Dim>(static_cast<double>(w) / aspect), rule.tile);
  } else {
    h = round_up(h, rule.tile);
    w = round_up(static_cast<Dim>(static_cast<double>(h) * aspect), rule.tile);
  }
  const Image second = resize(first, w, h, rule.filter);
  if (w <= rule.tile && h <= rule.tile) return {second};
  std::vector<Image> tiles = split_grid(second, h / rule.tile, w / rule.tile);
  tiles.push_back(resize(second, rule.tile, rule.tile, rule.filter));
  return tiles;
}

void check_case(const std::string& family, const std::string& name, bool split) {
  CAPTURE(family);
  CAPTURE(name);
  const std::string folder = TAPETUM_SOURCE_DIR "/tests/families/" + family;
  const test::GoldenFile golden(folder + "/" + name + ".safetensors");
  const Rule rule = rule_of(folder, split);
  std::vector<float> pixels;
  std::vector<std::int64_t> mask;
  for (int i = 0; golden.has(fmt::format("image{}", i)); ++i)
    for (const Image& tile : tiles_of(golden.image(fmt::format("image{}", i)), rule)) {
      const std::size_t at = mask.size(), count = static_cast<std::size_t>(rule.tile * rule.tile);
      pixels.resize(pixels.size() + 3 * count);
      mask.resize(at + count);
      to_planar_padded(tile, rule.scaling, rule.tile, rule.tile, pixels.data() + 3 * at);
      fill_pixel_mask(tile.width, tile.height, rule.tile, rule.tile, mask.data() + at);
    }
  CHECK(pixels == golden.values<float>("pixel_values"));
  CHECK(mask == golden.values<std::int64_t>("pixel_attention_mask"));
}

}  // namespace

TEST_CASE("the golden pixels of SmolVLM are met to the bit") {
  check_case("smolvlm", "split", true);
  check_case("smolvlm", "two_images", true);
  check_case("smolvlm", "no_split", false);
  check_case("smolvlm", "upscaled_small", true);
  check_case("smolvlm2", "image", true);
}

TEST_CASE("padding puts the picture top left of zeros and the mask agrees") {
  Image image(2, 1);
  image.pixels = {0, 51, 255, 255, 0, 102};
  PixelScaling scaling;
  scaling.mean = {0.5, 0.5, 0.5}, scaling.std = {0.5, 0.5, 0.5};
  std::vector<float> out(18, 9);
  to_planar_padded(image, scaling, 3, 2, out.data());
  const float low = (51 / 255.0f - 0.5f) / 0.5f, mid = (102 / 255.0f - 0.5f) / 0.5f;
  CHECK(out == std::vector<float>{-1, 1, 0, 0, 0, 0, low, -1, 0, 0, 0, 0, 1, mid, 0, 0, 0, 0});
  std::vector<std::int64_t> mask(6, 7);
  fill_pixel_mask(2, 1, 3, 2, mask.data());
  CHECK(mask == std::vector<std::int64_t>{1, 1, 0, 0, 0, 0});
  CHECK_THROWS_WITH_AS(to_planar_padded(image, scaling, 1, 1, out.data()),
                       "pad: the picture is 2x1, larger than the wanted 1x1", Error);
  scaling.std[1] = 0;
  CHECK_THROWS_WITH_AS(to_planar(image, scaling, out.data()), "image_std: 0 for channel 1, must be above 0", Error);
}

TEST_CASE("without rescaling and normalising the planes hold the bytes") {
  Image image(1, 1);
  image.pixels = {7, 0, 255};
  std::vector<float> out(3);
  to_planar(image, {1, {0, 0, 0}, {1, 1, 1}}, out.data());
  CHECK(out == std::vector<float>{7, 0, 255});
}

TEST_CASE("tiles of a grid are its pixels in row-major order and what is outside is refused") {
  Image image(6, 4);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<std::uint8_t>(i);
  const std::vector<Image> tiles = split_grid(image, 2, 3);
  REQUIRE(tiles.size() == 6);
  CHECK(tiles[5] == crop(image, 4, 2, 2, 2));
  CHECK(tiles[1].row(1)[0] == image.row(1)[2 * 3]);
  CHECK(crop(image, 0, 0, 6, 4) == image);
  CHECK_THROWS_WITH_AS(split_grid(image, 3, 3), "split_grid: 6x4 pixels do not divide into 3 rows and 3 columns",
                       Error);
  CHECK_THROWS_WITH_AS(crop(image, 5, 0, 2, 1), "crop: 2x1 at (5, 0) is not inside a picture of 6x4", Error);
  CHECK_THROWS_AS(crop(image, -1, 0, 2, 1), Error);
  CHECK_THROWS_AS(crop(image, 1, 0, std::numeric_limits<Dim>::max(), 1), Error);
}

}  // namespace tap
