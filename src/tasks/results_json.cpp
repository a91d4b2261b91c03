#include "tasks/results_json.h"

namespace tap {

namespace {

double tenth(float px) { return static_cast<double>(static_cast<std::int64_t>(px * 10 + 0.5f)) / 10; }

Json object_json(const Detection& d) {
  Json json = {{"label", d.label}};
  if (d.point)
    json["point"] = {tenth(d.point->x), tenth(d.point->y)};
  else
    json["box"] = {tenth(d.box.x1), tenth(d.box.y1), tenth(d.box.x2), tenth(d.box.y2)};
  json["score"] = d.score ? Json(*d.score) : Json(nullptr);
  if (d.primary) json["primary"] = true;
  if (d.mask) {
    json["mask"] = {{"size", {d.mask->height, d.mask->width}}, {"counts", compressed(*d.mask)}};
    json["area"] = d.mask->area();
  }
  return json;
}

}  // namespace

Json detections_json(const Detections& found) {
  Json objects = Json::array(), counts = Json::object();
  for (const Detection& d : found.objects) {
    objects.push_back(object_json(d));
    counts[d.label] = counts.value(d.label, 0) + 1;
  }
  Json json = {
      {"prompt_sent", found.prompts_sent.size() == 1 ? Json(found.prompts_sent.front()) : Json(found.prompts_sent)},
      {"objects", std::move(objects)},
      {"counts", std::move(counts)},
      {"text", found.text},
      {"invalid", found.invalid},
      {"cut", found.cut}};
  for (const Count& count : found.counts)
    json["counted"].push_back({{"label", count.label},
                               {"count", count.value()},
                               {"boxes", count.boxes},
                               {"answered", count.answered ? Json(*count.answered) : Json(nullptr)},
                               {"agree", count.agree()}});
  return json;
}

Json safety_json(const Safety& safety) {
  Json results = Json::array(), categories = Json::object(), scores = Json::object();
  for (const PolicyScore& score : safety.scores) {
    Json one = {{"policy", score.policy},
                {"p_violates", score.p_violates},
                {"violates", score.violates()},
                {"threshold", score.threshold}};
    if (safety.frames > 1) one["frame"] = score.frame;
    results.push_back(std::move(one));
    categories[score.policy] = score.violates();
    scores[score.policy] = score.p_violates;
  }
  Json json = {{"guard", safety.guard},
               {"checked", {safety.checked}},
               {"flagged", safety.flagged()},
               {"categories", std::move(categories)},
               {"category_scores", std::move(scores)},
               {"results", std::move(results)}};
  if (safety.checked == "image") json["frames"] = safety.frames;
  return json;
}

Json safety_json(const std::vector<Safety>& all) {
  Json list = Json::array();
  for (const Safety& safety : all) list.push_back(safety_json(safety));
  return list;
}

}  // namespace tap
