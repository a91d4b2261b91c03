#include "runtime/benchmark.h"

#include <algorithm>
#include <fstream>

#include "base/memory.h"
#include "base/profile.h"
#include "kernels/machine_limits.h"
#include "runtime/memory_plan.h"
#include "runtime/workload.h"

namespace tap {

namespace {

constexpr Dim decode_steps = 16;
constexpr double mebibyte = 1048576;

double peak_gops(const MachineLimits& limits, WeightType type) {
  return type == WeightType::f32 ? limits.f32_gops : type == WeightType::bf16 ? limits.bf16_gops : limits.int8_gops;
}

// The least of what `seconds` gives in at least `runs` calls and at least so long in all.
template <class Fn>
double least(Fn&& seconds, int runs, double in_all) {
  double best = 1e30, sum = 0;
  for (int i = 0; i < runs || sum < in_all; ++i) {
    ExecContext::current().checkpoint();
    const double s = seconds();
    best = std::min(best, s);
    sum += s;
  }
  return best;
}

}  // namespace

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name") && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  return "unknown";
}

Json benchmark(const Model& model, const std::function<void(std::string_view)>& stage) {
  const WeightType type = model.weight_type();
  const NetworkPlan counts = plan_network(model.family(), model.files(), type);
  const Dim context = model.context();
  const int threads = ExecContext::current().threads();
  Json json = {{"machine", nullptr},         {"model", model.name()}, {"dtype", name(type)},
               {"load_ms", model.load_ms()}, {"encode", nullptr},     {"prefill", Json::array()},
               {"decode", Json::array()},    {"ttft_ms", nullptr},    {"vmhwm_mb", nullptr}};

  Workload work(model);
  if (!work.sees() || model.processor().plan(work.plan().tile.width, work.plan().tile.height).tokens + 64 < context) {
    stage("the first answer");
    json["ttft_ms"] = work.first_token_s() * 1e3;
    json["vmhwm_mb"] = static_cast<double>(peak_resident_bytes()) / mebibyte;
  }

  stage("the machine's limits");
  const MachineLimits limits = measure_limits(threads);
  const double peak = 1e9 * peak_gops(limits, type);
  json["machine"] = {{"cpu", cpu_name()},
                     {"threads", threads},
                     {"peak_gops", {{"f32", limits.f32_gops}, {"bf16", limits.bf16_gops}, {"int8", limits.int8_gops}}},
                     {"read_gbps", limits.read_gbs}};

  if (work.sees()) {
    stage("encode");
    work.encode_s();
    const double s = least([&] { return work.encode_s(); }, 5, 2.0);
    json["encode"] = {{"tile_px", work.plan().tile.width},
                      {"tokens", work.plan().tokens},
                      {"ms", s * 1e3},
                      {"fraction", counts.encode_operations(work.plan()) / s / peak}};
  }
  for (const Dim tokens : {Dim{512}, Dim{1024}}) {
    if (tokens > context) continue;
    stage(fmt::format("prefill of {} tokens", tokens));
    work.prefill_s(tokens);
    const double s = least([&] { return work.prefill_s(tokens); }, 3, 1.0);
    json["prefill"].push_back({{"tokens", tokens},
                               {"tps", static_cast<double>(tokens) / s},
                               {"fraction", counts.prefill_operations(tokens) / s / peak}});
  }
  for (const Dim at : {Dim{200}, Dim{1000}}) {
    if (at + decode_steps > context) continue;
    stage(fmt::format("decode at context {}", at));
    work.decode_s(at, decode_steps);
    const double s = least([&] { return work.decode_s(at, decode_steps); }, 5, 1.0 / decode_steps);
    json["decode"].push_back(
        {{"context", at},
         {"tps", 1 / s},
         {"fraction", limits.read_gbs > 0 ? counts.decode_bytes(at) / s / 1e9 / limits.read_gbs : 0}});
  }
  return json;
}

Json profile(const Model& model, const std::function<void(std::string_view)>& stage) {
  ExecContext& context = ExecContext::current();
  stage("the machine's limits");
  const MachineLimits limits = measure_limits(context.threads());
  const double peak = 1e9 * peak_gops(limits, model.weight_type()), reading = 1e9 * limits.read_gbs;
  Workload work(model);
  Json json = Json::array();
  const auto measure = [&](const std::string& what, auto run) {
    stage(what);
    run();  // what the first pass allocates and reads is not of interest
    Profile profile;
    context.set_profile(&profile);
    const double s = run();
    context.set_profile(nullptr);
    Json operations = Json::array();
    double named = 0;
    for (const auto& [label, entry] : profile.entries()) {
      named += entry.ms;
      // The nearer of the two limits: what the operation would take at the peak or at the speed of memory.
      const double at_peak = entry.operations / peak, at_reading = reading > 0 ? entry.bytes / reading : 0;
      operations.push_back({{"operation", label},
                            {"calls", entry.calls},
                            {"ms", entry.ms},
                            {"limit", at_peak > at_reading ? "products" : "reading"},
                            {"fraction", std::max(at_peak, at_reading) / (entry.ms / 1e3)}});
    }
    std::stable_sort(operations.begin(), operations.end(),
                     [](const Json& a, const Json& b) { return a["ms"].get<double>() > b["ms"].get<double>(); });
    json.push_back({{"stage", what}, {"ms", s * 1e3}, {"other_ms", s * 1e3 - named}, {"operations", operations}});
  };
  if (work.sees()) measure("encode", [&] { return work.encode_s(); });
  if (model.context() >= 512) measure("prefill of 512 tokens", [&] { return work.prefill_s(512); });
  for (const Dim at : {Dim{200}, Dim{1000}})
    if (at + decode_steps <= model.context())
      measure(fmt::format("{} tokens decoded at context {}", decode_steps, at),
              [&] { return work.decode_s(at, decode_steps) * static_cast<double>(decode_steps); });
  return json;
}

}  // namespace tap
