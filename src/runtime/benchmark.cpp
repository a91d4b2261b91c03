#include "runtime/benchmark.h"

#include <cmath>
#include <fstream>

#include "base/memory.h"
#include "kernels/machine_limits.h"
#include "runtime/memory_plan.h"
#include "runtime/session.h"

namespace tap {

namespace {

constexpr Dim decode_steps = 16;
constexpr double mebibyte = 1048576;

Image noise_picture(SizePx size) {
  Image image(size.width, size.height);
  Rng rng(7);
  for (auto& value : image.pixels) value = static_cast<std::uint8_t>(rng.next_u32());
  return image;
}

// Ids below are in the tokenizer and in the table.
Dim plain_tokens(const Model& model) { return std::min(model.tokenizer().size(), model.network().vocab()); }

// Prefills `tokens` pseudo-random ids; the cache is emptied first. Returns the last row's logits.
Tensor prefill(const Model& model, Dim tokens, KvCache& cache) {
  const Network& network = model.network();
  cache.truncate(0);
  std::vector<TokenId> ids;
  Rng rng(11);
  for (Dim i = 0; i < tokens; ++i)
    ids.push_back(static_cast<TokenId>(rng.next_u32() % static_cast<std::uint32_t>(plain_tokens(model))));
  const Tensor hidden = network.forward(network.embed(ids), Batch::causal(tokens), &cache);
  return network.logits(hidden.rows(tokens - 1, tokens));
}

// Seconds of one token behind `context` others.
double decode_s(const Model& model, Dim context, KvCache& cache) {
  const Network& network = model.network();
  prefill(model, context, cache);
  const auto run = [&] {
    cache.truncate(context);
    for (Dim past = context; past < context + decode_steps; ++past) {
      const auto id = static_cast<TokenId>((past * 7) % plain_tokens(model));
      const Tensor row = network.forward(network.embed(std::span(&id, 1)), Batch::causal(1, past), &cache);
      if (!std::isfinite(network.logits(row).data<float>()[0])) fail(ErrorCode::internal, "logits are not finite");
    }
  };
  run();
  return fastest_s(run, 5, 1.0) / static_cast<double>(decode_steps);
}

// Time to the first token of a short question about one tile, or about none, and what that leaves as the peak of
// memory.
void first_answer(const Model& model, std::shared_ptr<const Image> picture, Json& json) {
  Session session(model);
  PreparedPrompt prepared;
  Conversation conversation;
  std::vector<std::shared_ptr<const Image>> pictures;
  if (picture) pictures.push_back(std::move(picture));
  conversation.user("What is in this picture, and what is it doing there?", std::move(pictures));
  const Stopwatch watch;
  Generation generation = session.ask(conversation, {});
  (void)generation.next();
  json["ttft_ms"] = watch.ms();
  while (static_cast<Dim>(generation.output().size()) < decode_steps && generation.next()) {
  }
  json["vmhwm_mb"] = static_cast<double>(peak_resident_bytes()) / mebibyte;
}

}  // namespace

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name") && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  return "unknown";
}

Json benchmark(const Model& model, const std::function<void(std::string_view)>& stage) {
  const Network& network = model.network();
  const WeightType type = model.weight_type();
  const NetworkPlan counts = plan_network(model.family(), model.files(), type);
  const Dim context = model.context();
  const int threads = ExecContext::current().threads();
  Json json = {{"machine", nullptr},         {"model", model.name()}, {"dtype", name(type)},
               {"load_ms", model.load_ms()}, {"encode", nullptr},     {"prefill", Json::array()},
               {"decode", Json::array()},    {"ttft_ms", nullptr},    {"vmhwm_mb", nullptr}};

  const bool sees = counts.shape.patch_px > 0;
  std::shared_ptr<const Image> picture;
  ImagePlan plan;
  Tensor pixels;
  if (sees) {
    const auto processor = model.processor_with({{"do_image_splitting", false}});
    constexpr Dim large_px = 1024;  // of a family whose pictures keep their size
    ImagePlan first = processor->plan(64, 64);
    if (first.grid.steps > 0) first = processor->plan(large_px, large_px);
    const SizePx tile = first.tile;
    picture = std::make_shared<const Image>(noise_picture(tile));
    plan = processor->plan(tile.width, tile.height);
    pixels = processor->pixels(*picture, plan);
  }
  if (!sees || model.processor().plan(plan.tile.width, plan.tile.height).tokens + 64 < context) {
    stage("the first answer");
    first_answer(model, picture, json);
  }

  stage("the machine's limits");
  const MachineLimits limits = measure_limits(threads);
  const double peak = 1e9 * (type == WeightType::f32    ? limits.f32_gops
                             : type == WeightType::bf16 ? limits.bf16_gops
                                                        : limits.int8_gops);
  json["machine"] = {{"cpu", cpu_name()},
                     {"threads", threads},
                     {"peak_gops", {{"f32", limits.f32_gops}, {"bf16", limits.bf16_gops}, {"int8", limits.int8_gops}}},
                     {"read_gbps", limits.read_gbs}};

  if (sees) {
    stage("encode");
    network.see(pixels, plan);
    const double encode = fastest_s([&] { network.see(pixels, plan); }, 5, 2.0);
    json["encode"] = {{"tile_px", plan.tile.width},
                      {"tokens", plan.tokens},
                      {"ms", encode * 1e3},
                      {"fraction", counts.encode_operations(plan) / encode / peak}};
  }

  KvCache cache(network.kv_shape(), model.cache_type(), context);
  for (const Dim tokens : {Dim{512}, Dim{1024}}) {
    if (tokens > context) continue;
    stage(fmt::format("prefill of {} tokens", tokens));
    prefill(model, tokens, cache);
    const double s = fastest_s([&] { prefill(model, tokens, cache); }, 3, 1.0);
    json["prefill"].push_back({{"tokens", tokens},
                               {"tps", static_cast<double>(tokens) / s},
                               {"fraction", counts.prefill_operations(tokens) / s / peak}});
  }
  for (const Dim at : {Dim{200}, Dim{1000}}) {
    if (at + decode_steps > context) continue;
    stage(fmt::format("decode at context {}", at));
    const double s = decode_s(model, at, cache);
    json["decode"].push_back(
        {{"context", at},
         {"tps", 1 / s},
         {"fraction", limits.read_gbs > 0 ? counts.decode_bytes(at) / s / 1e9 / limits.read_gbs : 0}});
  }
  return json;
}

}  // namespace tap
