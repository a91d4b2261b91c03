#include "autograd/finite_difference.h"

#include <cmath>

#include "autograd/tape.h"
#include "base/rng.h"

namespace tap {

GradientCheck check_gradients(const std::function<Tensor(std::span<const Tensor>)>& fn, std::vector<Tensor> inputs,
                              double step) {
  Tensor weights;
  std::vector<Tensor> grads;
  {
    Tape tape;
    for (Tensor& input : inputs) Tape::watch(input);
    const Tensor y = fn(inputs);
    weights = Tensor::empty(y.shape());
    Rng rng(7);
    for (Dim i = 0; i < weights.elements(); ++i) weights.write<float>()[i] = static_cast<float>(rng.uniform() * 2 - 1);
    tape.backward(y, weights);
    for (const Tensor& input : inputs) grads.push_back(tape.grad(input));
  }
  const auto value = [&] {
    const Tensor y = fn(inputs);
    double sum = 0;
    for (Dim i = 0; i < y.elements(); ++i)
      sum += static_cast<double>(y.data<float>()[i]) * static_cast<double>(weights.data<float>()[i]);
    return sum;
  };
  GradientCheck check;
  for (std::size_t n = 0; n < inputs.size(); ++n) {
    inputs[n] = inputs[n].clone();  // the caller's values stay as they are
    for (Dim i = 0; i < inputs[n].elements(); ++i) {
      float& x = inputs[n].write<float>()[i];
      const float kept = x;
      double taken = 0;  // the step that f32 really makes
      const auto at = [&](double distance) {
        x = static_cast<float>(static_cast<double>(kept) + distance);
        taken = static_cast<double>(x) - static_cast<double>(kept);
        return value();
      };
      const double far = at(2 * step) - at(-2 * step), near = at(step) - at(-step);
      x = kept;
      const double difference = (8 * near - far) / (12 * std::abs(taken)),
                   tape = static_cast<double>(grads[n].data<float>()[i]);
      const double off = std::abs(tape - difference) / std::max(1.0, std::abs(difference));
      if (off <= check.worst) continue;
      check.worst = off;
      check.where = fmt::format("input {} element {}: tape {:.6g}, difference {:.6g}", n, i, tape, difference);
      if (!(off >= 0)) check.worst = INFINITY;  // NaN
    }
  }
  return check;
}

}  // namespace tap
