// Tiles of products with packed weights in AVX-512 intrinsics: Highway 1.0.3 has neither bf16 nor int8 dot products.
// Call only when active_isa() says so. Layouts: kernels/pack.h.
#pragma once

#include <cstdint>

#include "base/dim.h"

namespace tap::kernels {

// c[rows, 64] = a[rows, k] · panelᵀ, one panel of 64 outputs. Each output's sum runs over k in order whatever `rows`
// is, so a row's result does not depend on its batch. `lda` in elements.
void tile_f32_avx512(const float* a, Dim lda, Dim rows, const float* panel, Dim k, float* c);  // avx512
void tile_bf16_avx512(const std::uint16_t* a, Dim lda, Dim rows, const std::uint16_t* panel, Dim k,
                      float* c);  // avx512_bf16; k even
void tile_q8_avx512(const std::uint8_t* a, Dim lda, Dim rows, const std::int8_t* panel, Dim k,
                    std::int32_t* c);  // avx512_vnni; k % 4 = 0
// a: int8 in groups of 32 with scale and scaled sum per (row, group), [rows, groups] each; see pack.h for the sum it
// computes.
void tile_q4_avx512(const std::int8_t* a, Dim lda, const float* scale, const float* sum, Dim rows,
                    const std::uint8_t* panel, Dim groups, float* c);  // avx512_vnni

}  // namespace tap::kernels
