// tapetum detect "THING" IMAGE…
#include "cli/detect.h"

#include <algorithm>
#include <cctype>

#include "base/file.h"
#include "cli/asking.h"
#include "cli/commands.h"
#include "cli/dry_run.h"
#include "codec/encode.h"
#include "media/draw.h"

namespace tap::cli {

namespace {

Json box_json(const BoxPx& box) {
  const auto tenth = [](float px) { return static_cast<double>(static_cast<std::int64_t>(px * 10 + 0.5f)) / 10; };
  return {tenth(box.x1), tenth(box.y1), tenth(box.x2), tenth(box.y2)};
}

// Drawings are PNG: a name that promises another format is refused before anything is computed.
void check_output_name(const std::string& path) {
  std::string ending =
      path.substr(std::min(path.size(), path.rfind('.') == std::string::npos ? path.size() : path.rfind('.')));
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const std::string_view other : {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})
    if (ending == other)
      throw Error(ErrorCode::usage, fmt::format("-o {}: drawings are PNG; name the file .png", path), path);
  if (path == "-") throw Error(ErrorCode::usage, "-o -: the drawing needs a file, stdout has the boxes", path);
}

void save_drawing(const std::string& path, const Image& image, const Detections& found) {
  Image drawn = image;
  std::vector<DrawnBox> boxes;
  for (const Detection& d : found.objects) boxes.push_back({d.label, d.box.x1, d.box.y1, d.box.x2, d.box.y2, d.score});
  draw_boxes(drawn, boxes);
  write_file_atomic(path, std::span<const std::byte>(encode_png(drawn)));
}

}  // namespace

Json detections_json(const Detections& found) {
  Json objects = Json::array(), counts = Json::object();
  for (const Detection& d : found.objects) {
    objects.push_back(
        {{"label", d.label}, {"box", box_json(d.box)}, {"score", d.score ? Json(*d.score) : Json(nullptr)}});
    counts[d.label] = counts.value(d.label, 0) + 1;
  }
  return {{"prompt_sent", found.prompt_sent}, {"objects", objects}, {"counts", counts}, {"text", found.text}};
}

std::string detections_text(const Detections& found, const std::string& heading) {
  if (found.objects.empty()) return heading + "nothing found\n";
  std::string text;
  for (const Detection& d : found.objects)
    text +=
        fmt::format("{}{}: {:.0f},{:.0f} to {:.0f},{:.0f}\n", heading, d.label, d.box.x1, d.box.y1, d.box.x2, d.box.y2);
  return text;
}

int run_detect(const Options& options) {
  if (options.words.empty() || options.words.size() + options.clipboard < 2)
    fail(ErrorCode::usage, "detect takes what to look for, then pictures: tapetum detect \"bird\" IMAGE");
  std::string phrase = options.words.front();
  std::vector<std::string> words(options.words.begin() + 1, options.words.end());
  // The other order is a natural mistake with one unambiguous meaning.
  if (words.size() == 1 && file_exists(phrase) && !names_pictures(words[0])) std::swap(phrase, words[0]);
  const PictureList pictures = list_pictures(words, options);
  if (!options.output.empty() && pictures.many)
    fail(ErrorCode::usage, "-o {} is one file, but {} pictures are given", options.output, pictures.sources.size());
  if (!options.output.empty()) check_output_name(options.output);
  if (options.dry_run)
    return dry_run(
        pictures, [&](const Model& model) { return detect_prompt(grounding_of(model), phrase); }, options);
  const auto check = [&](const Model& model) { require_detect(model, phrase); };
  return ask_about(pictures, options, check, [&](const Turn& turn, Item& item) {
    item.conversation = detect_conversation(turn.model, turn.image, phrase, options.system);
    const Dim width = turn.image->width, height = turn.image->height;
    const auto kept = options.output.empty() ? nullptr : turn.image;
    item.report = [=, &phrase, &options, &model = turn.model, path = turn.name,
                   many = turn.many](const Answer& answer) {
      const Detections found = detections_of(model, answer, width, height, phrase);
      if (kept) save_drawing(options.output, *kept, found);
      Json json = {{"image", path}, {"width", width}, {"height", height}, {"model", model.name()}};
      json.update(detections_json(found));
      return Outcome{std::move(json), detections_text(found, many ? path + ": " : "")};
    };
  });
}

}  // namespace tap::cli
