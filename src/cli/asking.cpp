#include "cli/asking.h"

#include <random>

#include "base/log.h"
#include "base/memory.h"
#include "cli/answer_form.h"
#include "cli/dry_run.h"
#include "cli/output.h"
#include "cli/videos.h"
#include "io/embedded.h"
#include "io/url.h"

namespace tap::cli {

Loaded load_model_for(const Options& options, const PictureList& pictures, Dim items, std::function<void(Dim)> need) {
  Loaded loaded;
  LoadOptions load;
  load.dtype = *parse_dtype(options.dtype);
  load.admit = admission(options, pictures, items, loaded.sequences, std::move(need));
  loaded.model = load_model(model_folder(options.model), load);
  const Model& model = *loaded.model;
  log::info("load: {:.1f} ms, {} in {}", model.load_ms(), model.name(), name(model.weight_type()));
  return loaded;
}

GenerateOptions generate_options(const Options& options, const Model& model, const GrammarPtr& grammar) {
  GenerateOptions generate;
  if (grammar) generate.constraint = std::make_shared<const Constraint>(grammar, model.tokenizer(), model.end_tokens());
  generate.max_tokens = options.max_tokens;
  generate.stop = options.stop;
  generate.lookup = options.lookup == "off" ? Lookup::off : Lookup::automatic;
  SamplingOptions& sampling = generate.sampling = model.sampling_defaults();
  if (options.temperature) sampling.temperature = static_cast<float>(*options.temperature);
  if (options.top_p) sampling.top_p = static_cast<float>(*options.top_p);
  if (options.top_k) sampling.top_k = *options.top_k;
  if (options.min_p) sampling.min_p = static_cast<float>(*options.min_p);
  if (options.seed) {
    sampling.seed = static_cast<std::uint64_t>(*options.seed);
  } else if (sampling.temperature > 0) {
    sampling.seed = std::random_device()();
    log::info("seed: {}", sampling.seed);
  }
  sampling.validate();
  StopMatcher{generate.stop};  // refuses what cannot be, before any picture is read
  return generate;
}

std::string words_for(const Model& model, const std::string& question) {
  const bool captions = !model.has_chat_template() && model.processor().takes_plain_text();
  return question == describe_question && captions ? "caption en" : question;
}

void log_timings(const Timings& t, double total_ms) {
  if (log::level() < log::Level::verbose) return;
  const auto stage = [](std::string_view label, const Stage& s) {
    log::info("{}: {:.1f} ms, {} tokens, {:.0f} tokens/s", label, s.ms, s.tokens, s.per_second());
  };
  stage("preprocess", t.preprocess);
  stage("encode", t.encode);
  stage("prefill", t.prefill);
  stage("decode", t.decode);
  if (t.drafted_tokens > 0) log::info("lookup: {} tokens drafted, {} accepted", t.drafted_tokens, t.accepted_tokens);
  log::info(
      "prompt: {} tokens, {} of them from pictures, {} cached; answer: {} tokens; first token after {:.1f} ms; {:.1f} "
      "ms in all",
      t.prompt_tokens, t.image_tokens, t.cached_tokens, t.output_tokens, t.first_token_ms, total_ms);
  const Arena::Stats stats = ExecContext::current().arena()->stats();
  const auto mb = [](std::size_t bytes) { return static_cast<double>(bytes) / 1048576; };
  log::info("memory: {:.0f} MB in use, {:.0f} MB kept for reuse, {:.0f} MB at most", mb(stats.in_use_bytes),
            mb(stats.kept_bytes), mb(stats.peak_bytes));
  log::info("process: {} bytes at most", peak_resident_bytes());
}

Json tokens_json(const Timings& t) {
  return {{"prompt", t.prompt_tokens}, {"image", t.image_tokens}, {"output", t.output_tokens}};
}

Json lookup_json(const Timings& t) { return {{"drafted", t.drafted_tokens}, {"accepted", t.accepted_tokens}}; }

Json ms_json(const Timings& t, double total_ms) {
  const auto rounded = [](double ms) { return static_cast<double>(static_cast<std::int64_t>(ms * 1000 + 0.5)) / 1000; };
  return {{"load", rounded(t.load.ms)},     {"preprocess", rounded(t.preprocess.ms)},
          {"encode", rounded(t.encode.ms)}, {"prefill", rounded(t.prefill.ms)},
          {"decode", rounded(t.decode.ms)}, {"first_token", rounded(t.first_token_ms)},
          {"total", rounded(total_ms)}};
}

namespace {

class PictureItems final : public ItemSource {
 public:
  using Make = std::function<void(const PictureSource&, Item&)>;
  PictureItems(const std::vector<PictureSource>& pictures, Make make) : pictures_(pictures), make_(std::move(make)) {}
  Next next(Item& item, bool) override {
    if (at_ == pictures_.size()) return Next::end;
    item.index = at_;
    const PictureSource& picture = pictures_[at_++];
    item.name = picture.name;
    make_(picture, item);
    return Next::item;
  }

 private:
  const std::vector<PictureSource>& pictures_;
  Make make_;
  std::size_t at_ = 0;
};

}  // namespace

const std::shared_ptr<const Image>& Turn::image() const {
  if (medium.clip)
    throw Error(ErrorCode::unsupported, fmt::format("{}: is a video; this command takes pictures", name), name);
  return medium.image;
}

int ask_about(const PictureList& pictures, const Options& options, const std::function<void(const Model&)>& check,
              const std::function<void(const Turn&, Item&)>& fill) {
  const Stopwatch total;
  const GrammarPtr grammar = grammar_of(options);
  const auto [model, sequences] = load_model_for(options, pictures, static_cast<Dim>(pictures.sources.size()));
  const GenerateOptions generate = generate_options(options, *model, grammar);
  const auto features = std::make_shared<FeatureCache>();
  if (check) check(*model);
  Guards guards(options);
  PictureItems items(pictures.sources, [&](const PictureSource& picture, Item& item) {
    const Stopwatch watch;
    Medium medium = load_medium(picture, options, *model, guards, item.verdicts);
    const SizePx size = medium.clip ? medium.clip->plan.source : SizePx{medium.image->width, medium.image->height};
    item.decode_ms = watch.ms();
    item.generate = generate;
    const std::string name = is_data_url(picture.name) ? shortened_url(picture.name) : picture.name;
    fill({*model, generate, name, std::move(medium), size.width, size.height, features, pictures.many, total}, item);
  });
  const auto output = make_output(options, pictures.many);
  Progress progress("pictures", pictures.sources.size(), Progress::Unit::items, options.quiet || !pictures.many);
  return run_items(*model, {options, sequences, total, guards, features}, items, *output, progress).exit_code();
}

}  // namespace tap::cli
