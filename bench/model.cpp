// Speed and memory of one model as one JSON line: bench/model FOLDER [DTYPE] [THREADS]
// encode, prefill and decode are fractions of this machine's limits, measured in the same run: the product peak of the
// arithmetic used, and read bandwidth. Operations are counted from the weights' shapes: 2 per weight and row, plus 4 ·
// width · keys per row of attention.
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <string>

#include <fmt/format.h>

#include "bench/support/limits.h"
#include "io/json.h"
#include "kernels/isa.h"
#include "runtime/session.h"

using namespace tap;

namespace {

// Figures of config.json and the weights' shapes that the counts need. Keys are those of vision_config / text_config
// checkpoints.
struct Counts {
  double vision_weights = 0, connector_weights = 0, text_weights = 0, head_weights = 0;
  Dim patch, vision_width, vision_depth, text_depth, heads, kv_heads, head_dim;

  explicit Counts(const Model& model) {
    const ConfigReader vision = model.files().config.child_or_empty("vision_config"),
                       text = model.files().config.child_or_empty("text_config");
    patch = vision.positive("patch_size"), vision_width = vision.positive("hidden_size"),
    vision_depth = vision.positive("num_hidden_layers");
    text_depth = text.positive("num_hidden_layers"), heads = text.positive("num_attention_heads");
    kv_heads = text.positive_or("num_key_value_heads", heads),
    head_dim = text.positive_or("head_dim", text.positive("hidden_size") / heads);
    double table = 0;
    for (const auto& entry : model.weights().entries()) {
      if (entry.shape.size() < 2 || entry.name.find("position_embedding") != std::string::npos) continue;
      const auto n = std::accumulate(entry.shape.begin(), entry.shape.end(), 1.0,
                                     [](double a, Dim d) { return a * static_cast<double>(d); });
      if (entry.name.find("vision_model") != std::string::npos)
        vision_weights += n;
      else if (entry.name.find("connector") != std::string::npos)
        connector_weights += n;
      else if (entry.name.find("embed_tokens") != std::string::npos)
        table = n;
      else if (entry.name.find("lm_head") != std::string::npos)
        head_weights = n;
      else
        text_weights += n;
    }
    if (head_weights == 0) head_weights = table;
  }
  double encode_ops(Dim patches, Dim tokens) const {
    const auto n = static_cast<double>(patches);
    return 2 * vision_weights * n + 4.0 * static_cast<double>(vision_width * vision_depth) * n * n +
           2 * connector_weights * static_cast<double>(tokens);
  }
  double prefill_ops(Dim tokens) const {
    const auto n = static_cast<double>(tokens);
    return 2 * text_weights * n + 4.0 * static_cast<double>(heads * head_dim * text_depth) * n * (n + 1) / 2 +
           2 * head_weights;
  }
  double decode_bytes(WeightType type, Dim context, DType cache) const {
    const double per_weight = type == WeightType::f32    ? 4
                              : type == WeightType::bf16 ? 2
                              : type == WeightType::q8   ? 1
                                                         : 0.625;
    return (text_weights + head_weights) * per_weight +
           static_cast<double>(2 * kv_heads * head_dim * text_depth * context * bytes_of(cache));
  }
};

double vmhwm_mb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::atof(line.c_str() + 6) / 1024;
  return 0;
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown";
}

Image noise_picture(Dim edge) {
  Image image(edge, edge);
  Rng rng(7);
  for (auto& value : image.pixels) value = static_cast<std::uint8_t>(rng.next_u32());
  return image;
}

// Prefills `tokens` pseudo-random ids; the cache is emptied first. Returns the last row's logits.
Tensor prefill(const Network& network, Dim tokens, Dim vocab, KvCache& cache) {
  cache.truncate(0);
  std::vector<TokenId> ids;
  Rng rng(11);
  for (Dim i = 0; i < tokens; ++i)
    ids.push_back(static_cast<TokenId>(rng.next_u32() % static_cast<std::uint32_t>(vocab)));
  const Tensor hidden = network.forward(network.embed(ids), Batch::causal(tokens), &cache);
  return network.logits(hidden.rows(tokens - 1, tokens));
}

double decode_s(const Network& network, Dim context, Dim vocab, KvCache& cache) {
  prefill(network, context, vocab, cache);
  constexpr Dim steps = 16;
  Dim past = context;
  const auto run = [&] {
    cache.truncate(context);
    past = context;
    for (Dim i = 0; i < steps; ++i) {
      const TokenId id = static_cast<TokenId>((past * 7) % vocab);
      const Tensor row = network.forward(network.embed(std::span(&id, 1)), Batch::causal(1, past++), &cache);
      if (!std::isfinite(network.logits(row).data<float>()[0])) fail(ErrorCode::internal, "logits are not finite");
    }
  };
  run();
  return bench::fastest_s(run, 5, 1.0) / steps;
}

