#include "tasks/verify.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <fmt/format.h>

#include "base/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "models/family.h"
#include "runtime/model.h"
#include "runtime/sampler.h"
#include "tasks/verify_safety.h"

namespace tap {

namespace {

// Tensors that are inputs of the case or said elsewhere; never stages.
bool is_raw_input(const std::string& name) {
  const auto numbered = [&](std::string_view stem) {
    return name.starts_with(stem) && name.size() > stem.size() &&
           std::all_of(name.begin() + static_cast<std::ptrdiff_t>(stem.size()), name.end(),
                       [](char c) { return c >= '0' && c <= '9'; });
  };
  return name == "frames" || numbered("image") || numbered("audio") || name == "greedy_margin" ||
         name == "rope_delta" || name == "labels" || name == "mm_token_type_ids" || name.ends_with("_grid_thw") ||
         name == "second_per_grid_ts" || name.ends_with("_hf5");
}

bool is_stage(const std::string& name) {
  static const std::set<std::string> stages = {"input_ids",       "position_ids",  "vision_hidden", "image_features",
                                               "vision_features", "logits",        "greedy_tokens", "greedy_logits",
                                               "last_logits",     "yes_no_logits", "probabilities"};
  return stages.contains(name) || name.starts_with("pixel_values");
}

struct Case {
  std::string name, prompt, suffix;  // suffix: an answer that is given
  bool has_prompt = false,
       has_extras = false;  // extras: keys that change the input in ways this engine has no stage for
  std::string extra_key;
  double sampled_fps = 0;                   // of `frames`, when they were taken out of a video already
  double video_fps = 0, video_seconds = 0;  // of `frames`, when they are the whole video
  std::vector<std::string> images, policies;
  Json options, config_change;
  std::optional<Safetensors> tensors;
  bool has(std::string_view tensor) const { return tensors->find(tensor) != nullptr; }
  Tensor read(std::string_view tensor) const { return tensors->read(tensor); }
};

// Of 8 bits, in the scale of pixels divided by deviations of 0.26 and more: videos are resized by another library.
constexpr double one_level = 1.0 / 255 / 0.25;
constexpr std::int64_t no_label = -100;  // of a row that a loss leaves out

struct Comparison {
  double max_abs = 0, relative = 0;  // relative: root mean square of the difference over that of the golden
  Dim at = -1;                       // index of the largest difference
};

Comparison compare(const Tensor& got, const Tensor& want) {
  if (got.elements() != want.elements())
    fail(ErrorCode::bad_input, "shape {} here, {} in the golden", got.shape().to_string(), want.shape().to_string());
  const Tensor g = got.to(DType::f32), w = want.to(DType::f32);
  Comparison result;
  double noise = 0, signal = 0;
  for (Dim i = 0; i < g.elements(); ++i) {
    const double want_i = w.data<float>()[i], difference = std::abs(double{g.data<float>()[i]} - want_i);
    noise += difference * difference;
    signal += want_i * want_i;
    if (!(difference <= result.max_abs)) {  // NaN counts as a difference
      result.max_abs = std::isnan(difference) ? INFINITY : difference;
      result.at = i;
      if (std::isinf(result.max_abs)) break;
    }
  }
  result.relative = noise > 0 ? std::sqrt(noise / signal) : 0;
  return result;
}

std::vector<std::int64_t> integers(const Tensor& t) {
  std::vector<std::int64_t> values;
  for (Dim i = 0; i < t.elements(); ++i) {
    switch (t.dtype()) {
      case DType::i64: values.push_back(t.data<std::int64_t>()[i]); break;
      case DType::i32: values.push_back(t.data<std::int32_t>()[i]); break;
      case DType::u8: values.push_back(t.data<std::uint8_t>()[i]); break;
      default: fail(ErrorCode::bad_file, "integers expected, the tensor is {}", name(t.dtype()));
    }
  }
  return values;
}

// Number of places that differ, and the first of them.
template <class A, class B>
std::pair<Dim, std::string> differing(const A& got, const B& want) {
  Dim count = std::abs(static_cast<Dim>(got.size()) - static_cast<Dim>(want.size()));
  std::string first = count ? fmt::format("{} values here, {} in the golden", got.size(), want.size()) : "";
  for (std::size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    if (static_cast<std::int64_t>(got[i]) == static_cast<std::int64_t>(want[i])) continue;
    if (count++ == 0) first = fmt::format("first at {}: {} here, {} in the golden", i, got[i], want[i]);
  }
  return {count, first};
}

std::shared_ptr<const Image> picture_of(const Tensor& t, const std::string& tensor) {
  if (t.rank() != 3 || t.dim(2) != 3 || t.dtype() != DType::u8)
    fail(ErrorCode::bad_file, "{}: must be uint8 [height, width, 3], is {} {}", tensor, name(t.dtype()),
         t.shape().to_string());
  auto image = std::make_shared<Image>(t.dim(1), t.dim(0));
  std::copy_n(t.data<std::uint8_t>(), t.elements(), image->pixels.data());
  return image;
}

// What the manifest lists must be in the file, in that type and shape: a tensor that got lost must not pass as never
// having been.
void check_listed(const Json& entry, const Case& c) {
  static const std::map<std::string, std::string> types = {
      {"float32", "F32"}, {"float16", "F16"}, {"bfloat16", "BF16"}, {"int64", "I64"}, {"int32", "I32"},
      {"uint8", "U8"},    {"bool", "BOOL"},   {"int8", "I8"},       {"int16", "I16"}, {"float64", "F64"}};
  if (!entry.contains("tensors")) return;
  for (const auto& [tensor, description] : entry["tensors"].items()) {
    const SafetensorEntry* found = c.tensors->find(tensor);
    if (!found)
      fail(ErrorCode::bad_file, "manifest.json: case {}: tensor {} is not in {}", c.name, tensor, c.tensors->path());
    const auto type = types.find(description.at(0).get<std::string>());
    if ((type != types.end() && type->second != found->dtype) ||
        description.at(1).get<std::vector<Dim>>() != found->shape)
      fail(ErrorCode::bad_file, "manifest.json: case {}: tensor {} is {} [{}] in {}, the manifest says {}", c.name,
           tensor, found->dtype, fmt::join(found->shape, ", "), c.tensors->path(), description.dump());
  }
}

std::vector<Case> read_cases(const std::string& folder, const Json& manifest) {
  std::vector<Case> cases;
  for (const Json& entry : manifest.at("cases")) {
    Case c;
    c.name = entry.at("name").get<std::string>();
    const std::string file = entry.at("file").get<std::string>();
    if (file.find('/') != std::string::npos)
      fail(ErrorCode::bad_file, "manifest.json: case {}: file \"{}\" must lie beside it", c.name, file);
    c.tensors = Safetensors::open(folder + "/" + file).value();
    if (entry.contains("prompt")) c.prompt = entry["prompt"].get<std::string>(), c.has_prompt = true;
    check_listed(entry, c);
    c.suffix = entry.value("suffix", "");
    if (c.has("audio0")) c.has_extras = true, c.extra_key = "audio";
    const Json video = entry.value("video", Json::object());
    c.sampled_fps = video.value("sampled_fps", 0.0);
    c.video_fps = video.contains("sampled_fps") ? 0 : video.value("fps", 0.0);
    c.video_seconds = video.value("duration", 0.0);
    c.policies = entry.value("policies", std::vector<std::string>());
    if (entry.contains("images"))
      c.images = entry["images"].get<std::vector<std::string>>();
    else
      for (int i = 0; c.has(fmt::format("image{}", i)); ++i) c.images.push_back(fmt::format("image{}", i));
    c.options = entry.value("options", Json::object());
    c.config_change = entry.value("config_change", Json::object());
    cases.push_back(std::move(c));
  }
  return cases;
}

// Runs one case; every check adds a row.
class CaseRun {
 public:
  CaseRun(const Case& golden, const Model& model, double tolerance, VerifyReport& report)
      : golden_(golden), model_(model), network_(model.network()), tolerance_(tolerance), report_(report) {}

