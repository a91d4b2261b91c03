#include "tasks/grounded_answer.h"

#include <array>

#include <doctest/doctest.h>

#include "base/file.h"
#include "base/rng.h"
#include "io/json.h"

using namespace tap;

namespace {

Grounding tokens(double range = 1023) {
  return {.form = Grounding::Form::location_tokens, .range = range, .y_first = true, .separator = " ; "};
}
const Grounding pixels{.form = Grounding::Form::json};
const Grounding thousandths{
    .form = Grounding::Form::json, .range = 1000, .y_first = true, .box_key = "box_2d", .point_key = "point"};

ImagePlan plan_of(Dim width, Dim height, SizePx tile) {
  ImagePlan plan;
  plan.source = {width, height};
  plan.tile = tile;
  return plan;
}

GroundedAnswer parse(const Grounding& grounding, std::string_view text, Dim width = 2048, Dim height = 512,
                     SizePx tile = {1024, 256}) {
  return parse_grounded(grounding, frame_of(grounding, plan_of(width, height, tile)), text, "thing");
}

// The sheet's sizes and what lies between: from a column to a banner.
constexpr std::array<std::array<Dim, 2>, 12> sizes{{{1080, 1920},
                                                    {333, 77},
                                                    {28, 5600},
                                                    {5600, 28},
                                                    {768, 768},
                                                    {4000, 500},
                                                    {500, 4000},
                                                    {640, 480},
                                                    {481, 641},
                                                    {1, 1000},
                                                    {3840, 2160},
                                                    {97, 101}}};

}  // namespace

TEST_CASE("what the published parser makes of PaliGemma's answers") {
  const Json file = Json::parse(read_file(TAPETUM_SOURCE_DIR "/tests/data/answers/paligemma.json", 1 << 20).value());
  for (const Json& one : file["paligemma"]) {
    CAPTURE(one["text"].get<std::string>());
    const GroundedAnswer found = parse(tokens(), one["text"].get<std::string>(), 1023, 1023);
    std::vector<Json> wanted;
    for (const Json& object : one["objects"])
      if (object["valid"].get<bool>()) wanted.push_back(object);
    REQUIRE(found.objects.size() == wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const auto yxyx = wanted[i]["box_yxyx"].get<std::vector<float>>();
      CHECK(found.objects[i].box == BoxPx{yxyx[1], yxyx[0], yxyx[3], yxyx[2]});
      CHECK(found.objects[i].codes == wanted[i]["codes"].get<std::vector<int>>());
      if (!wanted[i]["label"].get<std::string>().empty()) CHECK(found.objects[i].label == wanted[i]["label"]);
    }
  }
}

TEST_CASE("a box goes to locations and back within a bin, and the last location is the edge itself") {
  Rng rng(5);
  for (const auto& [width, height] : sizes)
    for (int round = 0; round < 50; ++round) {
      const auto share = [&] { return static_cast<double>(rng.next_u32() % 10000) / 10000; };
      const double x1 = share() * 0.5, y1 = share() * 0.5, x2 = x1 + 0.01 + share() * 0.4,
                   y2 = y1 + 0.01 + share() * 0.4;
      const auto bin = [](double v) { return std::lround(v * 1023); };
      const GroundedAnswer found =
          parse(tokens(), fmt::format("<loc{:04}><loc{:04}><loc{:04}><loc{:04}> x", bin(y1), bin(x1), bin(y2), bin(x2)),
                width, height);
      REQUIRE(found.objects.size() == 1);
      const BoxPx& box = found.objects[0].box;
      const double w = static_cast<double>(width), h = static_cast<double>(height);
      const double most = 1.0 / 2046 + 1e-6;
      CHECK(std::abs(box.x1 - x1 * w) <= most * w);
      CHECK(std::abs(box.y1 - y1 * h) <= most * h);
      CHECK(std::abs(box.x2 - x2 * w) <= most * w);
      CHECK(std::abs(box.y2 - y2 * h) <= most * h);
    }
  CHECK(parse(tokens(), "<loc0000><loc0000><loc1023><loc1023> x", 640, 480).objects[0].box == BoxPx{0, 0, 640, 480});
  CHECK(parse(tokens(1024), "<loc0000><loc0000><loc1023><loc1023> x", 1024, 1024).objects[0].box ==
        BoxPx{0, 0, 1023, 1023});
  CHECK(parse(tokens(1024), "<loc0256><loc0128><loc0512><loc1023> red bird").objects[0].box ==
        BoxPx{256, 128, 2046, 256});
}

