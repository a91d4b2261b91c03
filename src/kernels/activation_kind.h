// The activation functions that products and element-wise kernels know.
#pragma once

#include <cstdint>

namespace tap::kernels {

enum class Activation : std::uint8_t { none, gelu_tanh, gelu_erf, quick_gelu, silu };

}  // namespace tap::kernels