  void run() {
    if (!golden_.policies.empty() || golden_.has("last_logits") || golden_.has("yes_no_logits")) {
      policies();
    } else {
      place_and_pixels();
      const Tensor hidden = vision(), features = project(hidden);
      decoder(features);
    }
    for (const SafetensorEntry& entry : golden_.tensors->entries()) {
      if (seen_.contains(entry.name) || is_raw_input(entry.name)) continue;
      if (is_stage(entry.name))
        add(entry.name, "golden", VerifyStatus::unchecked, {}, "its inputs are not in the case");
      else
        add(entry.name, "golden", VerifyStatus::unknown, {}, "not a stage of the contract");
    }
  }

 private:
  void add(const std::string& stage, const std::string& from, VerifyStatus status, std::optional<double> max_abs,
           std::string note = {}, double tolerance = 0, std::optional<double> relative = {}) {
    report_.rows.push_back({golden_.name, stage, from, status, max_abs, relative, tolerance, std::move(note)});
  }
  void check_integers(const std::string& stage, const std::string& from, std::pair<Dim, std::string> difference) {
    add(stage, from, difference.first ? VerifyStatus::failed : VerifyStatus::passed,
        static_cast<double>(difference.first), difference.second);
  }
  void check(const std::string& stage, const std::string& from, const Tensor& got, const Tensor& want,
             double tolerance) {
    try {
      const Comparison c = compare(got, want);
      const bool good = c.max_abs <= tolerance;
      if (tolerance > 0 && measuring() && std::isfinite(c.max_abs))
        return add(stage, from, VerifyStatus::measured, c.max_abs, {}, tolerance, c.relative);
      add(stage, from, good ? VerifyStatus::passed : VerifyStatus::failed, c.max_abs,
          good ? "" : fmt::format("largest difference at element {}", c.at), tolerance, c.relative);
    } catch (const Error& error) {
      add(stage, from, VerifyStatus::failed, {}, error.message(), tolerance);
    }
  }
  bool measuring() const { return model_.weight_type() != WeightType::f32; }
  bool present(const std::string& tensor) {
    if (!golden_.has(tensor)) return false;
    seen_.insert(tensor);
    return true;
  }

