#include "runtime/model.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <ranges>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "io/hub.h"
#include "io/quantized_format.h"

namespace tap {

namespace {

constexpr std::size_t max_config_bytes = std::size_t{16} << 20;
constexpr double small_model_parameters = 64e6;  // below: bf16 is small enough and exact to the checkpoint

constexpr std::array<std::pair<Dtype, std::string_view>, 5> dtype_names{
    {{Dtype::automatic, "auto"}, {Dtype::f32, "f32"}, {Dtype::bf16, "bf16"}, {Dtype::q8, "q8"}, {Dtype::q4, "q4"}}};

// The file's object, or nothing when there is no such file.
std::optional<Json> read_object(const std::string& folder, const std::string& file) {
  const std::string path = folder + "/" + file;
  if (!file_exists(path)) return std::nullopt;
  if (auto error = refuse_foreign_link(path)) throw *std::move(error);
  Json value = parse_json(read_file(path, max_config_bytes).value(), file, {.bytes = max_config_bytes}).value();
  if (!value.is_object()) throw Error(ErrorCode::bad_file, fmt::format("{}: must be a JSON object", file), file);
  return value;
}

// {"text_config.rope_theta": 1} over nested objects.
void change_keys(Json& config, const Json& changes) {
  if (changes.is_null()) return;
  if (!changes.is_object()) fail(ErrorCode::usage, "config_change: must be an object of dotted keys");
  for (const auto& [dotted, value] : changes.items()) {
    Json* at = &config;
    std::size_t from = 0;
    for (std::size_t dot = dotted.find('.'); dot != std::string::npos; dot = dotted.find('.', from = dot + 1)) {
      at = &(*at)[dotted.substr(from, dot - from)];
      if (!at->is_object() && !at->is_null())
        fail(ErrorCode::usage, "config_change: {}: {} is no object", dotted, dotted.substr(0, dot));
    }
    (*at)[dotted.substr(from)] = value;
  }
}

constexpr std::array<std::string_view, 17> preprocessor_keys{"do_convert_rgb",
                                                             "do_image_splitting",
                                                             "do_normalize",
                                                             "do_pad",
                                                             "do_pan_and_scan",
                                                             "do_rescale",
                                                             "do_resize",
                                                             "image_mean",
                                                             "image_processor_type",
                                                             "image_std",
                                                             "max_image_size",
                                                             "pan_and_scan_max_num_crops",
                                                             "pan_and_scan_min_crop_size",
                                                             "pan_and_scan_min_ratio_to_activate",
                                                             "resample",
                                                             "rescale_factor",
                                                             "size"};

// A processor's arguments, flat or grouped as in transformers ("images_kwargs"), over its two files.
void change_options(Json& preprocessor, Json& processor, const Json& options) {
  if (options.is_null()) return;
  if (!options.is_object()) fail(ErrorCode::usage, "processor options: must be an object");
  for (const auto& [key, value] : options.items()) {
    if (key.ends_with("_kwargs")) {
      change_options(preprocessor, processor, value);
      continue;
    }
    if (key == "image_seq_len") {
      processor[key] = value;
      continue;
    }
    if (!preprocessor.contains(key) &&
        std::find(preprocessor_keys.begin(), preprocessor_keys.end(), key) == preprocessor_keys.end())
      log::warn("processor option {} is not known here", key);
    preprocessor[key] = value;
  }
}

// Variables of a chat template that hold special tokens (text/chat_template.h: `render`).
constexpr std::array<const char*, 10> trusted_tokens{"bos_token",   "eos_token",  "unk_token",  "sep_token",
                                                     "pad_token",   "cls_token",  "mask_token", "image_token",
                                                     "video_token", "audio_token"};

const Family& family_of(const ConfigReader& config) {
  const auto names = config.texts_or("architectures", {});
  if (names.empty()) config.refuse("architectures", "must name the model's class, as published configs do");
  for (const std::string& name : names)
    if (const Family* family = find_family(name)) return *family;
  std::string known;
  for (const Family& family : families())
    for (const std::string& name : family.architectures) known += (known.empty() ? "" : ", ") + name;
  const std::string& name = names.front();
  const bool text_only =
      (name.ends_with("ForCausalLM") || name.ends_with("LMHeadModel")) && !config.has("vision_config");
  throw Error(ErrorCode::unsupported,
              fmt::format("config.json: architectures is \"{}\": {}; supported are {}", name.substr(0, 120),
                          text_only ? "a text-only model, it cannot look at pictures" : "no such family here", known),
              "architectures");
}

// A token of tokenizer_config.json: text, or an object with its text as `content`.
std::string token_of(const Json& config, const char* key) {
  const auto at = config.find(key);
  if (at == config.end()) return {};
  if (at->is_string()) return at->get<std::string>();
  if (at->is_object() && at->contains("content") && (*at)["content"].is_string())
    return (*at)["content"].get<std::string>();
  return {};
}

// The words of a conversation with a model that has no turns.
std::string plain_text(const Conversation& conversation) {
  std::string text;
  for (const Message& message : conversation.messages) {
    if (message.role != "user" || &message != &conversation.messages.back())
      fail(ErrorCode::unsupported, "this model answers one question at a time: it has no turns and no system text");
    for (const Part& part : message.parts) text += part.text;
  }
  return text;
}

double parameters_of(const Weights& weights) {
  double sum = 0;
  for (const Weights::Entry& entry : weights.entries()) {
    double product = 1;
    for (const Dim d : entry.shape) product *= static_cast<double>(d);
    sum += product;
  }
  return sum;
}

bool has_weights(const std::string& folder) {
  return file_exists(folder + "/model.safetensors") || file_exists(folder + "/model.safetensors.index.json");
}

// `weights`: null when the model is opened without them and the folder has none. `stored`: what config.json says that
// they are quantized to.
WeightType type_of(Dtype dtype, const Weights* weights, std::optional<WeightType> stored) {
  if (weights && weights->stored_type() != stored) {
    const auto said = [](std::optional<WeightType> type) { return type ? name(*type) : "no"; };
    throw Error(
        ErrorCode::bad_file,
        fmt::format("config.json: {} says {} quantized weights, the safetensors hold {}; the files do not belong "
                    "together",
                    quantized_config_key, said(stored), said(weights->stored_type())),
        "config.json");
  }
  if (stored) {
    if (dtype == Dtype::automatic || name(dtype) == name(*stored)) return *stored;
    throw Error(ErrorCode::unsupported,
                fmt::format("this model's weights are stored in {0}: --dtype {1} is not in them; use auto or {0}, or "
                            "load the model that they were made from",
                            name(*stored), name(dtype)),
                "dtype");
  }
  switch (dtype) {
    case Dtype::f32: return WeightType::f32;
    case Dtype::bf16: return WeightType::bf16;
    case Dtype::q8: return WeightType::q8;
    case Dtype::q4: return WeightType::q4;
    case Dtype::automatic: break;
  }
  return !weights || parameters_of(*weights) < small_model_parameters ? WeightType::bf16 : WeightType::q8;
}

}  // namespace

std::string_view name(Dtype dtype) {
  for (const auto& [known, text] : dtype_names)
    if (known == dtype) return text;
  return "?";
}

std::optional<Dtype> parse_dtype(std::string_view text) {
  for (const auto& [dtype, known] : dtype_names)
    if (known == text) return dtype;
  return std::nullopt;
}

std::unique_ptr<Model> load_model(const std::string& folder, const LoadOptions& options) {
  const Stopwatch watch;
  if (!is_directory(folder)) throw Error(ErrorCode::not_found, fmt::format("{}: no such model folder", folder), folder);
  auto config = read_object(folder, "config.json");
  if (!config) {
    Weights::open(folder);  // names what the folder holds instead: pickles, GGUF, an adapter
    throw Error(ErrorCode::not_found,
                fmt::format("{}: no config.json: not a model's folder, or its download is not finished", folder),
                folder);
  }
  change_keys(*config, options.config_change);
  Json preprocessor = read_object(folder, "preprocessor_config.json").value_or(Json::object());
  Json processor = read_object(folder, "processor_config.json").value_or(Json::object());
  std::string preprocessor_file = "preprocessor_config.json";
  // Since transformers 5 the picture's settings are saved inside the processor's, and win where both are there.
  if (const auto nested = processor.find("image_processor"); nested != processor.end() && nested->is_object()) {
    preprocessor = *nested;
    preprocessor_file = "processor_config.json: image_processor";
  } else if (preprocessor.empty() && config->contains("vision_config") &&
             !file_exists(folder + "/" + preprocessor_file)) {
    log::warn("{}: no preprocessor_config.json: pictures are prepared by the family's defaults", folder);
  }
  change_options(preprocessor, processor, options.processor_options);
  ConfigReader reader(std::move(*config), "config.json");
  const Family& family = family_of(reader);
  if (auto error = refuse_foreign_link(folder + "/tokenizer.json")) throw *std::move(error);

  std::unique_ptr<Model> model(new Model(
      ModelFiles{folder, std::move(reader), ConfigReader(std::move(preprocessor), preprocessor_file),
                 ConfigReader(std::move(processor), "processor_config.json"), Tokenizer::load(folder).value()}));
  model->family_ = &family;
  const auto path = std::filesystem::path(folder).lexically_normal();
  model->name_ = (path.has_filename() ? path : path.parent_path()).filename().string();
  model->processor_ = family.processor(model->files_);
  if (auto chat_template = ChatTemplate::load(folder); chat_template.ok())
    model->chat_template_ = std::move(chat_template).value();
  else if (chat_template.error().code() != ErrorCode::not_found)
    throw chat_template.error();

  const Json tokenizer_config = read_object(folder, "tokenizer_config.json").value_or(Json::object());
  model->template_tokens_ = Json::object();
  for (const char* key : trusted_tokens)
    if (std::string token = token_of(tokenizer_config, key); !token.empty())
      model->template_tokens_[key] = std::move(token);
  model->bos_token_ = token_of(tokenizer_config, "bos_token");
  const std::string eos_token = token_of(tokenizer_config, "eos_token");
  const ConfigReader generation(read_object(folder, "generation_config.json").value_or(Json::object()),
                                "generation_config.json");
  model->sampling_ = SamplingOptions::from_config(generation);
  for (const std::int64_t id : generation.integers_or("eos_token_id", {}))
    if (id >= 0 && id < model->tokenizer().size()) model->end_tokens_.push_back(static_cast<TokenId>(id));
  if (const auto id = model->tokenizer().id_of(eos_token); id && !eos_token.empty()) model->end_tokens_.push_back(*id);
  std::sort(model->end_tokens_.begin(), model->end_tokens_.end());
  model->end_tokens_.erase(std::unique(model->end_tokens_.begin(), model->end_tokens_.end()), model->end_tokens_.end());

  model->context_ = family.context(model->files_.config);
  std::optional<Weights> weights;
  if (options.weights || (options.dtype == Dtype::automatic && has_weights(folder)))
    weights = Weights::open(folder, {.prefix_map = family.weight_names, .packed_cache = true});
  model->stored_type_ = quantized_type(model->files_.config);
  model->weight_type_ = type_of(options.dtype, weights ? &*weights : nullptr, model->stored_type_);
  if (options.weights) {
    ExecContext::current().checkpoint();
    if (options.admit) options.admit(*model);
    const Arena::ExactFit exact(ExecContext::current().arena());
    weights->set_type(model->weight_type_);
    model->weights_ = std::move(weights);
    model->network_ = family.network(model->files_, *model->weights_);
    model->weights_->finish();
    // Members of a family that read text only share its tokenizer: special tokens of pictures may lie behind the table,
    // and are refused where a prompt has one.
    Dim plain = model->tokenizer().size();
    if (model->network_->shape().patch_px == 0)
      while (plain > model->network_->vocab() && model->tokenizer().is_special(static_cast<TokenId>(plain - 1)))
        --plain;
    if (plain > model->network_->vocab())
      throw Error(ErrorCode::bad_file,
                  fmt::format("tokenizer.json: its ids go up to {}, the model has {} embeddings", plain - 1,
                              model->network_->vocab()),
                  "tokenizer.json");
    ExecContext::current()
        .arena()
        ->trim();  // what reading and packing left behind; no later step has blocks of these sizes
  }
  model->fingerprint_ =
      fmt::format("{} {} {}", folder, name(model->weight_type_), to_json_line(model->files_.config.json()));
  model->load_ms_ = watch.ms();
  return model;
}

const Network& Model::network() const {
  if (!network_) fail(ErrorCode::internal, "{} was opened without its weights", name_);
  return *network_;
}

const Weights& Model::weights() const {
  if (!weights_) fail(ErrorCode::internal, "{} was opened without its weights", name_);
  return *weights_;
}

const ChatTemplate& Model::chat_template() const {
  if (!chat_template_)
    throw Error(ErrorCode::unsupported, fmt::format("{}: the checkpoint has no chat template", folder()), folder());
  return *chat_template_;
}

std::unique_ptr<Processor> Model::processor_with(const Json& options) const {
  Json preprocessor = files_.preprocessor.json(), processor = files_.processor.json();
  change_options(preprocessor, processor, options);
  return family_->processor(ModelFiles{files_.folder, files_.config,
                                       ConfigReader(std::move(preprocessor), "preprocessor_config.json"),
                                       ConfigReader(std::move(processor), "processor_config.json"), files_.tokenizer});
}

PreparedPrompt Model::place(std::vector<TextSpan> spans, std::vector<Medium> media, bool add_special_tokens) const {
  PreparedPrompt prepared;
  prepared.sent = joined(spans);
  for (const Medium& medium : media) {
    prepared.plans.push_back(medium.clip ? medium.clip->plan
                                         : processor_->plan(medium.image->width, medium.image->height));
    const ImagePlan& plan = prepared.plans.back();
    if (context_ < 1 || plan.tokens < context_) continue;
    fail(ErrorCode::limit, "the {} of {}x{} becomes {} tokens, the model's context is {}",
         medium.clip ? "video" : "picture", plan.source.width, plan.source.height, plan.tokens, context_);
  }
  prepared.prompt = processor_->place(spans, prepared.plans, add_special_tokens);
  prepared.media = std::move(media);
  if (context_ > 0 && prepared.prompt.rows() >= context_)
    fail(ErrorCode::limit, "the prompt has {} tokens, the model's context is {}, one of them for the answer",
         prepared.prompt.rows(), context_);
  if (network_)
    for (const TokenId id : prepared.prompt.ids)
      if (id < 0 || id >= network_->vocab())
        throw Error(ErrorCode::bad_file,
                    fmt::format("tokenizer.json: \"{}\" is id {}, the model's table has {} rows",
                                tokenizer().token_text(id), id, network_->vocab()),
                    "tokenizer.json");
  return prepared;
}

namespace {

// Where the last words of a conversation to go on with end in its prompt; transformers finds the place so too
// (chat_template_utils.py, continue_final_message).
constexpr std::string_view go_on_mark = "CONTINUE_FINAL_MESSAGE_TAG ";

Conversation with_mark(Conversation conversation) {
  if (!conversation.messages.empty())
    for (Part& part : conversation.messages.back().parts | std::views::reverse)
      if (!part.image && !part.clip) {
        part.text += go_on_mark;
        conversation.go_on = false;
        conversation.add_generation_prompt = false;
        return conversation;
      }
  fail(ErrorCode::usage, "the last message has no words to go on with");
}

// Without the mark and what comes behind it: the end of the message, as the template writes it.
void cut_at_mark(std::vector<TextSpan>& spans) {
  const std::string text = joined(spans);
  const std::string_view core = go_on_mark.substr(0, go_on_mark.size() - 1);
  std::size_t end = text.rfind(core);
  if (end == std::string::npos) fail(ErrorCode::unsupported, "the chat template leaves out the message to go on with");
  // A template that trims messages would have trimmed this one's end too.
  if (text.compare(end, go_on_mark.size(), go_on_mark) != 0)
    while (end > 0 && std::string_view(" \n\t\r\f\v").find(text[end - 1]) != std::string_view::npos) --end;
  std::size_t length = 0;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    if (length + spans[i].text.size() >= end) {
      spans[i].text.resize(end - length);
      spans.resize(spans[i].text.empty() ? i : i + 1);
      return;
    }
    length += spans[i].text.size();
  }
}

}  // namespace

