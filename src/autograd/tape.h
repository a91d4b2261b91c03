// The tape: while one is active on this thread, operations record their vector-Jacobian products; otherwise it costs a
// null check.
//   Tape tape;
//   Tape::watch(weight);
//   const Tensor loss = …;
//   tape.backward(loss);
//   const Tensor step = tape.grad(weight);
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace tap {

// Recording lasts as long as the object lives; the second of the library's two thread-locals. The graph dies with the
// tape.
class Tape {
 public:
  Tape();
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  // Marks a leaf whose gradient is wanted; its gradient starts anew. Copies and reshapes of `leaf` made later share it.
  static void watch(Tensor& leaf);
  // d(sum of y * seed)/d(leaf) for every watched leaf that y depends on; seed has y's shape (undefined: ones).
  // Gradients of several calls add up. Throws when y was not recorded.
  void backward(const Tensor& y, const Tensor& seed = {});
  // The gradient of a watched leaf after backward: same shape, zeros when y does not depend on it. Throws when it is
  // not watched.
  Tensor grad(const Tensor& leaf) const;
  static Tape* active();

 private:
  friend struct TapeAccess;
  Tape* previous_;
  std::vector<std::shared_ptr<GradNode>> nodes_;  // in the order of recording: inputs stand before their results
};

namespace tape {

// True when a tape is active and any of the tensors carries or wants a gradient.
bool wants(std::initializer_list<const Tensor*> inputs);
// Links y to its inputs. vjp(dy) gives one gradient per input (undefined where an input wants none), dy in y's shape
// now.
using Vjp = std::function<std::vector<Tensor>(const Tensor& dy)>;
void record(Tensor& y, std::initializer_list<const Tensor*> inputs, Vjp vjp);
void record(Tensor& y, std::span<const Tensor* const> inputs, Vjp vjp);
// The same values without the link: constants, and what a vjp keeps of its own result.
Tensor detach(const Tensor& x);

}  // namespace tape

}  // namespace tap