  void place_and_pixels() {
    if (!golden_.has("input_ids")) return;
    seen_.insert("input_ids");
    for (const std::int64_t id : integers(golden_.read("input_ids"))) {
      if (id < 0 || id >= network_.vocab())
        fail(ErrorCode::bad_file, "input_ids: {} is no id, they go from 0 to {}", id, network_.vocab() - 1);
      ids_.push_back(static_cast<TokenId>(id));
    }
    golden_prompt_ = model_.processor().from_ids(ids_, golden_plans(), answer_rows());
    if (present("position_ids")) check_positions("golden", golden_prompt_);
    const bool mask_present = present("attention_mask");
    if (present("token_type_ids")) token_types();
    const std::string cannot =
        golden_.has_extras ? fmt::format("this engine has no input of kind \"{}\" for this family", golden_.extra_key)
                           : "";
    if (golden_.has_extras) {
      add("ids", "end", VerifyStatus::unchecked, {}, cannot);
      if (present("pixel_values")) add("pixels", "end", VerifyStatus::unchecked, {}, cannot);
      present("pixel_attention_mask");
      return;
    }
    const auto processor = model_.processor_with(golden_.options);
    std::vector<ImagePlan> plans;
    std::vector<std::shared_ptr<const Image>> images;
    if (golden_.has("frames") && !plan_frames(*processor, images, plans)) return;
    for (const std::string& name : golden_.images) {
      images.push_back(picture_of(golden_.read(name), name));
      plans.push_back(processor->plan(images.back()->width, images.back()->height));
    }
    if (golden_.has_prompt) {
      const TextSpan text{golden_.prompt, true};
      Prompt prompt = processor->place(std::span(&text, 1), plans, !model_.begins_with_bos({&text, 1}));
      if (!golden_.suffix.empty()) prompt = with_answer(*processor, prompt, plans);
      check_integers("ids", "end", differing(prompt.ids, ids_));
      if (golden_.has("position_ids")) check_positions("end", prompt);
      own_prompt_ = prompt;
    }
    if (mask_present) {
      const std::vector<std::int64_t> ones(ids_.size(), 1);
      check_integers("attention_mask", "golden", differing(ones, integers(golden_.read("attention_mask"))));
    }
    for (const ImagePlan& plan : plans)
      if (plan.grid.steps > 0) own_grids_.push_back(plan.grid);
    if (!present(pixels_name())) return;
    if (images.empty()) return present("pixel_attention_mask"), void();
    std::vector<Tensor> parts;
    if (golden_.has("frames")) {
      std::vector<Image> frames;
      for (const auto& image : images) frames.push_back(processor->prepare(*image, plans[0]));
      parts.push_back(processor->video_tiles(frames, plans[0], 0, plans[0].tiles()));
    } else {
      for (std::size_t i = 0; i < images.size(); ++i) parts.push_back(processor->pixels(*images[i], plans[i]));
    }
    own_pixels_ = ops::concat_rows(parts);
    check("pixels", "end", own_pixels_, golden_.read(pixels_name()), golden_.has("frames") ? one_level : 0);
    if (present("pixel_attention_mask")) {
      const Tensor mask = golden_.read("pixel_attention_mask");
      check_integers(
          "pixel_attention_mask", "end",
          differing(std::vector<std::int64_t>(static_cast<std::size_t>(mask.elements()), 1), integers(mask)));
    }
  }

