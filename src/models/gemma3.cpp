// models/gemma3.cpp: Gemma 3 (arXiv:2503.19786), its text-only members, and ShieldGemma 2 (arXiv:2504.01081), which is
// Gemma 3 asked for Yes or No: SigLIP tower, average pooling, Gemma decoder. Parity: HF Gemma3ForConditionalGeneration,
// Gemma3ForCausalLM, ShieldGemma2ForImageClassification. Shapes: t = rows of all sequences, packed without padding; d =
// text width, v = vision width; n = tiles, p = patches of a tile.
#include "models/gemma3_processor.h"

#include <algorithm>
#include <cmath>

#include "models/blocks/gemma_decoder.h"
#include "models/blocks/layers.h"
#include "models/blocks/siglip.h"
#include "models/blocks/text_processor.h"
#include "models/family.h"
#include "nn/nn.h"

namespace tap::gemma3 {

namespace {

// ---- Config: the only lines that know the keys of config.json

bool is_of(const ConfigReader& in, std::string_view architecture) {
  const auto names = in.texts_or("architectures", {});
  return std::ranges::find(names, architecture) != names.end();
}

constexpr std::string_view shield = "ShieldGemma2ForImageClassification";

gemma::Config text_config(const ConfigReader& in) {
  if (in.flag_or("use_bidirectional_attention", false))
    in.refuse("use_bidirectional_attention", "only causal models are supported");
  return {gemma::Generation::three, in};
}

struct VisionConfig {
  siglip::Config tower;
  PictureTokens tokens;
  Dim side;  // rows along an edge of the picture

  VisionConfig(const ConfigReader& in, Dim vocab)
      : tower(in.child_or_empty("vision_config"), {}),
        tokens{tower.image,
               in.positive_or("mm_tokens_per_image", 256),
               token_id(in, "boi_token_index", 255999, vocab),
               token_id(in, "image_token_index", 262144, vocab),
               token_id(in, "eoi_token_index", 256000, vocab),
               !is_of(in, shield)},
        side(static_cast<Dim>(std::sqrt(static_cast<double>(tokens.rows)))) {
    if (side * side != tokens.rows || tower.side % side != 0)
      in.refuse("mm_tokens_per_image",
                fmt::format("must be a square whose edge divides the {} patches along a picture's edge", tower.side));
  }
};

struct Config {
  bool text_only;
  gemma::Config text;
  std::optional<VisionConfig> vision;

  explicit Config(const ConfigReader& in)
      : text_only(is_of(in, "Gemma3ForCausalLM")),
        text(text_config(text_only ? in : in.child_or_empty("text_config"))) {
    if (!text_only) vision.emplace(in, text.vocab);
  }
};

// ---- Network

struct Vision {
  VisionConfig config;
  siglip::Tower tower;
  nn::RmsNorm norm;
  nn::Linear projection;  // without bias, stored as [v, d]

  Vision(const VisionConfig& c, Dim width, const ConfigReader& in, const Weights& w)
      : config(c),
        tower(c.tower, in.child_or_empty("vision_config"), w.seeing() / "vision_tower.vision_model"),
        norm(w / "multi_modal_projector.mm_soft_emb_norm", c.tower.width, c.tower.norm_eps,
             nn::RmsNorm::Gain::one_plus),
        projection(nn::Linear::transposed(w.seeing() / "multi_modal_projector", "mm_input_projection_weight",
                                          c.tower.width, width)) {}

  Tensor project(const Tensor& hidden) const {  // [n, p, v] to [n * rows, d]
    const Dim patches = config.tower.side;
    const Tensor pooled = ops::average_pool(hidden, patches, patches, patches / config.side);
    return projection(norm(pooled)).reshape({hidden.dim(0) * config.tokens.rows, -1});
  }
};

struct Gemma3 final : Network {
  gemma::Decoder text;
  std::optional<Vision> vision;

  Gemma3(const Config& c, const ConfigReader& in, const Weights& w)
      : text(c.text, c.text_only ? in : in.child_or_empty("text_config"),
             w / (c.text_only ? "model" : "language_model.model")) {
    if (c.vision) vision.emplace(*c.vision, c.text.width, in, w);
  }

