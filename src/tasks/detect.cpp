#include "tasks/detect.h"

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/log.h"
#include "base/strings.h"
#include "tasks/grounded_answer.h"

namespace tap {

namespace {

constexpr const char* mask_file = "vae-oid.npz";  // as big_vision names it

std::string mask_file_of(const Model& model) {  // empty: there is none
  for (const char* name : {mask_file, "vae-oid.safetensors"})
    if (const std::string path = model.folder() + "/" + name; file_exists(path)) return path;
  return {};
}

std::string filled(std::string form, std::string_view things) {
  if (const auto at = form.find("{}"); at != std::string::npos) form.replace(at, 2, things);
  return form;
}

Grounding grounding_of(const Model& model) {
  if (auto grounding = model.grounding()) return *std::move(grounding);
  throw Error(ErrorCode::unsupported,
              fmt::format("{}: this model cannot say where things are; PaliGemma, Qwen2.5-VL, Gemma 3 and nano can",
                          model.name()),
              model.name());
}

void require_form(const Model& model, const std::string& form, std::string_view what, std::string_view who) {
  if (!form.empty()) return;
  throw Error(ErrorCode::unsupported, fmt::format("{}: this model gives no {}; {}", model.name(), what, who),
              model.name());
}

std::shared_ptr<const MaskCodec> load_masks(const Model& model, const DetectOptions& options) {
  if (options.masks) return options.masks;
  const std::string path = options.mask_weights.empty() ? mask_file_of(model) : options.mask_weights;
  if (path.empty())
    throw Error(ErrorCode::not_found,
                fmt::format("segment needs the mask decoder, a file of its own: --mask-weights FILE ({} of "
                            "big_vision), or that file in {}",
                            mask_file, model.folder()),
                "mask-weights");
  return std::make_shared<const MaskCodec>(MaskCodec::load(path));
}

// Of boxes that cover each other the first stays.
Dim without_doubles(std::span<const Detection> objects) {
  std::vector<const Detection*> kept;
  for (const Detection& object : objects)
    if (std::ranges::none_of(
            kept, [&](const Detection* other) { return overlap_of(other->box, object.box) > same_object_overlap; }))
      kept.push_back(&object);
  return static_cast<Dim>(kept.size());
}

}  // namespace

DetectTask::DetectTask(const Model& model, std::string_view words, DetectOptions options)
    : model_(&model), grounding_(grounding_of(model)), options_(std::move(options)) {
  if (options_.location_range > 0 && grounding_.form == Grounding::Form::location_tokens)
    grounding_.range = options_.location_range;
  if (options_.raw_prompt) {
    if (trimmed(words).empty()) fail(ErrorCode::usage, "detect: say what to look for");
    questions_.push_back({std::string(words), {}, false});
    if (!grounding_.segment.empty() && (!options_.mask_weights.empty() || !mask_file_of(model).empty()))
      masks_ = load_masks(model, options_);
    return;
  }
  const std::vector<Want> wants = wants_of(words, options_.usual);
  ask_places(wants, Want::Kind::detect, grounding_.detect);
  ask_places(wants, Want::Kind::segment, grounding_.segment);
  ask_places(wants, Want::Kind::point, grounding_.point);
  for (const Want& want : wants) {
    if (want.kind != Want::Kind::count) continue;
    const std::string one = singular(want.thing);
    const auto at = std::ranges::find_if(questions_, [&](const Question& question) {
      return !question.number && question.things.size() == 1 && question.things[0].thing == one;
    });
    const auto places = static_cast<std::size_t>(at - questions_.begin());
    if (at == questions_.end())
      questions_.push_back({filled(grounding_.detect, one), {{Want::Kind::detect, one, false}}, false});
    counted_.push_back({one, places, questions_.size()});
    questions_.push_back({filled(grounding_.count, plural(want.thing)), {}, true});
  }
  if (std::ranges::any_of(wants, [](const Want& want) { return want.kind == Want::Kind::segment; }))
    masks_ = load_masks(model, options_);
}

void DetectTask::ask_places(const std::vector<Want>& wants, Want::Kind kind, const std::string& form) {
  std::vector<Want> things;
  for (const Want& want : wants)
    if (want.kind == kind) things.push_back(want);
  if (things.empty()) return;
  if (kind == Want::Kind::segment) require_form(*model_, form, "masks", "PaliGemma does");
  if (kind == Want::Kind::point) require_form(*model_, form, "points", "Qwen2.5-VL and Gemma 3 do");
  if (grounding_.separator.empty()) {
    for (const Want& thing : things) questions_.push_back({filled(form, thing.thing), {thing}, false});
    return;
  }
  std::string joined;
  for (const Want& thing : things) joined += (joined.empty() ? "" : grounding_.separator) + thing.thing;
  questions_.push_back({filled(form, joined), std::move(things), false});
}

Conversation DetectTask::conversation(std::size_t question, std::shared_ptr<const Image> image,
                                      std::string_view system) const {
  Conversation conversation;
  if (!system.empty()) conversation.system(std::string(system));
  conversation.user(questions_[question].prompt, {std::move(image)});
  return conversation;
}

// From the tokens, not from the streamed text: location tokens may be special ones.
std::string DetectTask::text_of(const Answer& answer) const {
  std::vector<TokenId> tokens = answer.tokens;
  const auto& ends = model_->end_tokens();
  while (!tokens.empty() && std::ranges::find(ends, tokens.back()) != ends.end()) tokens.pop_back();
  return std::string(trimmed(model_->tokenizer().decode(tokens)));
}

void DetectTask::read_places(const Question& question, const Answer& answer, const std::string& text,
                             const ImagePlan& plan, Detections& result) const {
  const bool alone = question.things.size() == 1;
  GroundedAnswer found =
      parse_grounded(grounding_, frame_of(grounding_, plan), text, alone ? question.things[0].thing : "");
  result.invalid += found.invalid;
  if (grounding_.form == Grounding::Form::location_tokens) {
    std::vector<double> sure;  // of each location token
    for (std::size_t i = 0; i < answer.tokens.size() && i < answer.logprobs.size(); ++i)
      if (model_->tokenizer().decode(std::span(&answer.tokens[i], 1)).starts_with("<loc"))
        sure.push_back(std::exp(double{answer.logprobs[i]}));
    for (std::size_t i = 0; i < found.objects.size(); ++i) {
      const std::size_t first = found.first_places[i];
      if (first + 4 <= sure.size())
        found.objects[i].score =
            static_cast<float>((sure[first] + sure[first + 1] + sure[first + 2] + sure[first + 3]) / 4);
    }
  }
  if (alone && question.things[0].one && !found.objects.empty()) found.objects.front().primary = true;
  result.objects.insert(result.objects.end(), found.objects.begin(), found.objects.end());
}

void DetectTask::add_masks(Detections& result) const {
  for (Detection& object : result.objects) {
    if (object.codes.empty()) continue;
    const auto pixel = [](float at) { return static_cast<Dim>(at + 1e-3F); };  // int(v / 1023 * size), as mask_box
    const MaskBox box{pixel(object.box.y1), pixel(object.box.x1), pixel(object.box.y2), pixel(object.box.x2)};
    const Tensor mask = masks_->decode(object.codes).reshape({MaskCodec::side_px, MaskCodec::side_px});
    const Tensor pasted = paste_mask(mask, box, result.height, result.width);
    object.mask = runs_of(pasted.values<std::uint8_t>(), result.height, result.width);
  }
}

Detections DetectTask::result(Dim width, Dim height, std::span<const Answer> answers) const {
  Detections result;
  result.width = width;
  result.height = height;
  const ImagePlan plan = model_->processor().plan(width, height);
  std::vector<Dim> boxes(questions_.size());
  std::vector<std::optional<Dim>> numbers(questions_.size());
  for (std::size_t i = 0; i < questions_.size(); ++i) {
    const Question& question = questions_[i];
    const Answer& answer = answers[i];
    const std::string text = text_of(answer);
    const std::size_t before = result.objects.size();
    if (question.number)
      numbers[i] = number_in(answer.text);
    else
      read_places(question, answer, text, plan, result);
    boxes[i] = without_doubles(std::span(result.objects).subspan(before));
    result.prompts_sent.push_back(answer.prompt_sent);
    result.text += (i > 0 ? "\n" : "") + text;
    result.timings += answer.timings;
    if (answer.finish_reason != FinishReason::length) continue;
    result.cut = true;
    log::warn("the answer to \"{}\" was cut after {} tokens: there may be more", question.prompt, answer.tokens.size());
  }
  for (const Counted& counted : counted_)
    result.counts.push_back({counted.label, boxes[counted.places], numbers[counted.number]});
  if (masks_) add_masks(result);
  return result;
}

Detections detect(Session& session, const DetectTask& task, std::shared_ptr<const Image> image,
                  const GenerateOptions& options, std::string_view system) {
  const Dim width = image->width, height = image->height;
  std::vector<Answer> answers;
  for (std::size_t i = 0; i < task.questions(); ++i)
    answers.push_back(answer(session, task.conversation(i, image, system), options));
  return task.result(width, height, answers);
}

}  // namespace tap
