// What a PackedMatrix holds: for kernels and ops only.
#pragma once

#include "kernels/pack.h"
#include "tensor/packed_matrix.h"

namespace tap {

struct PackedMatrix::Data {
  WeightType type = WeightType::f32;
  Dim in = 0, out = 0;
  kernels::Pack pack = kernels::Pack::f32;  // layout of `panels`
  std::shared_ptr<Storage> panels;          // [panel_count] panels
  std::shared_ptr<Storage> scales;          // q8: [out up to 64] f32, then as many i32 column sums
  // dense only: the row-major f32 master [out, in] that a trainer watches and updates, and the pack of its transpose
  // (for dx).
  Tensor master;
  std::shared_ptr<Storage> transposed;

  kernels::PackView view() const {
    const Dim padded = round_up(out, kernels::panel_outputs);
    const auto* scale = scales ? reinterpret_cast<const float*>(scales->data()) : nullptr;
    return {pack,           in,    out,
            panels->data(), scale, scale ? reinterpret_cast<const std::int32_t*>(scale + padded) : nullptr};
  }
  kernels::PackView transposed_view() const { return {pack, out, in, transposed->data(), nullptr, nullptr}; }
};

// Packs the master of a dense matrix anew, in `pack` (f32 or bf16): after each step of a trainer.
void refresh_dense(PackedMatrix::Data& data);

}  // namespace tap