  NetworkShape shape() const override {
    NetworkShape shape{.text = text.config.shape(), .vision = {}};
    if (!vision) return shape;
    shape.vision = vision->config.tower.shape();
    shape.patch_px = vision->config.tower.patch;
    shape.tile_rows = siglip::rows_at_once;
    shape.connector_weights = vision->config.tower.width * text.config.width;
    return shape;
  }
  KvShape kv_shape() const override { return text.config.kv_shape(); }
  Dim context() const override { return text.config.context; }
  Dim vocab() const override { return text.config.vocab; }
  Tensor embed(std::span<const TokenId> ids) const override { return text.embed(ids); }
  Tensor logits(const Tensor& rows) const override { return text.logits(rows); }
  Tensor forward(Tensor x, const Batch& batch, KvCache* cache) const override {
    return text.forward(std::move(x), batch, cache);
  }

  Tensor tower(const TowerInput& input) const override { return eyes().tower(input); }
  Tensor project(const Tensor& hidden) const override { return eyes().project(hidden); }
  Tensor see(const Tensor& pixels, const ImagePlan&) const override {
    return eyes().tower.by_tiles(pixels, [&](const Tensor& hidden) { return vision->project(hidden); });
  }

 private:
  const Vision& eyes() const {
    if (!vision) refuse_picture();
    return *vision;
  }
};

std::unique_ptr<Processor> processor(const ModelFiles& files) {
  const Config config(files.config);
  return config.vision ? make_processor(files, config.vision->tokens) : make_text_processor(files);
}

std::unique_ptr<Network> network(const ModelFiles& files, const Weights& weights) {
  return std::make_unique<Gemma3>(Config(files.config), files.config, weights);
}

// HF: ShieldGemma2Processor. The template puts a policy's text into the question.
std::optional<SafetyHead> safety(const ModelFiles& files) {
  const ConfigReader& in = files.config;
  if (!is_of(in, shield)) return std::nullopt;
  const Dim vocab = Config(in).text.vocab;
  SafetyHead head{.yes = token_id(in, "yes_token_index", 10784, vocab),
                  .no = token_id(in, "no_token_index", 3771, vocab),
                  .policies = policies_of(files)};
  if (!head.policies.empty()) return head;
  head.policies = {
      {"dangerous",
       "No Dangerous Content: The image shall not contain content that facilitates or encourages activities that could "
       "cause real-world harm (e.g., building firearms and explosive devices, promotion of terrorism, instructions for "
       "suicide)."},
      {"sexual",
       "No Sexually Explicit content: The image shall not contain content that depicts explicit or graphic sexual acts "
       "(e.g., pornography, erotic nudity, depictions of rape or sexual assault)."},
      {"violence",
       "No Violence/Gore content: The image shall not contain content that depicts shocking, sensational, or "
       "gratuitous "
       "violence (e.g., excessive blood and gore, gratuitous violence against animals, extreme injury or moment of "
       "death)."}};
  return head;
}

// Gemma's box_2d counts thousandths of the picture, y first, whatever crops pan and scan took of it besides.
std::optional<Grounding> grounding(const ModelFiles& files) {
  if (!Config(files.config).vision || is_of(files.config, shield)) return std::nullopt;
  Grounding g{.form = Grounding::Form::json, .range = 1000, .y_first = true};
  g.detect =
      "Detect every {} in the image. Output a JSON list where each entry has the box as \"box_2d\" with [y1, x1, y2, "
      "x2] "
      "normalized to 0-1000, and the name as \"label\".";
  g.point =
      "Point to every {} in the image. Output a JSON list where each entry has the point as \"point\" with [y, x] "
      "normalized to 0-1000, and the name as \"label\".";
  g.count = "How many {} are there in the image? Answer with a number.";
  g.separator = ", ";
  g.box_key = "box_2d";
  g.point_key = "point";
  return g;
}

// ShieldGemma 2 has one more level, in both namings.
std::vector<std::pair<std::string, std::string>> weight_names() {
  auto names = gemma::picture_weight_names();
  names.insert(names.end(), {{"language_model.model.", "model.language_model.model."},
                             {"language_model.model.", "model.model.language_model."},
                             {"vision_tower.vision_model.", "model.model.vision_tower."},
                             {"multi_modal_projector.", "model.model.multi_modal_projector."}});
  return names;
}

}  // namespace

// Registered by one line in families.inc: TAP_FAMILY(gemma3)
Family family() {
  return {.name = "gemma3",
          .architectures = {"Gemma3ForConditionalGeneration", "Gemma3ForCausalLM", std::string(shield)},
          .processor = processor,
          .network = network,
          .context = [](const ConfigReader& config) { return Config(config).text.context; },
          .weight_names = weight_names(),
          .grounding = grounding,
          .safety = safety};
}

}  // namespace tap::gemma3
