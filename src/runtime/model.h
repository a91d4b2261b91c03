// A loaded checkpoint: network, tokenizer, chat template, processor and generation defaults.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/family.h"
#include "runtime/conversation.h"
#include "runtime/sampler.h"
#include "text/chat_template.h"

namespace tap {

enum class Dtype : std::uint8_t { automatic, f32, bf16, q8, q4 };
std::string_view name(Dtype dtype);  // "auto"
std::optional<Dtype> parse_dtype(std::string_view text);

class Model;

struct LoadOptions {
  Dtype dtype = Dtype::automatic;  // auto: a small model bf16, otherwise q8
  Json config_change;              // dotted keys over config.json: {"text_config.rope_theta": 1e4}; null removes a key
  Json
      processor_options;  // keys over preprocessor_config.json and processor_config.json: {"do_image_splitting": false}
  bool weights = true;    // false: tokenizer, template and processor only (`network()` then throws)
  // Called when all but the weights is there; what it throws ends the loading before they are read.
  std::function<void(const Model&)> admit = {};
};

// What the template, pictures and plans of one conversation come to.
struct PreparedPrompt {
  Prompt prompt;
  std::vector<Medium> media;  // one a plan
  std::vector<ImagePlan> plans;
  std::string sent;  // the rendered template before pictures are expanded: `prompt_sent`
};

class Model {
 public:
  const std::string& name() const { return name_; }  // last part of the folder, or as given
  const std::string& folder() const { return files_.folder; }
  const Family& family() const { return *family_; }
  const ModelFiles& files() const { return files_; }
  const Tokenizer& tokenizer() const { return files_.tokenizer; }
  const Processor& processor() const { return *processor_; }
  // The same checkpoint's processor with other options over its files (a golden case's `options`).
  std::unique_ptr<Processor> processor_with(const Json& options) const;
  const Network& network() const;
  const Weights& weights() const;
  const ChatTemplate& chat_template() const;  // throws Error(unsupported) when the checkpoint has none
  bool has_chat_template() const { return chat_template_.has_value(); }
  const SamplingOptions& sampling_defaults() const { return sampling_; }  // generation_config.json, else greedy
  const std::vector<TokenId>& end_tokens() const { return end_tokens_; }
  std::optional<Grounding> grounding() const {  // nothing: this checkpoint cannot say where things are
    return family_->grounding ? family_->grounding(files_) : std::nullopt;
  }
  std::optional<SafetyHead> safety_head() const {  // nothing: this checkpoint is no classifier
    return family_->safety ? family_->safety(files_) : std::nullopt;
  }
  // What a quantized folder (docs/quantize.md) keeps its matrices in: it can be loaded in no other type.
  std::optional<WeightType> stored_type() const { return stored_type_; }
  WeightType weight_type() const { return weight_type_; }  // what `auto` came to, also without weights
  DType cache_type() const { return weight_type_ == WeightType::f32 ? DType::f32 : DType::bf16; }
  Dim context() const { return context_; }
  double load_ms() const { return load_ms_; }
  const std::string& fingerprint() const { return fingerprint_; }  // of files and settings, for cache keys
  std::vector<std::string> unread_config() const { return files_.config.unread(); }

  bool begins_with_bos(std::span<const TextSpan> spans) const;  // in trusted text
  // Renders, plans and places. Throws Error(limit) when a picture alone, or the whole prompt, exceeds the context: no
  // pixel is touched.
  PreparedPrompt prepare(const Conversation& conversation) const;
  // Raw mode and goldens: special tokens in `text` are meant; `images` fill its marks in order. As with templates, a
  // text that begins with the BOS gets no other.
  PreparedPrompt prepare_trusted(std::string text, std::vector<std::shared_ptr<const Image>> images) const;

 private:
  friend std::unique_ptr<Model> load_model(const std::string& folder, const LoadOptions& options);
  explicit Model(ModelFiles files) : files_(std::move(files)) {}
  std::vector<TextSpan> rendered(const Conversation& conversation) const;
  PreparedPrompt place(std::vector<TextSpan> spans, std::vector<Medium> media, bool add_special_tokens) const;
  ModelFiles files_;
  std::string name_, fingerprint_, bos_token_;
  Json template_tokens_;  // of tokenizer_config.json, by the names that templates use
  const Family* family_ = nullptr;
  std::unique_ptr<Processor> processor_;
  std::optional<Weights> weights_;
  std::unique_ptr<Network> network_;
  std::optional<ChatTemplate> chat_template_;
  SamplingOptions sampling_;
  std::vector<TokenId> end_tokens_;
  WeightType weight_type_ = WeightType::bf16;
  std::optional<WeightType> stored_type_;
  Dim context_ = 0;
  double load_ms_ = 0;
};

// Loads a folder in the hub's format. Threads and arena are those of the current ExecContext. Throws one Error that
// names file, key and value: unknown architecture, text-only model, damaged or missing files, contradictory
// configuration.
std::unique_ptr<Model> load_model(const std::string& folder, const LoadOptions& options = {});

}  // namespace tap
