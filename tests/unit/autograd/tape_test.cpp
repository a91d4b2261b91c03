#include "autograd/tape.h"

#include <doctest/doctest.h>

#include "ops/ops.h"
#include "support/op_case.h"

using namespace tap;

TEST_CASE("nothing is recorded without a tape or without a watched input") {
  Tensor x = test::random({4}, 1);
  CHECK(Tape::active() == nullptr);
  CHECK_FALSE(tape::wants({&x}));
  Tape tape;
  CHECK(Tape::active() == &tape);
  CHECK_FALSE(tape::wants({&x}));
  CHECK(ops::add(x, x).grad_node() == nullptr);
  Tape::watch(x);
  CHECK(tape::wants({&x}));
  CHECK(ops::add(x, x).grad_node() != nullptr);
}

TEST_CASE("gradients of every use of a tensor add up and so do those of two backward calls") {
  Tensor x = Tensor::full({3}, 2.0f);
  Tape tape;
  Tape::watch(x);
  const Tensor y = ops::add(ops::multiply(x, x), ops::scale(x, 5));  // x² + 5x: 2x + 5
  tape.backward(y);
  CHECK(tape.grad(x).data<float>()[1] == 9.0f);
  tape.backward(y, Tensor::full({3}, 10.0f));
  CHECK(tape.grad(x).data<float>()[1] == 99.0f);
  Tape::watch(x);
  CHECK(tape.grad(x).data<float>()[1] == 0.0f);
}

TEST_CASE("a gradient passes through reshape and through rows and stops at detach") {
  Tensor x = test::random({4, 6}, 1);
  Tape tape;
  Tape::watch(x);
  const Tensor heads = ops::split_heads(x, 2);                               // [4, 2, 3]
  const Tensor some = ops::rows(ops::scale(heads, 3), 1, 3);                 // [2, 2, 3]
  tape.backward(ops::merge_heads(ops::scale(some, 2)));
  const Tensor g = tape.grad(x);
  CHECK(g.shape() == x.shape());
  for (Dim i = 0; i < 24; ++i) CHECK(g.data<float>()[i] == (i / 6 == 1 || i / 6 == 2 ? 6.0f : 0.0f));
  CHECK(tape.grad(heads).shape() == heads.shape());  // the same leaf in another shape
  CHECK(ops::scale(tape::detach(x), 2).grad_node() == nullptr);
}

TEST_CASE("a leaf that the result does not depend on has a gradient of zeros") {
  Tensor x = test::random({3}, 1), other = test::random({2, 2}, 2);
  Tape tape;
  Tape::watch(x);
  Tape::watch(other);
  tape.backward(ops::scale(x, 2));
  CHECK(tape.grad(other).shape() == Shape{2, 2});
  CHECK(tape.grad(other).data<float>()[3] == 0.0f);
}

TEST_CASE("the tape names what it cannot do") {
  Tensor x = test::random({3}, 1);
  Tape tape;
  CHECK_THROWS_WITH(tape.backward(x), "backward: [3] depends on no watched tensor");
  CHECK_THROWS_WITH(tape.grad(x), "grad: [3] is not watched");
  Tape::watch(x);
  CHECK_THROWS_WITH(tape.backward(ops::scale(x, 2), test::random({4}, 1)), "backward: seed is [4], must be [3]");
  Tensor half = x.to(DType::bf16);
  CHECK_THROWS_WITH(Tape::watch(half), "watch: bf16 has no gradient, must be f32");
  CHECK_THROWS_WITH(ops::softmax_rows(x), "softmax_rows: works in place, not under a tape");
}

TEST_CASE("gradients of gradients are not recorded and an inner tape gives way to the outer one") {
  Tensor x = test::random({3}, 1);
  Tape outer;
  Tape::watch(x);
  {
    Tape inner;
    CHECK(Tape::active() == &inner);
    inner.backward(ops::multiply(x, x));
    CHECK(inner.grad(x).grad_node() == nullptr);
  }
  CHECK(Tape::active() == &outer);
}

TEST_CASE("a chain of a hundred thousand operations is taken apart without recursion") {
  Tensor x = test::random({1}, 1), y;
  ExecContext context(1);
  const ExecContext::Scope scope(context);
  {
    Tape tape;
    Tape::watch(x);
    y = x;
    for (int i = 0; i < 100'000; ++i) y = ops::scale(y, 1);
    tape.backward(y);
    CHECK(tape.grad(x).data<float>()[0] == 1.0f);
  }
  CHECK(y.data<float>()[0] == x.data<float>()[0]);
}
