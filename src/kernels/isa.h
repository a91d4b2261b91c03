// Which instructions the kernels may use: asked once, capped by TAPETUM_ISA.
#pragma once

#include <string_view>
#include <vector>

namespace tap {

enum class Isa { scalar, sse4, avx2, avx512, avx512_vnni, avx512_bf16, amx };  // each includes those before it

std::string_view name(Isa isa);

// The active level: the best of this CPU, or what TAPETUM_ISA names. Throws Error(usage) when the name is unknown or the CPU lacks
// it. Fixed at first use; it also caps oneDNN (dnnl::set_max_cpu_isa) and Highway before their first use.
Isa active_isa();

std::vector<Isa> present_isas();  // all levels of this CPU, lowest first

}  // namespace tap
