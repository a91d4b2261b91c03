// Detections in the formats that annotation tools and trainers read.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "tasks/detections.h"

namespace tap {

// A COCO dataset: {"images", "annotations", "categories"}; categories by label in order of appearance, bbox [x, y, w,
// h], segmentation as compressed column-major runs, `score` beside them (1 where none is known, as pycocotools wants
// one).
class CocoDataset {
 public:
  CocoDataset() = default;
  // What an earlier run wrote. Throws Error(bad_file) naming `what` and the key for anything else.
  CocoDataset(const Json& file, std::string_view what);
  bool has(const std::string& file_name) const { return images_.contains(file_name); }
  void add(const std::string& file_name, const Detections& found);
  Json json() const;

 private:
  std::map<std::string, Dim> images_, categories_;  // to their ids
  Dim next_image_ = 1, next_category_ = 1;
  Json image_list_ = Json::array(), annotations_ = Json::array(), category_list_ = Json::array();
};

// Classes of a YOLO data set: a label's number is its line in classes.txt.
class YoloClasses {
 public:
  YoloClasses() = default;
  explicit YoloClasses(std::string_view classes_txt);
  std::string text() const;
  // "class x y w h" a line: centre and size as shares of the picture.
  std::string lines(const Detections& found);

 private:
  std::vector<std::string> labels_;
};

// Pascal VOC: pixels counted from 1, ends included.
std::string voc_xml(const std::string& file_name, const Detections& found);
// LabelMe 5: rectangles and points, masks as rectangles with the runs beside them.
Json labelme_json(const std::string& file_name, const Detections& found);

}  // namespace tap
