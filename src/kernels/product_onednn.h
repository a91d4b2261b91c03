// oneDNN 2.6 products over our packed weights, with fixed layouts: the door to AMX, and a second opinion in tests and
// benchmarks. Nothing of oneDNN is touched before the first call that needs it.
#pragma once

#include <string>

#include "kernels/isa.h"
#include "kernels/product.h"

namespace tap::kernels {

// Does oneDNN have a fast kernel for these weights at this level? (AVX-512 and up; bf16 and q8 need their instructions;
// q4 never.)
bool onednn_can(Pack type, Isa isa);
// Is it the faster choice for so many rows?
bool onednn_wins(Pack type, Dim rows, Isa isa);

// The whole product; false when oneDNN has no kernel for it here (nothing was written then).
bool product_onednn(const Operand& a, const PackView& w, const Finish& finish);

// oneDNN's name of the kernel for so many rows ("brg:avx512_core_bf16"), empty when it has none.
std::string onednn_kernel_name(const PackView& w, Dim rows);

}  // namespace tap::kernels