TEST_CASE("pixels of the resized picture and thousandths go back to pixels of the source") {
  for (const auto& [width, height] : sizes) {
    const double w = static_cast<double>(width), h = static_cast<double>(height);
    const std::array<double, 4> truth{w * 0.1, h * 0.2, w * 0.75, h * 0.9};
    for (const SizePx tile : {SizePx{28, 28}, SizePx{1092, 1932}, SizePx{2800, 56}}) {
      const auto seen = [&](std::size_t i) {
        return i % 2 == 0 ? truth[i] / w * double(tile.width) : truth[i] / h * double(tile.height);
      };
      const auto by_pixels = parse(
          pixels,
          fmt::format("[{{\"bbox_2d\": [{}, {}, {}, {}], \"label\": \"cup\"}}]", seen(0), seen(1), seen(2), seen(3)),
          width, height, tile);
      REQUIRE(by_pixels.objects.size() == 1);
      CHECK(by_pixels.objects[0].box.x1 == doctest::Approx(truth[0]));
      CHECK(by_pixels.objects[0].box.y2 == doctest::Approx(truth[3]));
      const auto point = parse(pixels, fmt::format("{{\"point_2d\": [{}, {}], \"label\": \"cup\"}}", seen(2), seen(3)),
                               width, height, tile);
      REQUIRE(point.objects.size() == 1);
      REQUIRE(point.objects[0].point);
      CHECK(point.objects[0].point->x == doctest::Approx(truth[2]));
      CHECK(point.objects[0].point->y == doctest::Approx(truth[3]));
    }
    const auto by_thousandths =
        parse(thousandths, R"([{"box_2d": [200, 100, 900, 750], "label": "cup"}])", width, height);
    REQUIRE(by_thousandths.objects.size() == 1);
    CHECK(by_thousandths.objects[0].box.x1 == doctest::Approx(truth[0]));
    CHECK(by_thousandths.objects[0].box.y1 == doctest::Approx(truth[1]));
    CHECK(by_thousandths.objects[0].box.x2 == doctest::Approx(truth[2]));
    CHECK(by_thousandths.objects[0].box.y2 == doctest::Approx(truth[3]));
  }
}

TEST_CASE("several boxes come in order, with labels or the thing that was asked for") {
  const auto found = parse(tokens(),
                           "<loc0000><loc0000><loc0100><loc0100> a ; <loc0200><loc0200><loc0300><loc0300> ; "
                           "<loc0001><loc0001><loc0002><loc0002> c <loc0001><loc0001><loc0003><loc0003> d");
  REQUIRE(found.objects.size() == 4);
  CHECK(found.objects[0].label == "a");
  CHECK(found.objects[1].label == "thing");
  CHECK(found.objects[2].label == "c");
  CHECK(found.objects[3].label == "d");
  CHECK(found.first_places == std::vector<std::size_t>{0, 4, 8, 12});
  CHECK(parse(tokens(), "none").objects.empty());
  CHECK(parse(tokens(), "").invalid == 0);
}

TEST_CASE("JSON is taken from fences, single objects, nested lists and cut lists") {
  CHECK(parse(pixels, "```json\n[\n\t{\"bbox_2d\": [10, 20, 30, 40], \"label\": \"a\"}\n]\n```").objects.size() == 1);
  CHECK(parse(pixels, R"(Here: {"objects": [{"bbox_2d": [10, 20, 30, 40], "label": "a {brace}"}]} done)")
            .objects.size() == 1);
  CHECK(parse(pixels, R"([{"bbox_2d": [1, 2, 3, 4], "label": "a"}, {"bbox_2d": [5, 6, 7)").objects.size() == 1);
  CHECK(parse(pixels, R"([{"box_2d": [1, 2, 3, 4]}])").objects[0].label == "thing");
  CHECK(parse(pixels, R"([{"bbox_2d": [1, 2, 3, 4], "label": "say \"hi\" }"}])").objects[0].label == "say \"hi\" }");
  CHECK(parse(pixels, "[]").objects.empty());
  CHECK(parse(pixels, R"({"label": "no place"})").invalid == 0);
}

