#include "autograd/tape.h"

namespace tap {

// A reshaped tensor shares its node, so gradients are kept in the node's own shape.
struct GradNode {
  Shape shape;
  std::vector<std::shared_ptr<GradNode>> inputs;  // null where an input wants no gradient
  tape::Vjp vjp;                                  // empty for a leaf
  Tensor grad;                                    // undefined until something flows in
};

struct TapeAccess {
  static void keep(Tape& tape, std::shared_ptr<GradNode> node) { tape.nodes_.push_back(std::move(node)); }
};

namespace {

thread_local Tape* innermost = nullptr;

// Nothing is recorded while gradients are computed.
class Paused {
 public:
  Paused() : saved_(innermost) { innermost = nullptr; }
  ~Paused() { innermost = saved_; }
  Paused(const Paused&) = delete;
  Paused& operator=(const Paused&) = delete;

 private:
  Tape* saved_;
};

// The first gradient is kept as it is (a vjp may hand the same tensor to two inputs), the second makes a tensor of our
// own.
void accumulate(GradNode& node, const Tensor& grad) {
  if (grad.elements() != node.shape.elements())
    fail(ErrorCode::internal, "backward: a gradient is {}, must be {}", grad.shape().to_string(),
         node.shape.to_string());
  if (!node.grad.defined()) {
    node.grad = tape::detach(grad).reshape(node.shape);
    return;
  }
  const Tensor& old = node.grad;
  Tensor sum = Tensor::empty(node.shape);
  const float *a = old.data<float>(), *b = grad.data<float>();
  float* out = sum.write<float>();
  for (Dim i = 0, n = sum.elements(); i < n; ++i) out[i] = a[i] + b[i];
  node.grad = std::move(sum);
}

}  // namespace

Tape::Tape() : previous_(innermost) { innermost = this; }

// Results before inputs, so that no chain of destructors grows with the depth of the graph, and no cycle survives.
Tape::~Tape() {
  innermost = previous_;
  for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) {
    (*node)->vjp = nullptr;
    (*node)->inputs.clear();
    node->reset();
  }
}

Tape* Tape::active() { return innermost; }

void Tape::watch(Tensor& leaf) {
  if (leaf.dtype() != DType::f32)
    fail(ErrorCode::internal, "watch: {} has no gradient, must be f32", name(leaf.dtype()));
  auto node = std::make_shared<GradNode>();
  node->shape = leaf.shape();
  leaf.set_grad_node(std::move(node));
}

void Tape::backward(const Tensor& y, const Tensor& seed) {
  const std::shared_ptr<GradNode>& root = y.grad_node();
  if (!root) fail(ErrorCode::internal, "backward: {} depends on no watched tensor", y.shape().to_string());
  if (seed.defined()) require_shape("backward", "seed", seed, y.shape());
  const Paused paused;
  accumulate(*root, seed.defined() ? seed : Tensor::full(y.shape(), 1.0f));
  for (auto it = nodes_.rbegin(); it != nodes_.rend(); ++it) {
    GradNode& node = **it;
    if (!node.grad.defined()) continue;
    const Tensor dy = std::exchange(node.grad, Tensor());  // between two calls only leaves hold gradients
    const std::vector<Tensor> grads = node.vjp(dy);
    TAP_ASSERT(grads.size() == node.inputs.size());
    for (std::size_t i = 0; i < grads.size(); ++i)
      if (node.inputs[i] && grads[i].defined()) accumulate(*node.inputs[i], grads[i]);
  }
}

Tensor Tape::grad(const Tensor& leaf) const {
  if (!leaf.grad_node()) fail(ErrorCode::internal, "grad: {} is not watched", leaf.shape().to_string());
  const GradNode& node = *leaf.grad_node();
  return node.grad.defined() ? node.grad.reshape(leaf.shape()) : Tensor::zeros(leaf.shape());
}

namespace tape {

bool wants(std::initializer_list<const Tensor*> inputs) {
  if (!innermost) return false;
  for (const Tensor* input : inputs)
    if (input->grad_node()) return true;
  return false;
}

void record(Tensor& y, std::span<const Tensor* const> inputs, Vjp vjp) {
  TAP_ASSERT(innermost != nullptr);
  auto node = std::make_shared<GradNode>();
  node->shape = y.shape();
  for (const Tensor* input : inputs) node->inputs.push_back(input->grad_node());
  node->vjp = std::move(vjp);
  y.set_grad_node(node);
  TapeAccess::keep(*innermost, std::move(node));
}

void record(Tensor& y, std::initializer_list<const Tensor*> inputs, Vjp vjp) {
  record(y, std::span<const Tensor* const>(inputs.begin(), inputs.size()), std::move(vjp));
}

Tensor detach(const Tensor& x) {
  Tensor t = x;
  t.set_grad_node(nullptr);
  return t;
}

}  // namespace tape

}  // namespace tap
