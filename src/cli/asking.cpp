#include "cli/asking.h"

#include <random>

#include "base/log.h"
#include "base/memory.h"
#include "cli/dry_run.h"
#include "cli/model_path.h"
#include "cli/output.h"
#include "cli/pictures.h"

namespace tap::cli {

namespace {

std::unique_ptr<Model> load_model_for(const Options& options, const std::vector<std::string>& pictures) {
  LoadOptions load;
  load.dtype = *parse_dtype(options.dtype);
  load.admit = admission(options, pictures);
  auto model = load_model(model_folder(options.model), load);
  log::info("load: {:.1f} ms, {} in {}", model->load_ms(), model->name(), name(model->weight_type()));
  return model;
}

GenerateOptions generate_options(const Options& options, const Model& model) {
  GenerateOptions generate;
  generate.max_tokens = options.max_tokens;
  generate.stop = options.stop;
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
  return generate;
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

}  // namespace

Json tokens_json(const Timings& t) {
  return {{"prompt", t.prompt_tokens}, {"image", t.image_tokens}, {"output", t.output_tokens}};
}

Json ms_json(const Timings& t, double total_ms) {
  const auto rounded = [](double ms) { return static_cast<double>(static_cast<std::int64_t>(ms * 1000 + 0.5)) / 1000; };
  return {{"load", rounded(t.load.ms)},     {"preprocess", rounded(t.preprocess.ms)},
          {"encode", rounded(t.encode.ms)}, {"prefill", rounded(t.prefill.ms)},
          {"decode", rounded(t.decode.ms)}, {"first_token", rounded(t.first_token_ms)},
          {"total", rounded(total_ms)}};
}

Timings Turn::report(Timings answer) const {
  answer.load.ms = session.model().load_ms();
  answer.preprocess.ms += decode_ms;
  log_timings(answer, total.ms());
  return answer;
}

int for_each_picture(const std::vector<std::string>& pictures, const Options& options,
                     const std::function<Json(const Turn&)>& one) {
  const Stopwatch total;
  const auto model = load_model_for(options, pictures);
  const GenerateOptions generate = generate_options(options, *model);
  Session session(*model);
  Json all = Json::array();
  int exit_code = 0;
  for (const std::string& path : pictures) {
    try {
      const Stopwatch watch;
      const auto image = load_picture(path, options);
      all.push_back(one({session, generate, path, image, watch.ms(), total}));
    } catch (const Error& error) {
      // The only picture, or the user's wish to stop: main reports it.
      if (pictures.size() == 1 || error.code() == ErrorCode::cancelled || error.code() == ErrorCode::usage) throw;
      exit_code = 1;
      if (options.json)
        all.push_back(error_json(Error(error.code(), error.message(), error.item().empty() ? path : error.item())));
      else
        print_error(error);
    }
  }
  if (options.json) write_json(pictures.size() == 1 ? all.at(0) : all);
  return exit_code;
}

}  // namespace tap::cli
