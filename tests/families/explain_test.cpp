// Where answers look.
#include "golden.h"

#include <doctest/doctest.h>

#include "codec/decode.h"
#include "tasks/explain.h"

using namespace tap;

TEST_CASE("nano looks at what it is asked about, and answers the same") {
  const auto model = load_model(TAPETUM_SOURCE_DIR "/data/nano",
                                {.dtype = Dtype::f32, .config_change = {}, .processor_options = {}, .weights = true});
  const auto image = std::make_shared<const Image>(load_image(TAPETUM_SOURCE_DIR "/data/samples/yard.png").value());
  struct Asked {
    const char* question;
    Dim row, column;  // of the 5 x 5 map, where it stands
  };
  for (const Asked& asked : {Asked{"What color is the car?", 3, 0}, Asked{"What is on the roof?", 1, 4}}) {
    CAPTURE(asked.question);
    Session plain(*model), watched(*model);
    const Conversation talk = Conversation().user(asked.question, {image});
    const Explanation found = explain(watched, talk, {});
    CHECK(found.answer.text == answer(plain, talk, {}).text);
    REQUIRE(found.maps.size() == 1);
    const HeatMap& map = found.maps.front();
    REQUIRE(map.rows == 5);
    REQUIRE(map.columns == 5);
    double all = 0;
    for (const float heat : map.heat) all += double{heat} / 25;
    CHECK(double{map.heat[static_cast<std::size_t>(asked.row * 5 + asked.column)]} > 1.5 * all);
  }
}

TEST_CASE("every family's rows find their place in the picture") {
  for (const char* family : {"smolvlm", "qwen2_5_vl", "gemma3", "paligemma"}) {
    CAPTURE(family);
    const auto model = load_model(golden::root + "/" + family + "/checkpoint",
                                  {.dtype = Dtype::f32, .config_change = {}, .processor_options = {}, .weights = true});
    Session session(*model);
    const auto image = golden::picture(120, 80);
    const Explanation found = explain(session, Conversation().user("?", {image}), golden::tokens(4));
    REQUIRE(found.maps.size() == 1);
    const HeatMap& map = found.maps.front();
    CHECK(static_cast<Dim>(map.heat.size()) == map.rows * map.columns);
    CHECK(*std::ranges::max_element(map.heat) == 1);
    Image drawn = *image;
    draw_heat(drawn, map);
    CHECK(drawn.pixels != image->pixels);
  }
}
