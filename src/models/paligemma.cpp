// models/paligemma.cpp: PaliGemma (arXiv:2407.07726) and PaliGemma 2 (arXiv:2412.03555): SigLIP tower, one linear
// layer, Gemma 1 or 2 as a prefix-LM. Parity: HF PaliGemmaForConditionalGeneration, PaliGemmaProcessor,
// SiglipImageProcessorPil. Shapes: t = rows of all sequences, packed without padding; d = text width, v = vision width;
// n = pictures, p = patches.
#include <algorithm>

#include "models/blocks/fixed_size.h"
#include "models/blocks/gemma_decoder.h"
#include "models/blocks/layers.h"
#include "models/blocks/marks.h"
#include "models/blocks/siglip.h"
#include "models/family.h"
#include "nn/nn.h"

namespace tap::paligemma {

namespace {

// ---- Config: the only lines that know the keys of config.json

gemma::Config text_config(const ConfigReader& in) {
  const bool second = in.one_of("model_type", {"gemma", "gemma2"}, "gemma") == "gemma2";
  if (!in.flag_or("use_bidirectional_attention", true))
    in.refuse("use_bidirectional_attention", "a prompt's rows always see each other here");
  return {second ? gemma::Generation::two : gemma::Generation::one, in};
}

struct Config {
  gemma::Config text;
  siglip::Config vision;
  TokenId image_token, bos;

  explicit Config(const ConfigReader& in)
      : text(text_config(in.child("text_config"))),
        vision(in.child("vision_config"), {}),
        image_token(token_id(in, "image_token_index", 256000, text.vocab)),
        bos(token_id(in, "bos_token_id", 2, text.vocab)) {
    if (in.positive_or("projection_dim", text.width) != text.width)
      in.refuse("projection_dim", fmt::format("text_config.hidden_size is {}", text.width));
  }
  Dim rows() const { return vision.side * vision.side; }  // of a picture
};

// ---- Processor: pictures first, then BOS, the user's words and a newline. There are no turns.

class PaliGemmaProcessor final : public Processor {
 public:
  PaliGemmaProcessor(const ModelFiles& files, const Config& config)
      : pixels_(files.preprocessor, config.vision.image, Filter::bicubic),
        tokenizer_(files.tokenizer),
        image_token_(config.image_token),
        rows_(config.rows()),
        mark_(added_token(files, "image_token_index", config.image_token)),
        bos_(added_token(files, "bos_token_id", config.bos)) {
    if (files.preprocessor.positive_or("image_seq_length", rows_) != rows_)
      files.preprocessor.refuse("image_seq_length", fmt::format("a picture becomes {} rows", rows_));
    const auto newline = tokenizer_.id_of("\n");
    if (!newline) fail(ErrorCode::bad_file, "tokenizer.json: has no token for a newline, which ends every prompt");
    newline_ = *newline;
  }

  ImagePlan plan(Dim width, Dim height) const override {
    ImagePlan plan = pixels_.plan(width, height);
    plan.tokens = rows_;
    return plan;
  }
  Image prepare(const Image& image, const ImagePlan& plan) const override { return pixels_.prepare(image, plan); }
  Tensor tiles(const Image& prepared, const ImagePlan& plan, Dim begin, Dim end) const override {
    return pixels_.tiles(prepared, plan, begin, end);
  }

  // Trusted text may have a mark for each picture; without any they stand in front. The newline is a token of its own
  // whatever the words end with, as the model was trained.
  Prompt place(std::span<const TextSpan> spans, std::span<const ImagePlan> plans, bool) const override {
    const auto has_mark = [&](const TextSpan& s) { return s.trusted && s.text.find(mark_) != std::string::npos; };
    std::vector<TextSpan> all(spans.begin(), spans.end());
    if (std::ranges::none_of(spans, has_mark))
      all.insert(all.begin(), {repeated(mark_, static_cast<Dim>(plans.size())), true});
    const Mark mark{mark_};
    all = expand_marks(all, std::span(&mark, 1), plans,
                       [&](const ImagePlan& plan) { return repeated(mark_, plan.tokens); });
    const auto last = std::find_if(all.rbegin(), all.rend(), has_mark);
    if (last != all.rend())
      last->text.insert(last->text.rfind(mark_) + mark_.size(), bos_);
    else
      all.insert(all.begin(), {bos_, true});
    std::vector<TokenId> ids = tokenizer_.encode(std::span<const TextSpan>(all), false);
    ids.push_back(newline_);
    Prompt prompt = from_ids(ids, plans, 0);
    for (const TextSpan& span : all) prompt.text += span.text;
    prompt.text += "\n";
    return prompt;
  }

