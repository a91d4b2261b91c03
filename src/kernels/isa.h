// Which instructions the kernels may use: asked once, capped by TAPETUM_ISA.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tap {

enum class Isa : std::uint8_t {
  scalar,
  sse4,
  avx2,
  avx512,
  avx512_vnni,
  avx512_bf16,
  amx
};  // each includes those before it

std::string_view name(Isa isa);
std::optional<Isa> isa_named(std::string_view name);

// The active level: the best of this CPU, or what TAPETUM_ISA names. Throws Error(usage) when the name is unknown or
// the CPU lacks it. Fixed at first use; it also caps Highway's dispatch from then on and oneDNN before its first use
// (kernels/product_onednn.cpp). A program calls it first thing, so that nothing runs uncapped and a wrong name is
// reported at once.
Isa active_isa();

// What TAPETUM_ISA=wanted means here; null or empty: the best. Throws as active_isa does.
Isa choose_isa(const char* wanted);

std::vector<Isa> present_isas();  // all levels of this CPU, lowest first
std::vector<Isa> usable_isas();   // those up to the cap, lowest first: what a test loops over
std::string describe_isa();       // one line for -v: "avx512_bf16", "sse4 (portable kernels; slow: no AVX2)"

// Lowers our own kernels and Highway to `isa` while it lives: for tests, one at a time, while no kernel runs. Throws
// Error(usage) for a level that is not usable.
class IsaScope {
 public:
  explicit IsaScope(Isa isa);
  ~IsaScope();
  IsaScope(const IsaScope&) = delete;
  IsaScope& operator=(const IsaScope&) = delete;

 private:
  Isa previous_;
};

}  // namespace tap