  std::string pixels_name() const {
    return golden_.has("pixel_values_videos") ? "pixel_values_videos" : "pixel_values";
  }

  // The grids of the golden's own pictures, where the family has them.
  std::vector<PatchGrid> golden_grids() const {
    std::vector<PatchGrid> grids;
    for (const char* name : {"image_grid_thw", "video_grid_thw"}) {
      if (!golden_.has(name)) continue;
      const auto numbers = integers(golden_.read(name));
      for (std::size_t i = 0; i + 2 < numbers.size(); i += 3)
        grids.push_back({numbers[i], numbers[i + 1], numbers[i + 2]});
    }
    return grids;
  }

  std::vector<ImagePlan> golden_plans() const {
    std::vector<ImagePlan> plans;
    const Tensor seconds =
        golden_.has("second_per_grid_ts") ? golden_.read("second_per_grid_ts").to(DType::f32) : Tensor();
    const std::size_t pictures =
        golden_.has("image_grid_thw") ? static_cast<std::size_t>(golden_.read("image_grid_thw").elements() / 3) : 0;
    const auto grids = golden_grids();
    for (std::size_t i = 0; i < grids.size(); ++i) {
      const bool video = i >= pictures;
      if (video && (!seconds.defined() || seconds.elements() <= static_cast<Dim>(i - pictures)))
        fail(ErrorCode::bad_file, "{}: video_grid_thw without as many second_per_grid_ts", golden_.name);
      plans.push_back(
          model_.processor().plan_of_grid(grids[i], video ? double{seconds.data<float>()[i - pictures]} : 0));
    }
    return plans;
  }

  void check_positions(const std::string& from, const Prompt& prompt) {
    std::vector<std::int32_t> flat;
    for (const auto& axis : prompt.positions) flat.insert(flat.end(), axis.begin(), axis.end());
    check_integers("positions", from, differing(flat, integers(golden_.read("position_ids"))));
  }

  // The golden's frames as one video. False: this family has no videos, and the report says so.
  bool plan_frames(const Processor& processor, std::vector<std::shared_ptr<const Image>>& images,
                   std::vector<ImagePlan>& plans) {
    const Tensor frames = golden_.read("frames");
    if (frames.rank() != 4) fail(ErrorCode::bad_file, "frames: must be uint8 [count, height, width, 3]");
    const auto frame = [&](Dim i) {
      return picture_of(frames.rows(i, i + 1).reshape({frames.dim(1), frames.dim(2), frames.dim(3)}), "frames");
    };
    try {
      FrameTimes times{{}, golden_.sampled_fps > 0 ? golden_.sampled_fps : 1, 0};
      if (golden_.video_fps > 0) {  // a whole video, of which the processor takes its own frames
        const double fps = golden_.video_fps;
        times.duration = golden_.video_seconds;
        const FrameChoice choice = processor.choose_frames({frames.dim(0), fps, times.duration}, {});
        times.sampled_fps = choice.sampled_fps;
        for (const Dim index : choice.indices) {
          images.push_back(frame(index));
          times.seconds.push_back(static_cast<double>(index) / fps);
        }
      } else {
        for (Dim i = 0; i < frames.dim(0); ++i) {
          images.push_back(frame(i));
          times.seconds.push_back(static_cast<double>(i) / times.sampled_fps);
        }
      }
      plans.push_back(processor.plan_video(frames.dim(2), frames.dim(1), times));
      return true;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::unsupported) throw;
      add("ids", "end", VerifyStatus::unchecked, {}, error.message());
      if (present(pixels_name())) add("pixels", "end", VerifyStatus::unchecked, {}, error.message());
      present("pixel_attention_mask");
      return false;
    }
  }