std::vector<TextSpan> Model::rendered(const Conversation& conversation) const {
  Json variables = conversation.template_variables();
  for (const char* token : trusted_tokens) {  // the template trusts these variables: only the checkpoint may set them
    variables.erase(token);
    if (const auto at = template_tokens_.find(token); at != template_tokens_.end()) variables[token] = *at;
  }
  return chat_template().render(variables).value();
}

PreparedPrompt Model::prepare(const Conversation& conversation) const {
  if (!has_chat_template() && processor_->takes_plain_text())
    return place({{plain_text(conversation), false}}, conversation.media(), true);
  std::vector<TextSpan> spans = rendered(conversation.go_on ? with_mark(conversation) : conversation);
  if (conversation.go_on) cut_at_mark(spans);
  // As transformers' apply_chat_template: a template that writes the BOS itself turns the tokenizer's own off.
  const bool has_bos = begins_with_bos(spans);
  return place(std::move(spans), conversation.media(), !has_bos);
}

bool Model::begins_with_bos(std::span<const TextSpan> spans) const {
  return !bos_token_.empty() && !spans.empty() && spans.front().trusted && spans.front().text.starts_with(bos_token_);
}

PreparedPrompt Model::prepare_trusted(std::string text, std::vector<std::shared_ptr<const Image>> images) const {
  std::vector<TextSpan> spans{{std::move(text), true}};
  const bool has_bos = begins_with_bos(spans);
  std::vector<Medium> media;
  for (auto& image : images) media.push_back({std::move(image)});
  return place(std::move(spans), std::move(media), !has_bos);
}

}  // namespace tap
