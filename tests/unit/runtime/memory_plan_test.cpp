#include "runtime/memory_plan.h"

#include "base/human_bytes.h"

#include <doctest/doctest.h>

#include "runtime/session.h"

using namespace tap;

namespace {

const std::string root = TAPETUM_SOURCE_DIR;
const std::string gemma3 = root + "/tests/families/gemma3/checkpoint";
const std::vector<std::string> folders = {root + "/data/nano",
                                          root + "/tests/families/smolvlm/checkpoint",
                                          root + "/tests/families/smolvlm2/checkpoint",
                                          gemma3,
                                          root + "/tests/families/gemma3_text/checkpoint",
                                          root + "/tests/families/paligemma/checkpoint",
                                          root + "/tests/families/paligemma2/checkpoint"};

std::unique_ptr<Model> opened(const std::string& folder, Dtype dtype = Dtype::bf16, bool weights = false) {
  LoadOptions options;
  options.dtype = dtype;
  options.weights = weights;
  return load_model(folder, options);
}

NetworkPlan plan_of(const Model& model) { return plan_network(model.family(), model.files(), model.weight_type()); }

MemoryLimits leaving(std::uint64_t bytes) {
  MemoryLimits limits;
  limits.cgroup = bytes;
  return limits;
}

std::string refusal(const NetworkPlan& network, const RunSize& run, std::uint64_t available,
                    const std::optional<NetworkPlan>& smaller = {}) {
  try {
    admit(network, run, leaving(available), [&] { return smaller; });
    return "";
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::out_of_memory);
    return error.message();
  }
}

}  // namespace

TEST_CASE("a plan counts to the byte what the loaded model's matrices hold") {
  for (const std::string& folder : folders)
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::q4}) {
      CAPTURE(folder);
      CAPTURE(name(dtype));
      const auto model = opened(folder, dtype, true);
      const NetworkPlan plan = plan_of(*model);
      CHECK(plan.packed_bytes == model->weights().packed_bytes());
      CHECK(plan.tensor_bytes > 0);
      CHECK(plan.block_bytes >= plan.packed_bytes + plan.tensor_bytes);
    }
}

TEST_CASE("loading takes from the arena what the plan says the blocks are") {
  for (const std::string& folder : folders) {
    CAPTURE(folder);
    ExecContext context(1);
    const ExecContext::Scope scope(context);
    const auto model = opened(folder, Dtype::bf16, true);
    CHECK(static_cast<Dim>(context.arena()->stats().in_use_bytes) == plan_of(*model).block_bytes);
  }
}

TEST_CASE("a plan reads nothing: it takes no memory from the arena") {
  const auto model = opened(folders[0]);
  ExecContext context(1);
  const ExecContext::Scope scope(context);
  plan_of(*model);
  CHECK(context.arena()->stats().peak_bytes == 0);
}

TEST_CASE("the shape's count of weights is that of the tensors") {
  for (const std::string& folder : folders) {
    CAPTURE(folder);
    const auto model = opened(folder);
    Dim text = 0, vision = 0, connector = 0;
    for (const auto& entry : Weights::open(folder).entries()) {
      if (entry.shape.size() != 2) continue;
      const auto has = [&](const char* part) { return entry.name.find(part) != std::string::npos; };
      Dim& sum = has(".encoder.layers.")                                      ? vision
                 : has(".layers.") || entry.name.starts_with("model.layers.") ? text
                                                                              : connector;
      if (&sum == &connector && !has("connector") && !has("multi_modal_projector")) continue;
      sum += entry.shape[0] * entry.shape[1];
    }
    const NetworkShape shape = plan_of(*model).shape;
    CHECK(shape.text.weights() == text);
    CHECK(shape.vision.weights() == vision);
    CHECK(shape.connector_weights == connector);
  }
}

TEST_CASE("the planned cache is the blocks of a session's cache") {
  const auto model = opened(folders[0], Dtype::bf16, true);
  const NetworkPlan network = plan_of(*model);
  RunSize run{.prompts = {{100, {}}}, .max_tokens = 40, .context = 0, .sequences = 1};
  KvCache cache(network.kv, network.cache_type, network.context);
  cache.reserve(140);
  const auto block = [](Dim bytes) { return static_cast<Dim>(Arena::block_bytes(static_cast<std::size_t>(bytes))); };
  CHECK(plan_memory(network, run, 0).cache == block(cache.bytes()));
  run.prompts.push_back({120, {}});  // 160 rows: it doubles, and the old rows are held while they are copied
  const Dim before = block(cache.bytes());
  cache.reserve(160);
  CHECK(plan_memory(network, run, 0).cache == before + block(cache.bytes()));
}