  // A classifier's rows: one a picture and policy, padded in front to the longest.
  void policies() {
    if (!present("input_ids")) return;
    const Tensor ids = golden_.read("input_ids");
    if (ids.rank() != 2) fail(ErrorCode::bad_file, "input_ids: {}, must be [rows, width]", ids.shape().to_string());
    const auto numbers = integers(ids);
    for (const std::int64_t id : numbers)
      if (id < 0 || id >= network_.vocab()) fail(ErrorCode::bad_file, "input_ids: {} is no id of the model's", id);
    const auto rows = unpadded_rows(
        numbers, present("attention_mask") ? integers(golden_.read("attention_mask")) : std::vector<std::int64_t>(),
        ids.dim(0));
    std::vector<Prompt> prompts, own_prompts;
    std::vector<std::int64_t> types;  // 1: a picture's row
    for (const auto& row : rows) {
      prompts.push_back(model_.processor().from_ids(row));
      std::vector<std::int64_t> padded(static_cast<std::size_t>(ids.dim(1)), 0);
      for (const Dim slot : prompts.back().slots)
        padded[padded.size() - row.size() + static_cast<std::size_t>(slot)] = 1;
      types.insert(types.end(), padded.begin(), padded.end());
    }
    if (present("token_type_ids"))
      check_integers("token_type_ids", "golden", differing(types, integers(golden_.read("token_type_ids"))));

    const auto rows_of = [&](const Tensor& pixels) {
      std::vector<Tensor> features(prompts.size());
      for (std::size_t i = 0; pixels.defined() && i < features.size(); ++i)
        features[i] = network_.project(network_.tower({pixels.rows(static_cast<Dim>(i), static_cast<Dim>(i) + 1), {}}));
      return features;
    };
    const auto check_rows = [&](const std::string& from, std::span<const Prompt> of, const Tensor& pixels) {
      const Judgement judgement = judge(model_, of, rows_of(pixels));
      for (const auto& [name, got] :
           {std::pair{"last_logits", judgement.last_logits}, std::pair{"yes_no_logits", judgement.yes_no_logits},
            std::pair{"probabilities", judgement.probabilities}})
        if (got.defined() && present(name)) check(name, from, got, golden_.read(name), tolerance_);
    };
    const Tensor pixels = present("pixel_values") ? tiles(golden_.read("pixel_values").to(DType::f32)) : Tensor();
    check_rows("golden", prompts, pixels);

    std::vector<std::shared_ptr<const Image>> images;
    for (const std::string& name : golden_.images) images.push_back(picture_of(golden_.read(name), name));
    if (images.empty() || golden_.policies.empty()) return;
    std::vector<Tensor> parts;
    std::vector<TokenId> own_ids, golden_ids;
    for (const auto& row : rows) golden_ids.insert(golden_ids.end(), row.begin(), row.end());
    for (PreparedPrompt& prepared : policy_prompts(model_, images, golden_.policies)) {
      own_ids.insert(own_ids.end(), prepared.prompt.ids.begin(), prepared.prompt.ids.end());
      parts.push_back(model_.processor().pixels(*prepared.media[0].image, prepared.plans[0]));
      own_prompts.push_back(std::move(prepared.prompt));
    }
    check_integers("ids", "end", differing(own_ids, golden_ids));
    const Tensor own_pixels = ops::concat_rows(parts);
    if (pixels.defined()) check("pixels", "end", own_pixels, pixels, 0);
    if (own_prompts.size() == prompts.size()) check_rows("end", own_prompts, own_pixels);
  }

