// The feed-forward parts of transformers, by panels of rows, so that the wide intermediate is never stored whole.
#pragma once

#include "ops/linear.h"

namespace tap::ops {

struct MlpBiases {
  Tensor gate = {}, up = {},
         down = {};  // each undefined or as wide as its weight's output; mlp() uses up (fc1) and down (fc2)
};

// down(act(gate(x)) * up(x)) (+ residual). x: [..., d] to [..., d]. Under a tape: the composed operations.
Tensor gated_mlp(const Tensor& x, const PackedMatrix& gate, const PackedMatrix& up, const PackedMatrix& down,
                 Activation activation, const Tensor& residual = {}, const MlpBiases& biases = {});

// fc2(act(fc1(x))) (+ residual).
Tensor mlp(const Tensor& x, const PackedMatrix& fc1, const PackedMatrix& fc2, Activation activation,
           const Tensor& residual = {}, const MlpBiases& biases = {});

}  // namespace tap::ops