TEST_CASE("the planned cache of windowed layers is the blocks that a cache takes from the arena") {
  const NetworkPlan network = plan_of(*opened(gemma3));
  REQUIRE(network.kv.windowed_layers() == 3);
  for (const Dim rows : {100, 1000, 5000}) {
    CAPTURE(rows);
    ExecContext context(1);
    const ExecContext::Scope scope(context);
    KvCache cache(network.kv, network.cache_type, network.context);
    cache.reserve(rows);
    const RunSize run{.prompts = {{rows - 10, {}}}, .max_tokens = 10, .context = 0, .sequences = 1};
    CHECK(plan_memory(network, run, 0).cache == static_cast<Dim>(context.arena()->stats().in_use_bytes));
    CHECK(network.cache_bytes(rows) == cache.bytes());
  }
  {
    ExecContext context(1);
    const ExecContext::Scope scope(context);
    KvCache cache(network.kv, network.cache_type, network.context);
    cache.expect(300, 5000);
    CHECK(cache.bytes() == network.cache_bytes(428));
    cache.reserve(429);  // the answer is longer than most
    CHECK(cache.bytes() == network.cache_bytes(5000));
    const RunSize run{.prompts = {{300, {}}}, .max_tokens = 4700, .context = 0, .sequences = 1};
    CHECK(plan_memory(network, run, 0).cache == static_cast<Dim>(context.arena()->stats().peak_bytes));
  }
  const Dim one_layer = 2 * 100'000 * network.kv.row_elements() * 2;
  CHECK(10 * network.cache_bytes(100'000) < 11 * one_layer);  // of four
}

TEST_CASE("a prompt that is read whole takes working memory for all its rows") {
  const NetworkPlan network = plan_of(*opened(folders.back()));
  const auto scratch = [&](Dim tokens) {
    return plan_memory(network, {.prompts = {{tokens, {}}}, .max_tokens = 1, .context = 0, .sequences = 1}, 0).scratch;
  };
  CHECK(scratch(4000) > 4 * scratch(500));
}

TEST_CASE("a run that does not fit is refused with the numbers and what would fit") {
  const auto model = opened(folders[0], Dtype::f32);
  const NetworkPlan network = plan_of(*model);
  const RunSize run{.prompts = {{300, {}}}, .max_tokens = 500, .context = 0, .sequences = 4};
  const MemoryPlan plan = plan_memory(network, run, 1000);
  CHECK(plan.total() == plan.needed() + 1000);
  const auto needed = static_cast<std::uint64_t>(plan.needed());
  CHECK(refusal(network, run, needed) == "");
  const std::string message = refusal(network, run, needed - 1);
  for (const std::string& part :
       {human_bytes(static_cast<double>(needed)), human_bytes(static_cast<double>(plan.weights)),
        std::string("the cgroup's memory limit"), std::string("--batch 3"), std::string("--max-tokens")}) {
    CAPTURE(part);
    CHECK(message.find(part) != std::string::npos);
  }
  const NetworkPlan smaller = plan_network(model->family(), model->files(), WeightType::q4);
  CHECK(smaller.block_bytes < network.block_bytes);
  CHECK(refusal(network, run, needed - 1, smaller).find("--dtype q4") != std::string::npos);
  CHECK(refusal(network, run, 1000).find("a smaller model or more memory") != std::string::npos);
}

TEST_CASE("the longest answer that a refusal names fits and one token more does not") {
  const auto model = opened(folders[0]);
  NetworkPlan network = plan_of(*model);
  network.context = 10'000'000;
  RunSize run{.prompts = {{300, {}}}, .max_tokens = 5'000'000, .context = 0, .sequences = 1};
  constexpr std::uint64_t available = 300'000'000;
  const std::string message = refusal(network, run, available), flag = "--max-tokens ";
  const std::size_t at = message.find(flag);
  REQUIRE(at != std::string::npos);
  run.max_tokens = std::stol(message.substr(at + flag.size()));
  CHECK(run.max_tokens > 1000);
  CHECK(refusal(network, run, available) == "");
  ++run.max_tokens;
  CHECK(refusal(network, run, available) != "");
}

TEST_CASE("sequences at once are as many as a quarter of what weights leave has caches for") {
  const NetworkPlan network = plan_of(*opened(folders[0]));
  constexpr Dim rows = 1000;
  const auto weights = static_cast<std::uint64_t>(network.block_bytes);
  const auto cache = static_cast<std::uint64_t>(network.cache_bytes(rows));
  const auto count = [&](std::uint64_t available) { return default_sequences(network, 50, rows, leaving(available)); };
  CHECK(count(0) == 1);
  CHECK(count(weights) == 1);
  CHECK(count(weights + 12 * cache) == 3);
  CHECK(count(weights + 12 * cache - 1) == 2);
  CHECK(count(weights + 1000 * cache) == 16);
}

TEST_CASE("loading asks for admission before it reads a weight") {
  LoadOptions options;
  Dim in_use = -1;
  options.admit = [&](const Model& model) {
    in_use = static_cast<Dim>(ExecContext::current().arena()->stats().in_use_bytes);
    CHECK(plan_of(model).block_bytes > 0);
    fail(ErrorCode::out_of_memory, "no");
  };
  ExecContext context(1);
  const ExecContext::Scope scope(context);
  CHECK_THROWS_WITH_AS(load_model(folders[0], options), "no", Error);
  CHECK(in_use == 0);
}