  std::vector<TokenId> answer_tokens() const {
    std::vector<TokenId> ids = model_.tokenizer().encode(golden_.suffix, false);
    if (model_.end_tokens().size() == 1) ids.push_back(model_.end_tokens().front());
    return ids;
  }
  // Rows of the answer in a case that gives one: those that its loss counts.
  Dim answer_rows() const {
    if (golden_.suffix.empty()) return 0;
    Dim count = static_cast<Dim>(answer_tokens().size());
    if (golden_.has("labels"))
      count = std::ranges::count_if(integers(golden_.read("labels")), [](std::int64_t id) { return id != no_label; });
    return std::min(count, static_cast<Dim>(ids_.size()));
  }
  Prompt with_answer(const Processor& processor, const Prompt& question, std::span<const ImagePlan> plans) const {
    std::vector<TokenId> ids = question.ids;
    const std::vector<TokenId> answer = answer_tokens();
    ids.insert(ids.end(), answer.begin(), answer.end());
    return processor.from_ids(ids, plans, static_cast<Dim>(answer.size()));
  }
  // The mean cross-entropy of the labels that are given, each judged by the row before it.
  Tensor loss_of(const Tensor& logits) const {
    const auto labels = integers(golden_.read("labels"));
    if (static_cast<Dim>(labels.size()) != logits.dim(0))
      fail(ErrorCode::bad_file, "labels: {} for {} rows", labels.size(), logits.dim(0));
    double sum = 0;
    Dim count = 0;
    for (Dim row = 1; row < logits.dim(0); ++row) {
      const auto label = static_cast<TokenId>(labels[static_cast<std::size_t>(row)]);
      if (label == no_label) continue;
      if (label < 0 || label >= logits.width()) fail(ErrorCode::bad_file, "labels: {} is no id of the model's", label);
      sum -= log_softmax(logits.rows(row - 1, row).values<float>(), {&label, 1});
      ++count;
    }
    const auto mean = static_cast<float>(sum / static_cast<double>(std::max<Dim>(1, count)));
    return Tensor::from(std::span(&mean, 1), {1});
  }

  // Ones mark the rows of pictures in some families, those of an answer in others.
  void token_types() {
    std::vector<std::int64_t> pictures(ids_.size(), 0), answer(ids_.size(), 0);
    for (const Dim slot : golden_prompt_.slots) pictures[static_cast<std::size_t>(slot)] = 1;
    std::fill(answer.end() - static_cast<std::ptrdiff_t>(answer_rows()), answer.end(), 1);
    const auto wanted = integers(golden_.read("token_type_ids"));
    check_integers("token_type_ids", "golden", std::min(differing(pictures, wanted), differing(answer, wanted)));
  }

  // [1, n, 3, h, w] to [n, 3, h, w]
  static Tensor tiles(const Tensor& t) {
    return t.rank() == 5 ? t.reshape({t.dim(0) * t.dim(1), t.dim(2), t.dim(3), t.dim(4)}) : t;
  }
  static Tensor mask_tiles(const Tensor& t) {
    return t.rank() == 4 ? t.reshape({t.dim(0) * t.dim(1), t.dim(2), t.dim(3)}) : t;
  }

  Tensor vision() {
    if (!golden_.has(pixels_name())) return {};
    const Tensor mask =
        golden_.has("pixel_attention_mask") ? mask_tiles(golden_.read("pixel_attention_mask")) : Tensor();
    const Tensor from_golden =
        network_.tower({tiles(golden_.read(pixels_name()).to(DType::f32)), mask, golden_grids()});
    own_hidden_ = own_pixels_.defined() ? network_.tower({own_pixels_, Tensor(), own_grids_}) : Tensor();
    if (present("vision_hidden")) {
      check("vision_hidden", "golden", from_golden, golden_.read("vision_hidden"), tolerance_);
      if (own_hidden_.defined()) check("vision_hidden", "end", own_hidden_, golden_.read("vision_hidden"), tolerance_);
      return golden_.read("vision_hidden");
    }
    return from_golden;
  }

  Tensor project(const Tensor& hidden) {
    if (!hidden.defined()) return {};
    const Tensor from_golden = network_.project(hidden);
    own_features_ = own_hidden_.defined() ? network_.project(own_hidden_) : Tensor();
    for (const char* name : {"image_features", "vision_features"}) {
      if (!present(name)) continue;
      check("features", "golden", from_golden, golden_.read(name), tolerance_);
      if (own_features_.defined()) check("features", "end", own_features_, golden_.read(name), tolerance_);
      return golden_.read(name);
    }
    return from_golden;
  }

