// Compares the tape's gradients with central differences; for tests.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace tap {

struct GradientCheck {
  double worst = 0;   // largest |tape - difference| / max(1, |difference|) of all elements of all inputs
  std::string where;  // "input 1 element 7: tape 0.25, difference 0.5"
};

// fn must be a pure function of its inputs (f32). The sum of fn's elements, each times a weight of its own, is
// differentiated: by the tape, and by the fourth-order central difference (f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12 h
// summed in double. With h = 0.01 and values about 1, f32 leaves an error of about 1e-4.
GradientCheck check_gradients(const std::function<Tensor(std::span<const Tensor>)>& fn, std::vector<Tensor> inputs,
                              double step = 0.01);

}  // namespace tap
