// tapetum detect, segment and count "THINGS" IMAGE…
#include "cli/detect.h"

#include "base/file.h"
#include "base/log.h"
#include "cli/asking.h"
#include "cli/commands.h"
#include "cli/detection_files.h"
#include "cli/dry_run.h"
#include "tasks/results_json.h"

namespace tap::cli {

namespace {

int find(const Options& options, Want::Kind usual, const char* usage) {
  if (options.words.empty() || options.words.size() + options.clipboard < 2) fail(ErrorCode::usage, "{}", usage);
  std::string phrase = options.words.front();
  std::vector<std::string> words(options.words.begin() + 1, options.words.end());
  // The other order is a natural mistake with one unambiguous meaning.
  if (words.size() == 1 && file_exists(phrase) && !names_pictures(words[0])) std::swap(phrase, words[0]);
  PictureList pictures = list_pictures(words, options);
  if (!options.raw_prompt) (void)wants_of(phrase, usual);  // words that say nothing need no model
  DetectionFiles files(options, pictures);
  if (options.dry_run)
    return dry_run(
        pictures,
        [&](const Model& model) { return DetectTask(model, phrase, detect_options(options, usual)).prompt(0); },
        options);
  if (options.resume) {
    const std::size_t all = pictures.sources.size();
    std::erase_if(pictures.sources, [&](const PictureSource& picture) { return files.has(picture); });
    log::info("{} of {} pictures were done before", all - pictures.sources.size(), all);
    if (pictures.sources.empty()) return 0;
  }
  std::shared_ptr<const DetectTask> task;
  const auto check = [&](const Model& model) {
    task = std::make_shared<const DetectTask>(model, phrase, detect_options(options, usual));
  };
  const int code = ask_about(pictures, options, check, [&](const Turn& turn, Item& item) {
    ask_where(*task, turn.image(), options.system, item);
    const Dim width = turn.width, height = turn.height;
    const auto kept = files.wanted() ? turn.image() : nullptr;
    item.report = [=, &files, &model = turn.model, path = turn.name, source = item.name,
                   many = turn.many](std::span<const Answer> answers) {
      const Detections found = task->result(width, height, answers);
      if (kept) files.write(source, *kept, found);
      Json json = {{"image", path}, {"width", width}, {"height", height}, {"model", model.name()}};
      json.update(detections_json(found));
      return Outcome{std::move(json), detections_text(found, many ? path + ": " : "")};
    };
  });
  files.finish();
  return code;
}

}  // namespace

DetectOptions detect_options(const Options& options, Want::Kind usual) {
  DetectOptions all;
  all.usual = usual == Want::Kind::detect && options.points ? Want::Kind::point : usual;
  all.raw_prompt = options.raw_prompt;
  all.location_range = options.loc_div.empty() ? 0 : std::stod(options.loc_div);
  all.mask_weights = options.mask_weights;
  return all;
}

void ask_where(const DetectTask& task, const std::shared_ptr<const Image>& image, const std::string& system,
               Item& item) {
  item.conversation = task.conversation(0, image, system);
  for (std::size_t i = 1; i < task.questions(); ++i) item.more.push_back(task.conversation(i, image, system));
}

std::string detections_text(const Detections& found, const std::string& heading) {
  std::string text;
  for (const Count& count : found.counts)
    text += fmt::format("{}{}: {}{}\n", heading, plural(count.label), count.value(),
                        count.agree() ? "" : fmt::format(" (boxes: {})", count.boxes));
  if (!found.counts.empty() && found.objects.empty()) return text;
  if (found.objects.empty()) return heading + "nothing found\n";
  for (const Detection& d : found.objects) {
    text += fmt::format("{}{}: ", heading, d.label);
    text += d.point ? fmt::format("at {:.0f},{:.0f}", d.point->x, d.point->y)
                    : fmt::format("{:.0f},{:.0f} to {:.0f},{:.0f}", d.box.x1, d.box.y1, d.box.x2, d.box.y2);
    text += d.mask ? fmt::format(", mask of {} pixels\n", d.mask->area()) : "\n";
  }
  return text;
}

int run_detect(const Options& options) {
  return find(options, Want::Kind::detect,
              "detect takes what to look for, then pictures: tapetum detect \"bird\" IMAGE");
}

int run_segment(const Options& options) {
  return find(options, Want::Kind::segment,
              "segment takes what to look for, then pictures: tapetum segment \"bird\" IMAGE");
}

int run_count(const Options& options) {
  return find(options, Want::Kind::count, "count takes what to count, then pictures: tapetum count \"birds\" IMAGE");
}

}  // namespace tap::cli
