#include "cli/detection_files.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "base/file.h"
#include "codec/encode.h"
#include "io/url.h"

namespace tap::cli {

namespace {

constexpr std::size_t annotations_limit_bytes = std::size_t{1} << 30, saved_every = 50;

std::string lower_ending(const std::string& path) {
  const std::size_t dot = path.rfind('.');
  std::string ending = dot == std::string::npos || path.find('/', dot) != std::string::npos ? "" : path.substr(dot);
  std::ranges::transform(ending, ending.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return ending;
}

// Drawings are PNG: a name that promises another format is refused before anything is computed.
void check_drawing_name(const std::string& path) {
  const std::string ending = lower_ending(path);
  for (const std::string_view other : {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})
    if (ending == other)
      throw Error(ErrorCode::usage, fmt::format("-o {}: drawings are PNG; name the file .png", path), path);
  if (path == "-") throw Error(ErrorCode::usage, "-o -: the drawing needs a file, stdout has the boxes", path);
}

bool is_folder_name(const std::string& path) { return is_directory(path) || path.ends_with('/'); }

void make_folder(const std::string& path) {
  std::error_code failed;
  std::filesystem::create_directories(path, failed);
  if (failed && !is_directory(path))
    throw Error(ErrorCode::io, fmt::format("{}: cannot make this folder: {}", path, failed.message()), path);
}

// A file's name without folders and ending; of a URL its last part, of others what they are called.
std::string stem_of(const PictureSource& source) {
  std::string name = is_data_url(source.name) ? "data" : source.name;
  if (source.clipboard || name == "-") name = source.clipboard ? "clipboard" : "stdin";
  name = name.substr(0, name.find_first_of(is_url(source.name) ? "?#" : ""));
  while (name.ends_with('/')) name.pop_back();
  std::string stem = std::filesystem::path(name).stem().string();
  for (char& c : stem)
    if (static_cast<unsigned char>(c) < 32 || c == '/' || c == '\\') c = '_';
  return stem.empty() ? "picture" : stem;
}

std::string safe_name(std::string label) {
  for (char& c : label)
    if (!std::isalnum(static_cast<unsigned char>(c)) && static_cast<unsigned char>(c) < 128) c = '-';
  return label.substr(0, 40);
}

void write_png(const std::string& path, const std::vector<std::byte>& bytes) {
  write_file_atomic(path, std::span<const std::byte>(bytes));
}

}  // namespace

DetectionFiles::DetectionFiles(const Options& options, const PictureList& pictures)
    : drawing_(options.output),
      annotations_(options.annotations),
      format_(options.format),
      masks_(options.masks),
      many_(pictures.many) {
  if (!wanted()) {
    if (options.resume) fail(ErrorCode::usage, "--resume needs -o, --annotations or --masks: the files to go on with");
    return;
  }
  std::unordered_map<std::string, std::string> names;  // by stem
  for (const PictureSource& source : pictures.sources) {
    const std::string stem = stem_of(source);
    stems_[source.name] = stem;
    const auto [at, is_new] = names.emplace(stem, source.name);
    if (!is_new && at->second != source.name)
      throw Error(ErrorCode::usage,
                  fmt::format("{} and {}: their files would both be named {}", at->second, source.name, stem),
                  source.name);
  }
  if (!drawing_.empty()) {
    check_drawing_name(drawing_);
    drawing_folder_ = is_folder_name(drawing_);
    if (many_ && !drawing_folder_)
      fail(ErrorCode::usage, "-o {} is one file, but {} pictures are given; name a folder ({}/)", drawing_,
           pictures.sources.size(), drawing_);
    if (drawing_folder_) make_folder(drawing_);
  }
  if (!masks_.empty()) make_folder(masks_);
  if (annotations_.empty()) return;
  if (format_ == "coco") {
    if (is_folder_name(annotations_))
      throw Error(ErrorCode::usage, fmt::format("--annotations {}: a COCO data set is one file", annotations_),
                  annotations_);
    if (options.resume && file_exists(annotations_))
      coco_ = CocoDataset(parse_json(read_file(annotations_, annotations_limit_bytes).value(), annotations_,
                                     {.bytes = annotations_limit_bytes})
                              .value(),
                          annotations_);
    return;
  }
  make_folder(annotations_);
  const std::string classes = annotations_ + "/classes.txt";
  if (format_ == "yolo" && options.resume && file_exists(classes))
    classes_ = YoloClasses(read_file(classes, annotations_limit_bytes).value());
}

std::string DetectionFiles::drawing_of(const std::string& picture) const {
  return drawing_folder_ ? fmt::format("{}/{}.png", drawing_, stems_.at(picture)) : drawing_;
}

std::string DetectionFiles::annotation_of(const std::string& picture) const {
  const std::string_view ending = format_ == "yolo" ? "txt" : format_ == "voc" ? "xml" : "json";
  return fmt::format("{}/{}.{}", annotations_, stems_.at(picture), ending);
}

bool DetectionFiles::has(const PictureSource& picture) const {
  if (!drawing_.empty() && !file_exists(drawing_of(picture.name))) return false;
  if (!masks_.empty() && !file_exists(fmt::format("{}/{}.labels.png", masks_, stems_.at(picture.name)))) return false;
  if (annotations_.empty()) return true;
  return format_ == "coco" ? coco_.has(picture.name) : file_exists(annotation_of(picture.name));
}

void DetectionFiles::write_masks(const std::string& picture, const Detections& found) const {
  const std::string stem = masks_ + "/" + stems_.at(picture);
  std::vector<std::uint16_t> labels(static_cast<std::size_t>(found.width * found.height));
  std::uint16_t number = 0;
  for (const Detection& d : found.objects) {
    ++number;
    if (!d.mask) continue;
    std::vector<std::uint8_t> mask = pixels_of(*d.mask);
    for (std::size_t i = 0; i < mask.size(); ++i) {
      if (mask[i]) labels[i] = number;
      mask[i] = mask[i] ? 255 : 0;
    }
    write_png(fmt::format("{}.{}.{}.png", stem, number, safe_name(d.label)),
              encode_grey_png(std::span<const std::uint8_t>(mask), found.width, found.height));
  }
  // Last: it says that the others are there.
  write_png(stem + ".labels.png", encode_grey_png(std::span<const std::uint16_t>(labels), found.width, found.height));
}

void DetectionFiles::write_coco() {
  write_file_atomic(annotations_, coco_.json().dump() + "\n");
  unsaved_ = 0;
}

void DetectionFiles::write(const std::string& picture, const Image& image, const Detections& found) {
  if (!masks_.empty()) write_masks(picture, found);
  if (!annotations_.empty()) {
    const std::string file = std::filesystem::path(picture).filename().string();
    if (format_ == "coco") {
      coco_.add(picture, found);
      if (++unsaved_ >= saved_every) write_coco();
    } else if (format_ == "yolo") {
      const std::string lines = classes_.lines(found);
      write_file_atomic(annotations_ + "/classes.txt", classes_.text());  // a number means nothing without its name
      write_file_atomic(annotation_of(picture), lines);
    } else if (format_ == "voc") {
      write_file_atomic(annotation_of(picture), voc_xml(file, found));
    } else {
      write_file_atomic(annotation_of(picture), labelme_json(file, found).dump(2) + "\n");
    }
  }
  if (drawing_.empty()) return;
  Image drawn = image;
  draw_detections(drawn, found.objects);
  write_png(drawing_of(picture), encode_png(drawn));
}

void DetectionFiles::finish() {
  if (!annotations_.empty() && format_ == "coco") write_coco();
}

}  // namespace tap::cli
