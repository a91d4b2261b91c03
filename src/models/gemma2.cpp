// models/gemma2.cpp: Gemma 2 (arXiv:2408.00118), text only, and ShieldGemma 1 (arXiv:2407.21772), which is Gemma 2
// asked for Yes or No about a guideline. Parity: HF Gemma2ForCausalLM.
#include "models/blocks/gemma_decoder.h"
#include "models/blocks/text_processor.h"
#include "models/family.h"
#include "text/chat_template.h"

namespace tap::gemma2 {

namespace {

gemma::Config config_of(const ConfigReader& in) {
  if (in.flag_or("use_bidirectional_attention", false))
    in.refuse("use_bidirectional_attention", "only causal models are supported");
  return {gemma::Generation::two, in};
}

struct Gemma2 final : Network {
  gemma::Decoder text;

  Gemma2(const ConfigReader& in, const Weights& w) : text(config_of(in), in, w / "model") {}

  NetworkShape shape() const override { return {.text = text.config.shape(), .vision = {}}; }
  KvShape kv_shape() const override { return text.config.kv_shape(); }
  Dim context() const override { return text.config.context; }
  Dim vocab() const override { return text.config.vocab; }
  Tensor embed(std::span<const TokenId> ids) const override { return text.embed(ids); }
  Tensor logits(const Tensor& rows) const override { return text.logits(rows); }
  Tensor forward(Tensor x, const Batch& batch, KvCache* cache) const override {
    return text.forward(std::move(x), batch, cache);
  }
  Tensor tower(const TowerInput&) const override { refuse_picture(); }
  Tensor project(const Tensor&) const override { refuse_picture(); }
  Tensor see(const Tensor&, const ImagePlan&) const override { refuse_picture(); }
};

std::unique_ptr<Network> network(const ModelFiles& files, const Weights& weights) {
  return std::make_unique<Gemma2>(files.config, weights);
}

// ShieldGemma is known by its template, which puts the caller's guideline into the question.
std::optional<SafetyHead> safety(const ModelFiles& files) {
  const auto chat = ChatTemplate::load(files.folder);
  const auto yes = files.tokenizer.id_of("Yes"), no = files.tokenizer.id_of("No");
  if (!chat.ok() || !chat->mentions("guideline") || !yes || !no) return std::nullopt;
  return SafetyHead{*yes, *no, {}};
}

}  // namespace

// Registered by one line in families.inc: TAP_FAMILY(gemma2)
Family family() {
  return {.name = "gemma2",
          .architectures = {"Gemma2ForCausalLM"},
          .grounding = {},
          .processor = make_text_processor,
          .network = network,
          .context = [](const ConfigReader& config) { return config_of(config).context; },
          .weight_names = {},
          .safety = safety};
}

}  // namespace tap::gemma2