TEST_CASE("a box that runs over the edge is cut to the picture") {
  CHECK(parse(pixels, R"([{"bbox_2d": [-5, -5, 5000, 5000]}])").objects[0].box == BoxPx{0, 0, 2048, 512});
  CHECK(parse(pixels, R"([{"point_2d": [5000, -1]}])").objects[0].point == PointPx{2048, 0});
  CHECK(parse(pixels, R"([{"bbox_2d": [2000, 10, 3000, 20]}])").objects.empty());  // outside altogether
}

TEST_CASE("[B36] forged places are left out and counted, and the good one beside them stays") {
  for (const char* text :
       {"<loc9999><loc0000><loc0100><loc0100> x", "<loc0500><loc0000><loc0100><loc0100> y2 below y1",
        "<loc0000><loc0500><loc0100><loc0100> x2 below x1", "<loc0000><loc0000><loc0100> three",
        "<loc0000><loc0000><loc0100><loc0100><loc0100> five", "<loc-001><loc0000><loc0100><loc0100> sign",
        "<loc0100><loc0100><loc0100><loc0100> no area"}) {
    CAPTURE(text);
    CHECK(parse(tokens(), text).objects.empty());
    CHECK(parse(tokens(), text).invalid >= 1);
    const auto beside = parse(tokens(), std::string(text) + " ; <loc0000><loc0000><loc0100><loc0100> good");
    REQUIRE(beside.objects.size() == 1);
    CHECK(beside.objects[0].label == "good");
  }
  std::string codes;
  for (int i = 0; i < 15; ++i) codes += fmt::format("<seg{:03}>", i);
  const std::string box = "<loc0000><loc0000><loc0100><loc0100>";
  CHECK(parse(tokens(), box + codes + " fifteen").objects[0].codes.empty());
  CHECK(parse(tokens(), box + codes + " fifteen").invalid == 1);
  CHECK(parse(tokens(), box + codes + "<seg128> beyond").objects[0].codes.empty());
  CHECK(parse(tokens(), box + codes + "<seg127> whole").objects[0].codes.size() == 16);
  for (const char* text :
       {R"([{"bbox_2d": [1, 2, 3]}])", R"([{"bbox_2d": ["1", 2, 3, 4]}])", R"([{"bbox_2d": [3, 2, 1, 4]}])",
        R"([{"bbox_2d": [1, 2, null, 4]}])", R"([{"bbox_2d": "1,2,3,4"}])", R"([{"point_2d": [1]}])",
        R"([{"bbox_2d": [1e400, 2, 3, 4]}])"}) {
    CAPTURE(text);
    CHECK(parse(pixels, text).objects.empty());
    CHECK(parse(pixels, text).invalid >= 1);
  }
  std::string many, list;
  for (int i = 0; i < 10'000; ++i) many += box + " a ; ", list += R"({"bbox_2d": [1, 2, 3, 4]},)";
  CHECK(parse(tokens(), many).objects.size() == 1000);
  CHECK(parse(pixels, list).objects.size() == 1000);
}

TEST_CASE("random strings of tokens and brackets give places in the picture or none") {
  static constexpr std::array<std::string_view, 22> words{
      "<loc0000>", "<loc1023>", "<loc0512>", "<loc1024>",    "<loc",      "<seg000>",
      "<seg127>",  "<seg128>",  " ; ",       "cat",          ">",         "{",
      "}",         "[",         "]",         "\"bbox_2d\":", "[1,2,3,4]", "\"label\":\"a\"",
      ",",         "\"",        "\\",        "-1e9"};
  Rng rng(11);
  for (int round = 0; round < 100'000; ++round) {
    std::string text;
    for (std::uint32_t n = rng.next_u32() % 24; n > 0; --n) text += words[rng.next_u32() % words.size()];
    for (const Grounding& grounding : {tokens(), pixels})
      for (const Detection& d : parse(grounding, text).objects) {
        const bool inside = d.box.x1 >= 0 && d.box.y1 >= 0 && d.box.x2 <= 2048 && d.box.y2 <= 512 &&
                            d.box.x1 <= d.box.x2 && d.box.y1 <= d.box.y2;
        if (!inside) FAIL(text);
      }
  }
}

TEST_CASE("numbers in answers, in digits and in words") {
  CHECK(number_in("5") == 5);
  CHECK(number_in("There are twelve birds.") == 12);
  CHECK(number_in("I see 3 of them") == 3);
  CHECK(number_in("None") == 0);
  CHECK_FALSE(number_in("many").has_value());
  CHECK_FALSE(number_in("").has_value());
  CHECK(number_in("99999999999999999999") == 1'000'000);
}
