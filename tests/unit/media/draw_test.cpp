#include "media/draw.h"

#include <cmath>
#include <limits>
#include <map>

#include <doctest/doctest.h>

#include "base/clock.h"
#include "base/rng.h"
#include "media/text_mask.h"

namespace tap {
namespace {

Image grey(Dim width, Dim height) {
  Image image(width, height);
  std::fill(image.pixels.begin(), image.pixels.end(), std::uint8_t{128});
  return image;
}

using Color = std::array<std::uint8_t, 3>;

std::map<Color, int> count_colors(const Image& image) {
  std::map<Color, int> count;
  for (std::size_t i = 0; i < image.pixels.size(); i += 3)
    ++count[{image.pixels[i], image.pixels[i + 1], image.pixels[i + 2]}];
  return count;
}

// Colours that are neither the ground nor ink nor a blend: those that cover many pixels.
std::vector<Color> strong_colors(const Image& image, int least) {
  std::vector<Color> out;
  for (const auto& [color, count] : count_colors(image))
    if (count >= least && !(color[0] == color[1] && color[1] == color[2])) out.push_back(color);
  return out;
}

int ink(const Image& image) {
  auto count = count_colors(image);
  return count[{0, 0, 0}] + count[{255, 255, 255}];
}

}  // namespace

TEST_CASE("a frame is drawn where the box is and leaves the inside alone") {
  Image image = grey(400, 300);
  const DrawnBox box{"", 100, 80, 300, 200, {}};
  draw_boxes(image, {&box, 1});
  const auto at = [&](Dim x, Dim y) {
    return Color{image.row(y)[x * 3], image.row(y)[x * 3 + 1], image.row(y)[x * 3 + 2]};
  };
  const Color plain{128, 128, 128};
  for (const auto& [x, y] : {std::pair<Dim, Dim>{100, 140}, {299, 140}, {200, 80}, {200, 199}})
    CHECK(at(x, y) != plain);
  for (const auto& [x, y] :
       {std::pair<Dim, Dim>{200, 140}, {110, 90}, {290, 190}, {90, 140}, {310, 140}, {200, 70}, {200, 210}})
    CHECK(at(x, y) == plain);
  CHECK(strong_colors(image, 400).size() == 1);
}

TEST_CASE("labels are written with ink that contrasts with or without a font") {
  for (const std::optional<std::string>& font :
       {std::optional<std::string>{}, std::optional<std::string>{"/no/such/font.ttf"}, std::optional<std::string>{""}})
    for (const Dim size : {60, 160, 768}) {
      Image image = grey(size, size);
      const DrawnBox box{"bird",
                         0.2 * static_cast<double>(size),
                         0.4 * static_cast<double>(size),
                         0.7 * static_cast<double>(size),
                         0.8 * static_cast<double>(size),
                         0.87};
      draw_boxes(image, {&box, 1}, {font});
      CHECK(ink(image) > 8);
    }
}

TEST_CASE("labels of the same box stand apart and keep their own colours") {
  Image image = grey(500, 400);
  std::vector<DrawnBox> boxes;
  for (const char* label : {"cat", "dog", "bird", "car", "tree", "house"})
    boxes.push_back({label, 150, 120, 330, 300, {}});
  draw_boxes(image, boxes);
  CHECK(strong_colors(image, 150).size() == boxes.size());  // only the chips of the covered frames are left
}

TEST_CASE("a label has the same colour in every picture") {
  const DrawnBox box{"winter coat", 20, 60, 180, 180, {}};
  Image a = grey(200, 200), b = grey(300, 200);
  draw_boxes(a, {&box, 1});
  draw_boxes(b, {&box, 1});
  REQUIRE(strong_colors(a, 200).size() == 1);
  CHECK(strong_colors(a, 200) == strong_colors(b, 200));
}

TEST_CASE("boxes over the edge and inverted and thin and endless are drawn inside or left out") {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  for (const auto& [w, h] : {std::pair<Dim, Dim>{1, 1}, {1, 300}, {300, 1}, {7, 5}, {320, 200}})
    for (const char* font : {"", "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"}) {
      Image image = grey(w, h);
      const DrawnBox boxes[] = {{"a", -1e9, -1e9, 1e9, 1e9, {}},
                                {"b", 5, 5, 2, 2, 2.0},
                                {"c", 3, 3, 3, 3, -1.0},
                                {"d", 1e300, 1e300, 1e301, 1e301, nan},
                                {std::string(5000, 'w'), 0, 0, 9, 9, {}},
                                {"\xff\xfe\xc3 \xe2\x82", 0, 0, 1, 1, {}}};
      draw_boxes(image, boxes, {std::string(font)});
      CHECK(image.pixels.size() == static_cast<std::size_t>(w * h * 3));
      CHECK(image != grey(w, h));
      Image untouched = grey(w, h);
      const DrawnBox endless[] = {{"a", nan, 0, 5, 5, {}}, {"b", 0, 0, inf, 5, {}}};
      draw_boxes(untouched, endless);
      CHECK(untouched == grey(w, h));
    }
  Image none;
  const DrawnBox box{"x", 0, 0, 1, 1, {}};
  draw_boxes(none, {&box, 1});
  CHECK(none.pixels.empty());
}

TEST_CASE("ten thousand boxes are drawn in a moment") {
  Image image = grey(640, 480);
  Rng rng(3);
  std::vector<DrawnBox> boxes(10'000);
  for (DrawnBox& box : boxes)
    box = {"thing " + std::to_string(rng.next_u32() % 50),
           rng.uniform() * 640,
           rng.uniform() * 480,
           rng.uniform() * 640,
           rng.uniform() * 480,
           rng.uniform()};
  const Stopwatch watch;
  draw_boxes(image, boxes);
  CHECK(watch.ms() < 10'000);
}

TEST_CASE("a text is cut to its width and lines of one painter are equally high") {
  for (const std::string& font : {media::default_font_file(), std::string()}) {
    const media::TextPainter painter(font, 20);
    const media::TextMask whole = painter.paint("A bird on the roof", 10'000),
                          cut = painter.paint("A bird on the roof", whole.width / 2);
    CHECK(cut.width <= whole.width / 2);
    CHECK(cut.width > whole.width / 4);
    CHECK(cut.height == whole.height);
    CHECK(painter.paint("", 100).width == 0);
    CHECK(painter.paint("wide", 1).width <= 1);
    // A line break or a missing letter does not break the line.
    CHECK(painter.paint("a\nb", 1000).height == whole.height);
    CHECK(painter.paint("\xf0\x9f\x90\xa6", 1000).width > 0);
  }
}

}  // namespace tap