  void decoder(const Tensor& golden_features) {
    if (ids_.empty()) return;
    const bool logits = present("logits"), greedy = present("greedy_tokens");
    if (greedy) present("greedy_logits");
    if (!logits && !greedy) return;
    decode("golden", golden_prompt_, golden_features, logits, greedy);
    if (own_prompt_ && (own_features_.defined() || own_prompt_->slots.empty()))
      decode("end", *own_prompt_, own_features_, logits, greedy);
  }

  void decode(const std::string& from, const Prompt& prompt, const Tensor& features, bool logits, bool greedy) {
    const std::vector<std::int64_t> tokens =
        greedy ? integers(golden_.read("greedy_tokens")) : std::vector<std::int64_t>();
    const Dim steps = static_cast<Dim>(tokens.size());
    KvCache cache(network_.kv_shape(), model_.cache_type(), prompt.rows() + steps);
    Tensor x = network_.embed(prompt.ids);
    if (!prompt.slots.empty()) {
      if (!features.defined())
        return add("logits", from, VerifyStatus::failed, {}, "the prompt has picture marks, the case no pixels");
      x = ops::put_rows(x, prompt.slots, features.reshape({-1, x.dim(1)}));
    }
    const Tensor hidden = network_.forward(x, prompt.batch(0, prompt.rows()), &cache);
    if (logits) {
      const Tensor scores = network_.logits(hidden);
      check("logits", from, scores, golden_.read("logits"), tolerance_);
      if (golden_.has("labels") && present("loss"))
        check("loss", from, loss_of(scores), golden_.read("loss"), tolerance_);
    }
    if (!greedy) return;
    const Tensor margins = golden_.read("greedy_margin");
    const Tensor wanted = golden_.has("greedy_logits") ? golden_.read("greedy_logits") : Tensor();
    Tensor row = network_.logits(hidden.rows(prompt.rows() - 1, prompt.rows()));
    const Dim vocab = row.width();
    if (margins.elements() < steps || (wanted.defined() && wanted.elements() != steps * vocab))
      fail(ErrorCode::bad_file, "{}: {} greedy_tokens, but greedy_margin is {} and greedy_logits {}", golden_.name,
           steps, margins.shape().to_string(), wanted.shape().to_string());
    std::int32_t position = 0;
    for (const auto& axis : prompt.positions)
      position = std::max(position, *std::max_element(axis.begin(), axis.end()));
    double worst = 0;
    Dim wrong = 0, step = 0;
    std::string note;
    for (; step < steps; ++step) {
      // Below ten tolerances the reference itself could have picked the other token.
      if (margins.data<float>()[step] < 10 * tolerance_) {
        note = fmt::format("compared up to step {} of {}: its margin {:.2g} is under ten tolerances", step, steps,
                           margins.data<float>()[step]);
        break;
      }
      if (wanted.defined())
        worst = std::max(
            worst, compare(row, Tensor::from(wanted.values<float>().subspan(static_cast<std::size_t>(step * vocab),
                                                                            static_cast<std::size_t>(vocab)),
                                             {vocab}))
                       .max_abs);
      const float* values = row.data<float>();
      const auto best = std::max_element(values, values + vocab) - values;
      const auto golden_token = static_cast<TokenId>(tokens[static_cast<std::size_t>(step)]);
      if (best != golden_token) {
        ++wrong;
        if (note.empty()) note = fmt::format("step {}: token {} here, {} in the golden", step, best, golden_token);
        if (!measuring()) break;
      }
      if (step + 1 == steps) continue;
      const TokenId id = golden_token;
      const Dim past = prompt.rows() + step;
      Batch batch = Batch::causal(1, past);
      batch.positions.assign(prompt.positions.size(), {static_cast<std::int32_t>(position + 1 + step)});
      row = network_.logits(network_.forward(network_.embed(std::span(&id, 1)), batch, &cache));
    }
    if (step == 0 && wrong == 0)
      return add("greedy", from, VerifyStatus::unchecked, {}, note.empty() ? "no steps" : note, tolerance_);
    if (measuring())
      return add("greedy", from, VerifyStatus::measured, static_cast<double>(wrong),
                 fmt::format("{} of {} tokens as in the golden", step - wrong, step));
    const bool good = wrong == 0 && worst <= tolerance_;
    if (worst > tolerance_ && note.empty()) note = "the logits of a step differ";
    add("greedy", from, good ? VerifyStatus::passed : VerifyStatus::failed, std::max(worst, static_cast<double>(wrong)),
        note, tolerance_);
  }