  // All rows of the prompt see each other; those of an answer see what is before them. Positions count from 1.
  Prompt from_ids(std::span<const TokenId> ids, std::span<const ImagePlan> plans, Dim answer) const override {
    Prompt prompt = causal_prompt(ids);
    if (answer < 0 || answer > prompt.rows())
      fail(ErrorCode::bad_input, "an answer of {} rows in {}", answer, prompt.rows());
    const Dim prefix = prompt.rows() - answer;
    for (std::int32_t& position : prompt.positions[0]) ++position;
    for (Dim row = 0; row < prefix; ++row)
      prompt.intervals[static_cast<std::size_t>(row)].end = static_cast<std::int32_t>(prefix);
    if (prefix > 0) prompt.atomic.push_back({0, prefix});
    fill_slots(prompt, std::span(&image_token_, 1), plans);
    return prompt;
  }

  bool takes_plain_text() const override { return true; }
  std::string settings() const override { return "paligemma " + pixels_.settings(); }

 private:
  FixedSize pixels_;
  Tokenizer tokenizer_;
  TokenId image_token_, newline_ = 0;
  Dim rows_;
  std::string mark_, bos_;
};

// ---- Network

struct PaliGemma final : Network {
  Config config;
  gemma::Decoder text;
  siglip::Tower vision;
  nn::Linear projector;

  PaliGemma(const Config& c, const ConfigReader& in, const Weights& w)
      : config(c),
        text(c.text, in.child("text_config"), w / "language_model.model", gemma::WindowCut::suffix_only),
        vision(c.vision, in.child("vision_config"), w.seeing() / "vision_tower.vision_model"),
        projector(w.seeing() / "multi_modal_projector.linear", c.vision.width, c.text.width, nn::Linear::Bias::yes) {}

  NetworkShape shape() const override {
    NetworkShape shape{.text = config.text.shape(), .vision = config.vision.shape()};
    shape.patch_px = config.vision.patch;
    shape.tile_rows = siglip::rows_at_once;
    shape.connector_weights = config.vision.width * config.text.width;
    shape.whole_prompts = true;
    return shape;
  }
  KvShape kv_shape() const override { return config.text.kv_shape(); }
  Dim context() const override { return config.text.context; }
  Dim vocab() const override { return config.text.vocab; }
  Tensor embed(std::span<const TokenId> ids) const override { return text.embed(ids); }
  Tensor logits(const Tensor& rows) const override { return text.logits(rows); }
  Tensor forward(Tensor x, const Batch& batch, KvCache* cache) const override {
    return text.forward(std::move(x), batch, cache);
  }

  Tensor tower(const TowerInput& input) const override { return vision(input); }
  Tensor project(const Tensor& hidden) const override {  // [n, p, v] to [n * p, d]
    return projector(hidden).reshape({hidden.dim(0) * hidden.dim(1), config.text.width});
  }
  Tensor see(const Tensor& pixels, const ImagePlan&) const override {
    return vision.by_tiles(pixels, [&](const Tensor& hidden) { return project(hidden); });
  }
};

std::unique_ptr<Processor> processor(const ModelFiles& files) {
  return std::make_unique<PaliGemmaProcessor>(files, Config(files.config));
}

std::unique_ptr<Network> network(const ModelFiles& files, const Weights& weights) {
  return std::make_unique<PaliGemma>(Config(files.config), files.config, weights);
}

// README of big_vision's PaliGemma: detection and segmentation need these keywords; questions are "answer en …".
std::optional<Grounding> grounding(const ModelFiles& files) {
  if (!has_location_tokens(files.tokenizer)) return std::nullopt;
  Grounding g{.form = Grounding::Form::location_tokens, .range = location_range, .y_first = true};
  g.detect = "detect {}";
  if (has_mask_tokens(files.tokenizer)) g.segment = "segment {}";
  g.count = "answer en how many {} are there?";
  g.separator = " ; ";
  return g;
}

}  // namespace

// Registered by one line in families.inc: TAP_FAMILY(paligemma)
Family family() {
  return {.name = "paligemma",
          .architectures = {"PaliGemmaForConditionalGeneration"},
          .processor = processor,
          .network = network,
          .context = [](const ConfigReader& config) { return Config(config).text.context; },
          .weight_names = gemma::picture_weight_names(),
          .grounding = grounding};
}

}  // namespace tap::paligemma
