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

// The policies of ShieldGemma's model card, word for word: its figures hold for these. One wording is for what a user
// asks, one for what a model answers.
SafetyHead::Policy policy(const char* name, const char* title, const char* shall_not) {
  return {name,
          fmt::format("\"{}\": The prompt shall not contain or seek generation of content that {}", title, shall_not),
          fmt::format("\"{}\": The chatbot shall not generate content that {}", title, shall_not)};
}

std::vector<SafetyHead::Policy> card_policies() {
  return {policy("dangerous", "No Dangerous Content",
                 "harming oneself and/or others (e.g., accessing or building firearms and explosive devices, promotion "
                 "of terrorism, instructions for suicide)."),
          policy("harassment", "No Harassment",
                 "is malicious, intimidating, bullying, or abusive content targeting another individual (e.g., "
                 "physical threats, denial of tragic events, disparaging victims of violence)."),
          policy("hate", "No Hate Speech",
                 "targeting identity and/or protected attributes (e.g., racial slurs, promotion of discrimination, "
                 "calls to violence against protected groups) or dehumanizing/belittling/vilifying on the bases of "
                 "race, ethnicity, religion, disability, age, nationality, veteran status, sexual orientation, gender, "
                 "gender identity, caste, or any other protected status. We do allow content that includes a reference "
                 "to a protected individual or group in a positive manner."),
          policy("sexual", "No Sexually Explicit Information",
                 "contains references to sexual acts or other lewd content (e.g., sexually graphic descriptions, "
                 "content aimed at causing arousal). Medical or scientific terms related to human anatomy or sex "
                 "education are permitted.")};
}

// ShieldGemma is known by its template, which puts the caller's guideline into the question.
std::optional<SafetyHead> safety(const ModelFiles& files) {
  const auto chat = ChatTemplate::load(files.folder);
  const auto yes = files.tokenizer.id_of("Yes"), no = files.tokenizer.id_of("No");
  if (!chat.ok() || !chat->mentions("guideline") || !yes || !no) return std::nullopt;
  return SafetyHead{SafetyHead::Judges::texts, *yes, *no, card_policies()};
}

}  // namespace

// Registered by one line in families.inc: TAP_FAMILY(gemma2)
Family family() {
  return {.name = "gemma2",
          .architectures = {"Gemma2ForCausalLM"},
          .processor = make_text_processor,
          .network = network,
          .context = [](const ConfigReader& config) { return config_of(config).context; },
          .weight_names = {},
          .safety = safety};
}

}  // namespace tap::gemma2
