// The tape: while one is active on this thread, operations record their vector-Jacobian products; otherwise it costs a null check.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace tap {

// Recording lasts as long as the object lives; the second of the library's two thread-locals.
class Tape {
 public:
  Tape();
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  // Marks a leaf whose gradient is wanted.
  static void watch(Tensor& leaf);
  // d(sum of y * seed)/d(leaf) for every watched leaf that y depends on; seed has y's shape (undefined: ones).
  void backward(const Tensor& y, const Tensor& seed = {});
  // The gradient of a watched leaf after backward: same shape, zeros when y does not depend on it.
  Tensor grad(const Tensor& leaf) const;
  static Tape* active();

 private:
  Tape* previous_;
};

namespace tape {

// True when a tape is active and any of the tensors carries or wants a gradient.
bool wants(std::initializer_list<const Tensor*> inputs);
// Links y to its inputs. vjp(dy) gives one gradient per input (undefined where an input wants none).
using Vjp = std::function<std::vector<Tensor>(const Tensor& dy)>;
void record(Tensor& y, std::initializer_list<const Tensor*> inputs, Vjp vjp);

}  // namespace tape

}  // namespace tap