  const Case& golden_;
  const Model& model_;
  const Network& network_;
  double tolerance_;
  VerifyReport& report_;
  std::set<std::string> seen_;
  std::vector<TokenId> ids_;
  Prompt golden_prompt_;
  std::optional<Prompt> own_prompt_;
  Tensor own_pixels_, own_hidden_, own_features_;
  std::vector<PatchGrid> own_grids_;
};

Json read_manifest(const std::string& folder) {
  const std::string path = folder + "/manifest.json";
  if (!file_exists(path))
    throw Error(ErrorCode::not_found, fmt::format("{}: not there; a golden folder has one", path), path);
  const Json manifest = parse_json(read_file(path, std::size_t{64} << 20).value(), path).value();
  for (const char* key : {"family", "dtype", "max_abs_tolerance", "cases", "checkpoint"})
    if (!manifest.is_object() || !manifest.contains(key))
      throw Error(ErrorCode::bad_file, fmt::format("{}: key \"{}\" is missing", path, key), path);
  return manifest;
}

}  // namespace

std::string_view name(VerifyStatus status) {
  switch (status) {
    case VerifyStatus::passed: return "passed";
    case VerifyStatus::failed: return "failed";
    case VerifyStatus::unchecked: return "unchecked";
    case VerifyStatus::excused: return "excused";
    case VerifyStatus::unknown: return "unknown";
    case VerifyStatus::measured: return "measured";
  }
  return "?";
}

bool VerifyReport::passed() const {
  bool checked = false;
  for (const VerifyRow& row : rows) {
    if (row.status == VerifyStatus::failed || row.status == VerifyStatus::unchecked) return false;
    checked |= row.status == VerifyStatus::passed || row.status == VerifyStatus::measured;
  }
  return checked;
}

VerifyReport verify(const std::string& folder, const VerifyOptions& options) {
  const Json manifest = read_manifest(folder);
  double tolerance = 0;
  std::string checkpoint;
  std::vector<Case> cases;
  try {
    tolerance = manifest.at("max_abs_tolerance").get<double>();
    if (!(tolerance > 0))
      fail(ErrorCode::bad_file, "{}/manifest.json: max_abs_tolerance is {}: must be above 0", folder, tolerance);
    if (manifest.at("cases").empty()) fail(ErrorCode::bad_file, "{}/manifest.json: cases is empty", folder);
    checkpoint = folder + "/" + manifest.at("checkpoint").get<std::string>();
    cases = read_cases(folder, manifest);
  } catch (const Json::exception& error) {
    throw Error(ErrorCode::bad_file, fmt::format("{}/manifest.json: {}", folder, error.what()), folder);
  }
  VerifyReport report;
  std::map<std::string, std::unique_ptr<Model>> models;  // by config change
  for (const Case& c : cases) {
    auto& model = models[c.config_change.dump()];
    if (!model)
      model = load_model(
          checkpoint,
          {.dtype = options.dtype, .config_change = c.config_change, .processor_options = {}, .weights = true});
    try {
      CaseRun(c, *model, tolerance, report).run();
    } catch (const Error& error) {  // one broken case does not hide the others
      if (error.code() == ErrorCode::cancelled) throw;
      report.rows.push_back({c.name, "run", "golden", VerifyStatus::failed, {}, {}, tolerance, error.message()});
    }
  }
  for (const std::string& label : options.allow_unchecked)
    if (std::ranges::none_of(report.rows,
                             [&](const VerifyRow& row) { return row.case_name + ":" + row.stage == label; }))
      throw Error(ErrorCode::usage, fmt::format("--allow-unchecked {}: no such stage of a case in {}", label, folder),
                  label);
  for (VerifyRow& row : report.rows) {
    const std::string label = row.case_name + ":" + row.stage;
    if (row.status == VerifyStatus::unchecked &&
        std::ranges::find(options.allow_unchecked, label) != options.allow_unchecked.end())
      row.status = VerifyStatus::excused;
  }
  return report;
}

}  // namespace tap
