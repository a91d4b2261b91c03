#include "kernels/isa.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>

#include <fmt/format.h>
#include <hwy/targets.h>

#include "base/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace tap {

namespace {

constexpr std::array all_isas{Isa::scalar,      Isa::sse4,        Isa::avx2, Isa::avx512,
                              Isa::avx512_vnni, Isa::avx512_bf16, Isa::amx};

#if defined(__x86_64__)
// Tiles, bf16 and int8 products, and an operating system that saves the tile registers (XCR0 bits 17 and 18).
bool cpu_has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned tile = 1u << 24, bf16 = 1u << 22, int8 = 1u << 25;
  if ((d & (tile | bf16 | int8)) != (tile | bf16 | int8)) return false;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27))) return false;  // OSXSAVE: xgetbv may be used
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & (3u << 17)) == (3u << 17);
}

bool cpu_has(Isa isa) {
  switch (isa) {
    case Isa::scalar: return true;
    case Isa::sse4: return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3");
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
             __builtin_cpu_supports("bmi2");
    case Isa::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512cd");
    case Isa::avx512_vnni: return __builtin_cpu_supports("avx512vnni");
    case Isa::avx512_bf16: return __builtin_cpu_supports("avx512bf16");
    case Isa::amx: return cpu_has_amx();
  }
  return false;
}
#else
bool cpu_has(Isa isa) { return isa == Isa::scalar; }
#endif

std::int64_t highway_targets(Isa isa) {
  std::int64_t targets = 0;
  if (isa >= Isa::sse4) targets |= HWY_SSSE3 | HWY_SSE4;
  if (isa >= Isa::avx2) targets |= HWY_AVX2;
  if (isa >= Isa::avx512) targets |= HWY_AVX3 | HWY_AVX3_DL;
  return targets;
}

// Highway keeps its baseline when all else is off, and asks again at the next dispatch.
void cap_highway(Isa isa) {
#if defined(__x86_64__)
  hwy::DisableTargets((HWY_SSSE3 | HWY_SSE4 | HWY_AVX2 | HWY_AVX3 | HWY_AVX3_DL) & ~highway_targets(isa));
#else
  (void)isa;
#endif
}

Isa from_environment() {
  const Isa isa = choose_isa(std::getenv("TAPETUM_ISA"));
  cap_highway(isa);
  return isa;
}

Isa cap() {
  static const Isa isa = from_environment();
  return isa;
}

std::atomic<int> scoped{-1};  // level of the innermost IsaScope, -1: none

}  // namespace

std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::scalar: return "scalar";
    case Isa::sse4: return "sse4";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::avx512_vnni: return "avx512_vnni";
    case Isa::avx512_bf16: return "avx512_bf16";
    case Isa::amx: return "amx";
  }
  return "?";
}

std::optional<Isa> isa_named(std::string_view wanted) {
  for (const Isa isa : all_isas)
    if (name(isa) == wanted) return isa;
  return std::nullopt;
}

std::vector<Isa> present_isas() {
  std::vector<Isa> present;
  for (const Isa isa : all_isas) {
    if (!cpu_has(isa)) break;  // each level includes those before it
    present.push_back(isa);
  }
  return present;
}

Isa choose_isa(const char* wanted) {
  const std::vector<Isa> present = present_isas();
  if (!wanted || !*wanted) return present.back();
  const auto named = isa_named(wanted);
  if (named && std::find(present.begin(), present.end(), *named) != present.end()) return *named;
  std::string list;
  for (const Isa isa : present) list += fmt::format("{}{}", list.empty() ? "" : ", ", name(isa));
  throw Error(ErrorCode::usage,
              fmt::format("TAPETUM_ISA={}: {}; this CPU has {}", wanted,
                          named ? "not on this CPU" : "no such instruction set", list),
              "TAPETUM_ISA");
}

std::vector<Isa> usable_isas() {
  std::vector<Isa> usable = present_isas();
  while (usable.back() > cap()) usable.pop_back();
  return usable;
}

Isa active_isa() {
  const Isa most = cap();
  const int level = scoped.load(std::memory_order_relaxed);
  return level < 0 ? most : static_cast<Isa>(level);
}

std::string describe_isa() {
  const Isa isa = active_isa();
  return isa >= Isa::avx2 ? std::string(name(isa)) : fmt::format("{} (portable kernels; slow: no AVX2)", name(isa));
}

IsaScope::IsaScope(Isa isa) : previous_(active_isa()) {
  if (isa > cap() || !cpu_has(isa)) fail(ErrorCode::usage, "instruction set {} is not usable here", name(isa));
  scoped = static_cast<int>(isa);
  cap_highway(isa);
}

IsaScope::~IsaScope() {
  scoped = static_cast<int>(previous_);
  cap_highway(previous_);
}

}  // namespace tap
