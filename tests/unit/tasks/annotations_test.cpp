#include "tasks/annotations.h"

#include <doctest/doctest.h>

using namespace tap;

namespace {

Detections two_things() {
  Detections found;
  found.width = 200;
  found.height = 100;
  found.objects.push_back({.label = "a <cat>", .box = {10, 20, 60, 70}, .score = 0.5F, .point = {}, .mask = {}});
  std::vector<std::uint8_t> mask(200 * 100);
  mask[30 * 200 + 40] = 1;
  found.objects.push_back(
      {.label = "dog", .box = {0, 0, 200, 100}, .score = {}, .point = {}, .mask = runs_of(mask, 100, 200)});
  return found;
}

}  // namespace

TEST_CASE("COCO: images, annotations and categories count from 1, and a file is gone on with") {
  CocoDataset data;
  data.add("a.png", two_things());
  const Json first = data.json();
  CHECK(first["images"][0] == Json{{"id", 1}, {"file_name", "a.png"}, {"width", 200}, {"height", 100}});
  CHECK(first["annotations"][0]["bbox"] == Json{10, 20, 50, 50});
  CHECK(first["annotations"][0]["area"] == 2500);
  CHECK(first["annotations"][1]["area"] == 1);
  CHECK(first["annotations"][1]["segmentation"]["size"] == Json{100, 200});
  CHECK(first["categories"][1] == Json{{"id", 2}, {"name", "dog"}});
  CocoDataset again(first, "x.json");
  CHECK(again.has("a.png"));
  CHECK_FALSE(again.has("b.png"));
  again.add("b.png", two_things());
  CHECK(again.json()["annotations"][3]["id"] == 4);
  CHECK(again.json()["annotations"][3]["category_id"] == 2);
  CHECK(again.json()["categories"].size() == 2);
  CHECK_THROWS_WITH_AS(CocoDataset(Json::array(), "x.json"), doctest::Contains("x.json: is no COCO data set"), Error);
}

TEST_CASE("YOLO: centres and sizes as shares, labels by their line in classes.txt") {
  YoloClasses classes("dog\n");
  CHECK(classes.lines(two_things()) ==
        "1 0.175000 0.450000 0.250000 0.500000\n0 0.500000 0.500000 1.000000 1.000000\n");
  CHECK(classes.text() == "dog\na <cat>\n");
}

TEST_CASE("Pascal VOC counts pixels from 1 and escapes") {
  const std::string xml = voc_xml("a&b.png", two_things());
  CHECK(xml.find("<filename>a&amp;b.png</filename>") != std::string::npos);
  CHECK(xml.find("<name>a &lt;cat&gt;</name>") != std::string::npos);
  CHECK(xml.find("<xmin>11</xmin><ymin>21</ymin><xmax>60</xmax><ymax>70</ymax>") != std::string::npos);
}

TEST_CASE("LabelMe: rectangles, points") {
  Detections found = two_things();
  found.objects[0].point = PointPx{10, 20};
  const Json json = labelme_json("a.png", found);
  CHECK(json["shapes"][0]["shape_type"] == "point");
  CHECK(json["shapes"][0]["points"].size() == 1);
  CHECK(json["shapes"][1]["points"][1] == Json{200, 100});
  CHECK(json["imageWidth"] == 200);
}
