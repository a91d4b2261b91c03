#include "tasks/annotations.h"

#include <algorithm>
#include <cmath>

namespace tap {

namespace {

double rounded(double value) { return std::round(value * 100) / 100; }

std::string one_line(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return text;
}

std::string xml_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += static_cast<unsigned char>(c) < 32 ? ' ' : c;
    }
  }
  return out;
}

}  // namespace

CocoDataset::CocoDataset(const Json& file, std::string_view what) {
  const auto bad = [&](std::string_view why) {
    throw Error(ErrorCode::bad_file, fmt::format("{}: {}", what, why), std::string(what));
  };
  for (const char* key : {"images", "annotations", "categories"})
    if (!file.is_object() || !file.contains(key) || !file[key].is_array())
      bad(fmt::format("is no COCO data set: has no list \"{}\"", key));
  const auto take = [&](const Json& list, const char* key, std::map<std::string, Dim>& ids, Dim& next) {
    for (const Json& one : list) {
      if (!one.is_object() || !one.value("id", Json()).is_number_integer() || !one.value(key, Json()).is_string())
        bad(fmt::format("an entry without \"id\" and \"{}\"", key));
      const Dim id = ids[one[key].get<std::string>()] = one["id"].get<Dim>();
      next = std::max(next, id + 1);
    }
  };
  take(file["images"], "file_name", images_, next_image_);
  take(file["categories"], "name", categories_, next_category_);
  image_list_ = file["images"];
  annotations_ = file["annotations"];
  category_list_ = file["categories"];
}

void CocoDataset::add(const std::string& file_name, const Detections& found) {
  const Dim image = next_image_++;
  images_[file_name] = image;
  image_list_.push_back({{"id", image}, {"file_name", file_name}, {"width", found.width}, {"height", found.height}});
  for (const Detection& d : found.objects) {
    const auto [category, is_new] = categories_.emplace(d.label, next_category_);
    if (is_new) category_list_.push_back({{"id", next_category_++}, {"name", d.label}});
    Json one = {
        {"id", annotations_.size() + 1},
        {"image_id", image},
        {"category_id", category->second},
        {"bbox", {rounded(d.box.x1), rounded(d.box.y1), rounded(d.box.x2 - d.box.x1), rounded(d.box.y2 - d.box.y1)}},
        {"area", d.mask ? static_cast<double>(d.mask->area()) : rounded(d.box.area())},
        {"iscrowd", 0},
        {"score", d.score ? static_cast<double>(*d.score) : 1.0}};
    if (d.mask) one["segmentation"] = {{"size", {d.mask->height, d.mask->width}}, {"counts", compressed(*d.mask)}};
    if (d.point) one["keypoints"] = {rounded(d.point->x), rounded(d.point->y), 2}, one["num_keypoints"] = 1;
    annotations_.push_back(std::move(one));
  }
}

Json CocoDataset::json() const {
  return {{"images", image_list_}, {"annotations", annotations_}, {"categories", category_list_}};
}

YoloClasses::YoloClasses(std::string_view classes_txt) {
  while (!classes_txt.empty()) {
    const auto end = std::min(classes_txt.find('\n'), classes_txt.size());
    labels_.emplace_back(classes_txt.substr(0, end));
    classes_txt.remove_prefix(std::min(classes_txt.size(), end + 1));
  }
}

std::string YoloClasses::text() const {
  std::string all;
  for (const std::string& label : labels_) all += label + "\n";
  return all;
}

std::string YoloClasses::lines(const Detections& found) {
  std::string all;
  const double w = static_cast<double>(found.width), h = static_cast<double>(found.height);
  for (const Detection& d : found.objects) {
    const std::string label = one_line(d.label);
    auto at = std::ranges::find(labels_, label);
    if (at == labels_.end()) at = labels_.insert(labels_.end(), label);
    const double x1 = d.box.x1, y1 = d.box.y1, x2 = d.box.x2, y2 = d.box.y2;
    all += fmt::format("{} {:.6f} {:.6f} {:.6f} {:.6f}\n", at - labels_.begin(), (x1 + x2) / 2 / w, (y1 + y2) / 2 / h,
                       (x2 - x1) / w, (y2 - y1) / h);
  }
  return all;
}

std::string voc_xml(const std::string& file_name, const Detections& found) {
  std::string xml = fmt::format(
      "<annotation>\n  <filename>{}</filename>\n  <size><width>{}</width><height>{}</height><depth>3</depth></size>\n"
      "  <segmented>0</segmented>\n",
      xml_text(file_name), found.width, found.height);
  for (const Detection& d : found.objects) {
    const auto first = [](float at) { return static_cast<Dim>(std::lround(at)) + 1; };
    const auto last = [](float at, Dim from) { return std::max<Dim>(from, static_cast<Dim>(std::lround(at))); };
    const Dim x1 = first(d.box.x1), y1 = first(d.box.y1);
    xml += fmt::format(
        "  <object>\n    <name>{}</name>\n    "
        "<pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>\n"
        "    <bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>\n  </object>\n",
        xml_text(d.label), x1, y1, last(d.box.x2, x1), last(d.box.y2, y1));
  }
  return xml + "</annotation>\n";
}

Json labelme_json(const std::string& file_name, const Detections& found) {
  Json shapes = Json::array();
  for (const Detection& d : found.objects) {
    Json points = {{rounded(d.box.x1), rounded(d.box.y1)}};
    if (!d.point) points.push_back({rounded(d.box.x2), rounded(d.box.y2)});
    Json shape = {{"label", d.label},
                  {"points", std::move(points)},
                  {"shape_type", d.point ? "point" : "rectangle"},
                  {"group_id", nullptr},
                  {"flags", Json::object()}};
    if (d.mask) shape["mask_rle"] = {{"size", {d.mask->height, d.mask->width}}, {"counts", compressed(*d.mask)}};
    shapes.push_back(std::move(shape));
  }
  return {{"version", "5.0.0"},       {"flags", Json::object()}, {"shapes", std::move(shapes)},
          {"imagePath", file_name},   {"imageData", nullptr},    {"imageHeight", found.height},
          {"imageWidth", found.width}};
}

}  // namespace tap
