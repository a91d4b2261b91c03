#include "runtime/memory_plan.h"

#include <algorithm>

#include "base/arena.h"
#include "base/human_bytes.h"
#include "cache/kv_cache.h"
#include "runtime/batch_generator.h"

namespace tap {

namespace {

constexpr Dim panel_bytes = Dim{4} << 20;  // of an MLP's intermediate at a time (ops/mlp.cpp)
constexpr Dim f32_bytes = 4, rgb_bytes = 3;
constexpr Dim computing_bytes = Dim{3} << 20;  // measured on models too small to take much else
constexpr Dim most_default_sequences = 16, supposed_prompt_tokens = 4096;

Dim panel_scratch(const StackShape& stack, Dim rows) {
  const Dim least = 96 * stack.mlp_width * f32_bytes;
  return std::min(rows * stack.mlp_width * f32_bytes, std::max(panel_bytes, least));
}

// What one pass over `rows` rows holds beside its input: at the end of a layer its input, both norms, query, key,
// value, attention's result and the sums; then the activations that a product reads, rounded.
Dim stack_scratch(const StackShape& stack, Dim rows) {
  const Dim wide = 5 * stack.width + 2 * stack.query_width() + 2 * stack.kv_width();
  return rows * (wide * f32_bytes + 2 * stack.mlp_width / 4) + panel_scratch(stack, rows);
}

// A pass of the vision stack: its pixels, the patches made of them, and the layers.
Dim vision_scratch(const NetworkShape& shape, const ImagePlan& plan) {
  if (shape.patch_px < 1) return 0;
  const Dim patches = (plan.tile.width / shape.patch_px) * (plan.tile.height / shape.patch_px);
  const Dim together = std::max<Dim>(1, shape.tile_rows / std::max<Dim>(1, patches));
  const Dim rows = std::min(together, plan.tiles()) * patches;
  const Dim tile_bytes =
      (shape.patch_values > 0 ? patches * shape.patch_values : 3 * plan.tile.width * plan.tile.height) * f32_bytes;
  const Dim at_once = std::min(plan.tiles(), std::max<Dim>(1, encode_pixel_elements * f32_bytes / tile_bytes));
  return at_once * tile_bytes + std::min(together, plan.tiles()) * tile_bytes + stack_scratch(shape.vision, rows);
}

Dim block_of(Dim bytes) {
  return bytes < 1 ? 0 : static_cast<Dim>(Arena::block_bytes(static_cast<std::size_t>(bytes)));
}

Dim layer_bytes(const NetworkPlan& network, Dim rows) {
  return 2 * rows * network.kv.row_elements() * bytes_of(network.cache_type);
}

// The arena's blocks of one sequence's cache when it grows from `before` rows to `after`: what it grows out of is held
// until it is copied.
Dim cache_blocks(const NetworkPlan& network, Dim before, Dim after) {
  const Dim windowed = network.kv.windowed_layers(), full = network.kv.layers - windowed;
  const Dim most = network.kv.windowed_rows(), low = std::min(before, most), high = std::min(after, most);
  Dim blocks = block_of(full * layer_bytes(network, before)) + block_of(full * layer_bytes(network, after)) +
               block_of(windowed * layer_bytes(network, high));
  if (low < high) blocks += block_of(windowed * layer_bytes(network, low));
  return blocks;
}

// Rows that `tokens` rows see in all, looking back `window` each.
double rows_seen(double tokens, double window) {
  const double growing = std::min(tokens, window);
  return growing * (growing + 1) / 2 + (tokens - growing) * window;
}

// The decoded picture and what resizing makes of it.
Dim picture_bytes(const ImagePlan& plan) {
  Dim pixels = plan.source.width * plan.source.height, resized = 0;
  Dim width = plan.source.width;
  for (const SizePx& size : plan.resizes) {  // the last one stays; each is made through rows of the new width
    resized = std::max(resized, size.width * size.height);
    width = size.width;
  }
  if (!plan.crops.empty()) resized = plan.tiles() * plan.tile.width * plan.tile.height;  // each beside the others
  return rgb_bytes * (pixels + resized + (plan.resizes.empty() ? 0 : width * plan.source.height / 2));
}

}  // namespace

Dim NetworkPlan::cache_bytes(Dim rows) const {
  const Dim windowed = kv.windowed_layers();
  return (kv.layers - windowed) * layer_bytes(*this, rows) +
         windowed * layer_bytes(*this, std::min(rows, kv.windowed_rows()));
}

double NetworkPlan::encode_operations(const ImagePlan& plan) const {
  if (shape.patch_px < 1) return 0;
  const auto patches = static_cast<double>((plan.tile.width / shape.patch_px) * (plan.tile.height / shape.patch_px));
  const Dim values = shape.patch_values > 0 ? shape.patch_values : 3 * shape.patch_px * shape.patch_px;
  const StackShape& vision = shape.vision;
  const double seen =
      static_cast<double>(vision.layers - vision.windowed_layers) * patches +
      static_cast<double>(vision.windowed_layers) * std::min(patches, static_cast<double>(vision.window));
  const double tile = 2 * static_cast<double>(vision.weights() + values * vision.width) * patches +
                      4.0 * static_cast<double>(vision.query_width()) * patches * seen;
  return tile * static_cast<double>(plan.tiles()) +
         2.0 * static_cast<double>(shape.connector_weights) * static_cast<double>(plan.tokens);
}

double NetworkPlan::prefill_operations(Dim tokens) const {
  const auto n = static_cast<double>(tokens);
  return 2 * static_cast<double>(shape.text.weights()) * n +
         4.0 * static_cast<double>(shape.text.query_width()) *
             (static_cast<double>(shape.text.layers - shape.text.windowed_layers) * rows_seen(n, n) +
              static_cast<double>(shape.text.windowed_layers) * rows_seen(n, static_cast<double>(shape.text.window))) +
         2 * static_cast<double>(vocab * shape.text.width);
}

double NetworkPlan::decode_bytes(Dim rows) const {
  const double per_weight = type == WeightType::f32    ? 4
                            : type == WeightType::bf16 ? 2
                            : type == WeightType::q8   ? 1
                                                       : 0.625;
  return static_cast<double>(shape.text.weights() + vocab * shape.text.width) * per_weight +
         static_cast<double>((shape.text.layers - shape.text.windowed_layers) * layer_bytes(*this, rows) +
                             shape.text.windowed_layers * layer_bytes(*this, std::min(rows, shape.text.window)));
}

NetworkPlan plan_network(const Family& family, const ModelFiles& files, WeightType type) {
  const Weights weights =
      Weights::open(files.folder, {.type = type, .prefix_map = family.weight_names, .plan_only = true});
  const auto network = family.network(files, weights);
  const Weights::PlannedBytes bytes = weights.planned_bytes();
  return {.type = type,
          .shape = network->shape(),
          .kv = network->kv_shape(),
          .cache_type = type == WeightType::f32 ? DType::f32 : DType::bf16,
          .context = network->context(),
          .vocab = network->vocab(),
          .packed_bytes = bytes.matrices,
          .tensor_bytes = bytes.tensors,
          .block_bytes = bytes.blocks};
}

Dim program_bytes() { return static_cast<Dim>(resident_bytes()) + computing_bytes; }

Dim default_sequences(const NetworkPlan& network, Dim max_tokens, Dim context, const MemoryLimits& limits) {
  const Dim most = context > 0 ? std::min(context, network.context) : network.context;
  const Dim rows = std::min(most, supposed_prompt_tokens + std::min(max_tokens, most));
  const std::uint64_t weights = static_cast<std::uint64_t>(network.block_bytes), available = limits.available();
  const std::uint64_t left = available - std::min(available, weights);
  const auto fitting = left / 4 / static_cast<std::uint64_t>(std::max<Dim>(1, network.cache_bytes(rows)));
  return static_cast<Dim>(std::clamp<std::uint64_t>(fitting, 1, most_default_sequences));
}

MemoryPlan plan_memory(const NetworkPlan& network, const RunSize& run, Dim program) {
  const NetworkShape& shape = network.shape;
  const Dim context = run.context > 0 ? std::min(run.context, network.context) : network.context;
  const Dim sequences = std::max<Dim>(1, run.sequences);
  MemoryPlan plan;
  plan.program = program;
  plan.weights = network.block_bytes;
  Dim capacity = 0, text_rows = 1, vision = 0, features = 0;
  for (const PromptSize& prompt : run.prompts) {
    const Dim rows = std::min(context, prompt.tokens + std::min(run.max_tokens, context));
    const auto grow = [&](Dim grown) {  // as KvCache does: the old rows are held until they are copied
      plan.cache = std::max(plan.cache, cache_blocks(network, capacity, grown));
      capacity = grown;
    };
    if (const Dim first = KvCache::first_rows(prompt.tokens, rows); first > capacity)
      grow(std::min(context, std::max({first, 2 * capacity, Dim{64}})));
    if (rows > capacity) grow(rows);
    // A batch reads several prompts in one forward.
    const Dim at_once = std::clamp(sequences * prefill_rows, prefill_rows, BatchOptions{}.rows_per_step);
    text_rows = std::max(text_rows, std::min(prompt.tokens * sequences, at_once));
    if (shape.whole_prompts) text_rows = std::max(text_rows, prompt.tokens);
    Dim pictures = 0;
    for (const ImagePlan& picture : prompt.pictures) {
      vision = std::max(vision, vision_scratch(shape, picture));
      features += picture.tokens * shape.text.width * f32_bytes;
      pictures += picture_bytes(picture);
    }
    plan.pictures = std::max(plan.pictures, pictures);
  }
  plan.cache *= sequences;
  plan.features = std::min(2 * features, features + feature_cache_bytes);  // parts, then rows put together
  // The arena keeps what the tower leaves and the prefill works in it; logits and the row tables come on top.
  plan.scratch = std::max(vision, stack_scratch(shape.text, text_rows)) + 2 * sequences * network.vocab * f32_bytes;
  return plan;
}

void admit(const NetworkPlan& network, const RunSize& run, const MemoryLimits& limits,
           const std::function<std::optional<NetworkPlan>()>& smaller) {
  const auto needed = [](const NetworkPlan& of, const RunSize& size) { return plan_memory(of, size, 0).needed(); };
  const auto fits = [&](Dim bytes) { return static_cast<std::uint64_t>(bytes) <= limits.available(); };
  const MemoryPlan plan = plan_memory(network, run, 0);
  if (fits(plan.needed())) return;
  const auto human = [](Dim bytes) { return human_bytes(static_cast<double>(bytes)); };
  std::string advice;
  const auto advise = [&](const std::string& text) { advice += (advice.empty() ? "" : ", or ") + text; };
  if (const auto other = smaller(); other && fits(needed(*other, run)))
    advise(fmt::format("--dtype q4 ({})", human(needed(*other, run))));
  // The greatest smaller value of one number of the run that fits: 0 when none does.
  const auto greatest_fitting = [&](Dim RunSize::*number) {
    RunSize size = run;
    Dim fitting = 0;
    for (Dim refused = run.*number; fitting + 1 < refused;) {
      size.*number = fitting + (refused - fitting) / 2;
      (fits(needed(network, size)) ? fitting : refused) = size.*number;
    }
    return fitting;
  };
  if (const Dim tokens = greatest_fitting(&RunSize::max_tokens); tokens > 0)
    advise(fmt::format("--max-tokens {}", tokens));
  if (const Dim sequences = greatest_fitting(&RunSize::sequences); sequences > 0)
    advise(fmt::format("--batch {}", sequences));
  if (plan.pictures > 0 && fits(plan.needed() - plan.pictures)) advise("smaller pictures");
  if (advice.empty()) advice = "a smaller model or more memory";
  throw Error(ErrorCode::out_of_memory,
              fmt::format("this run needs {} (weights {}, cache {}, picture rows {}, working memory {}, pictures {}), "
                          "{} leaves {}; what would fit: {}",
                          human(plan.needed()), human(plan.weights), human(plan.cache), human(plan.features),
                          human(plan.scratch), human(plan.pictures), limits.binding(),
                          human_bytes(static_cast<double>(limits.available())), advice));
}

}  // namespace tap