Json run(const std::string& folder, Dtype dtype, int threads) {
  const auto model =
      load_model(folder, {.dtype = dtype, .config_change = {}, .processor_options = {}, .weights = true});
  const Network& network = model->network();
  const Counts counts(*model);
  const WeightType type = model->weight_type();
  const Dim vocab = model->tokenizer().size(), context = model->context();
  Json json = {{"model", model->name()}, {"dtype", name(type)}, {"load_ms", model->load_ms()}};

  const auto processor = model->processor_with({{"do_image_splitting", false}});
  const ImagePlan plan = processor->plan(64, 64);
  const auto picture = std::make_shared<const Image>(noise_picture(plan.tile.width));
  const Tensor pixels = processor->pixels(*picture, processor->plan(plan.tile.width, plan.tile.width));
  {
    Session session(*model);
    Conversation conversation;
    conversation.user("What is in this picture, and what is it doing there?", {picture});
    const Stopwatch watch;
    Generation generation = session.ask(conversation, {});
    (void)generation.next();
    json["ttft_ms"] = watch.ms();
    while (generation.output().size() < 16 && generation.next()) {
    }
    json["vmhwm_mb"] = vmhwm_mb();
    json["packed_mb"] = static_cast<double>(model->weights().packed_bytes()) / 1048576;
  }

  const bench::Limits limits = bench::measure_limits(threads);
  const double peak = (type == WeightType::f32    ? limits.f32_gops
                       : type == WeightType::bf16 ? limits.bf16_gops
                                                  : limits.int8_gops) *
                      1e9;
  json["machine"] = {{"cpu", cpu_name()},
                     {"isa", name(active_isa())},
                     {"threads", threads},
                     {"peak_gops", {{"f32", limits.f32_gops}, {"bf16", limits.bf16_gops}, {"int8", limits.int8_gops}}},
                     {"read_gbps", limits.read_gbs}};

  network.see(pixels);
  const double encode = bench::fastest_s([&] { network.see(pixels); }, 5, 2.0);
  const Dim patches = pixels.dim(0) * (pixels.dim(2) / counts.patch) * (pixels.dim(3) / counts.patch);
  json["encode"] = {{"tile_px", pixels.dim(3)},
                    {"tokens", plan.tokens},
                    {"ms", encode * 1e3},
                    {"gop", counts.encode_ops(patches, plan.tokens) / 1e9},
                    {"fraction", counts.encode_ops(patches, plan.tokens) / encode / peak}};

  json["prefill"] = json["decode"] = Json::array();
  KvCache cache(network.kv_shape(), model->cache_type(), context);
  for (const Dim tokens : {Dim{512}, Dim{1024}}) {
    if (tokens > context) continue;
    prefill(network, tokens, vocab, cache);
    const double s = bench::fastest_s([&] { prefill(network, tokens, vocab, cache); }, 3, 1.0);
    json["prefill"].push_back({{"tokens", tokens},
                               {"tps", static_cast<double>(tokens) / s},
                               {"fraction", counts.prefill_ops(tokens) / s / peak}});
  }
  for (const Dim at : {Dim{200}, Dim{1000}}) {
    if (at + 16 > context) continue;
    const double s = decode_s(network, at, vocab, cache);
    const double bytes = counts.decode_bytes(type, at, model->cache_type());
    json["decode"].push_back({{"context", at}, {"tps", 1 / s}, {"fraction", bytes / s / 1e9 / limits.read_gbs}});
  }
  return json;
}

}  // namespace

int main(int count, char** words) {
  try {
    if (count < 2 || count > 4) fail(ErrorCode::usage, "usage: model FOLDER [auto|f32|bf16|q8|q4] [THREADS]");
    const auto dtype = parse_dtype(count > 2 ? words[2] : "auto");
    if (!dtype) fail(ErrorCode::usage, "{}: no dtype; auto, f32, bf16, q8 or q4", words[2]);
    const int threads = count > 3 ? std::atoi(words[3]) : available_threads();
    ExecContext context(threads);
    const ExecContext::Scope scope(context);
    fmt::print("{}\n", to_json_line(run(words[1], *dtype, threads)));
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "model: {}\n", error.message());
    return error.code() == ErrorCode::usage ? 2 : 1;
  }
}
