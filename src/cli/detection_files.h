// Files that `detect`, `segment` and `count` write beside their answers: drawings, annotations, masks.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "cli/options.h"
#include "cli/pictures.h"
#include "tasks/annotations.h"

namespace tap::cli {

class DetectionFiles {
 public:
  // Checks names and makes folders. Throws Error(usage) for one file where many pictures need a folder, for two
  // pictures whose files would have one name, for --resume with nothing to go on with.
  DetectionFiles(const Options& options, const PictureList& pictures);

  bool wanted() const { return !drawing_.empty() || !annotations_.empty() || !masks_.empty(); }
  // Whether an earlier run has written all that is wanted of the picture.
  bool has(const PictureSource& picture) const;
  void write(const std::string& picture, const Image& image, const Detections& found);
  void finish();  // what is written once: the COCO data set, the names of the classes

 private:
  std::string drawing_of(const std::string& picture) const;
  std::string annotation_of(const std::string& picture) const;
  void write_masks(const std::string& picture, const Detections& found) const;
  void write_coco();

  std::string drawing_, annotations_, format_, masks_;
  bool many_ = false, drawing_folder_ = false;
  std::unordered_map<std::string, std::string> stems_;  // by the picture's name
  CocoDataset coco_;
  YoloClasses classes_;
  std::size_t unsaved_ = 0;
};

}  // namespace tap::cli
