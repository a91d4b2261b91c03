#include "media/resize.h"

#include <cmath>
#include <fstream>

#include <doctest/doctest.h>
#include <zlib.h>

#include "base/error.h"
#include "base/exec_context.h"
#include "golden_file.h"

namespace tap {
namespace {

Image noise(std::uint32_t seed, Dim width, Dim height) {  // as tools/goldens/resize_cases.py
  Image image(width, height);
  std::uint32_t state = seed * 2654435761u + 1;
  for (std::uint8_t& v : image.pixels) {
    state = state * 1664525u + 1013904223u;
    v = static_cast<std::uint8_t>(state >> 24);
  }
  return image;
}

const std::string ops = TAPETUM_SOURCE_DIR "/tests/data/image_ops/ops";

Json rows_of(const std::string& op) {
  const Json all = parse_json(read_file(ops + ".json", 1 << 20).value(), "ops.json").value();
  Json rows = Json::array();
  for (const Json& row : all.at("rows"))
    if (row.at("op") == op) rows.push_back(row);
  return rows;
}

float max_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  float most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

}  // namespace

TEST_CASE("the golden pictures are resized to the same bytes") {
  const test::GoldenFile golden(ops + ".safetensors");
  const Image source = golden.image("source");
  const Json rows = rows_of("pil_resize");
  CHECK(rows.size() == 15);
  for (const Json& row : rows) {
    const std::string name = row.at("tensor");
    CAPTURE(name);
    CHECK(resize(source, row.at("size_wh")[0], row.at("size_wh")[1], filter_of_code(row.at("pil_code"))) ==
          golden.image(name));
  }
}

TEST_CASE("300 random sizes and filters give the bytes of Pillow") {
  std::ifstream in(TAPETUM_SOURCE_DIR "/tests/data/resize/cases.txt");
  std::uint32_t seed, crc;
  Dim width, height, new_width, new_height, code;
  int seen = 0;
  for (; in >> seed >> width >> height >> new_width >> new_height >> code >> crc; ++seen) {
    CAPTURE(seed);
    CAPTURE(code);
    const Image done = resize(noise(seed, width, height), new_width, new_height, filter_of_code(code));
    CHECK(done.width == new_width);
    CHECK(done.height == new_height);
    CHECK(crc32(0, done.pixels.data(), static_cast<uInt>(done.pixels.size())) == crc);
  }
  CHECK(seen == 300);
}

TEST_CASE("one thread and two give the same picture") {
  const Image source = noise(1, 311, 203);
  std::vector<Image> done;
  for (const int threads : {1, 2}) {
    ExecContext context(threads);
    const ExecContext::Scope scope(context);
    done.push_back(resize(source, 500, 97, Filter::lanczos));
  }
  CHECK(done[0] == done[1]);
}

TEST_CASE("the golden float planes and grids are met") {
  const test::GoldenFile golden(ops + ".safetensors");
  for (const Json& row : rows_of("pil_resize_float")) {
    const std::string source = row.at("source"), name = row.at("tensor");
    const auto size = golden.shape(source);
    const auto done = resize_plane(golden.values<float>(source), size[1], size[0], row.at("size_wh")[0],
                                   row.at("size_wh")[1], Filter::bilinear);
    CHECK(done == golden.values<float>(name));
  }
  const Json rows = rows_of("torch_interpolate");
  CHECK(rows.size() == 6);
  for (const Json& row : rows) {
    const std::string name = row.at("tensor");
    CAPTURE(name);
    const auto done = resize_grid(golden.values<float>("grid"), 3, 7, 7, row.at("size_hw")[0], row.at("size_hw")[1],
                                  row.at("mode") == "bicubic" ? GridFilter::bicubic : GridFilter::bilinear);
    CHECK(max_difference(done, golden.values<float>(name)) < 5e-6f);
  }
}

TEST_CASE("planes are resized down the columns first where Pillow does so") {
  std::vector<float> plane(20 * 90);
  for (std::size_t i = 0; i < plane.size(); ++i) plane[i] = static_cast<float>(i * i % 257);
  const auto tall = resize_plane(resize_plane(plane, 20, 90, 20, 7, Filter::bicubic), 20, 7, 15, 7, Filter::bicubic);
  CHECK(resize_plane(plane, 20, 90, 15, 7, Filter::bicubic) == tall);
  const auto wide = resize_plane(resize_plane(plane, 90, 20, 7, 20, Filter::bicubic), 7, 20, 7, 15, Filter::bicubic);
  CHECK(resize_plane(plane, 90, 20, 7, 15, Filter::bicubic) == wide);
}

TEST_CASE("sizes without pixels and sizes beyond the limit are refused") {
  const Image source = noise(1, 4, 4);
  CHECK_THROWS_WITH_AS(resize(source, 0, 5, Filter::lanczos), "resize: wanted 0x5, each edge must be at least 1",
                       Error);
  CHECK_THROWS_WITH_AS(resize(source, 5, -1, Filter::nearest), "resize: wanted 5x-1, each edge must be at least 1",
                       Error);
  CHECK_THROWS_AS(resize(Image{}, 5, 5, Filter::bilinear), Error);
  CHECK_THROWS_AS(resize(source, 1 << 20, 1 << 20, Filter::bilinear), Error);
  CHECK_THROWS_AS(resize(source, Dim{1} << 62, 2, Filter::bilinear), Error);
  CHECK_THROWS_WITH_AS(filter_of_code(6), "resample: 6 is no filter; 0 to 5 are (Pillow's codes)", Error);
}

TEST_CASE("a picture of one colour keeps it at extreme sizes") {
  for (const auto& [w, h] : {std::pair<Dim, Dim>{1, 8192}, {8192, 1}, {1, 1}}) {
    Image image(w, h);
    std::fill(image.pixels.begin(), image.pixels.end(), std::uint8_t{201});
    for (const Filter filter : {Filter::lanczos, Filter::bilinear, Filter::bicubic, Filter::box}) {
      const Image done = resize(image, h == 1 ? 33 : 1, w == 1 ? 517 : 64, filter);
      CHECK(std::all_of(done.pixels.begin(), done.pixels.end(), [](std::uint8_t v) { return v == 201; }));
    }
  }
}

}  // namespace tap
