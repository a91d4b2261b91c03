// Speed and memory of a loaded model, as fractions of what this machine can do: the product peak of the arithmetic
// used, and read bandwidth, measured in the same run. Operations are counted from the network's shape.
#pragma once

#include <functional>
#include <string>

#include "io/json.h"
#include "runtime/model.h"

namespace tap {

std::string cpu_name();  // "model name" of /proc/cpuinfo

// {machine, model, dtype, load_ms, encode, prefill, decode, ttft_ms, vmhwm_mb}; points that the context has
// no room for are left out, or null. `stage` hears what is measured next. The current ExecContext's threads; can be
// cancelled.
Json benchmark(const Model& model, const std::function<void(std::string_view)>& stage);

// Where the time goes: [{stage, ms, other_ms, operations: [{operation, calls, ms, limit, fraction}]}], the slowest
// operation first. `fraction`: of the limit that bounds it, the peak of products or the speed of reading; `other_ms`:
// outside any operation. Not to be compared with `benchmark`: reading the clock takes time too.
Json profile(const Model& model, const std::function<void(std::string_view)>& stage);

}  // namespace tap
