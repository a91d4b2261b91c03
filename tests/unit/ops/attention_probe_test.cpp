#include "ops/attention_probe.h"

#include <cmath>

#include <doctest/doctest.h>

#include "base/rng.h"

using namespace tap;

namespace {

Tensor random(std::initializer_list<Dim> shape, Rng& rng) {
  Tensor t = Tensor::empty(Shape(std::vector<Dim>(shape)));
  for (Dim i = 0; i < t.elements(); ++i) t.write<float>()[i] = static_cast<float>(rng.next_u32() % 2000) / 1000 - 1;
  return t;
}

}  // namespace

TEST_CASE("weights add up to one, and mixing the values by them is attention") {
  Rng rng(4);
  for (const float softcap : {0.0F, 5.0F}) {
    const Dim rows = 9, d = 8;
    const Tensor q = random({rows, 1, d}, rng), k = random({rows, 1, d}, rng), v = random({rows, 1, d}, rng);
    Batch batch = Batch::causal(rows);
    batch.intervals[6] = {2, 5};  // a window
    ops::AttentionOptions options;
    options.softcap = softcap;
    const Tensor y = ops::attention(q, KvView{k, v}, batch, options);
    for (Dim row = 0; row < rows; ++row) {
      const std::vector<float> weights = ops::attention_weights(q, KvView{k, v}, batch, options, row);
      const Interval seen = batch.intervals[static_cast<std::size_t>(row)];
      REQUIRE(static_cast<Dim>(weights.size()) == seen.end - seen.begin);
      double sum = 0;
      for (const float w : weights) sum += double{w};
      CHECK(sum == doctest::Approx(1).epsilon(1e-5));
      for (Dim c = 0; c < d; ++c) {
        double mixed = 0;
        for (Dim j = seen.begin; j < seen.end; ++j)
          mixed += double{weights[static_cast<std::size_t>(j - seen.begin)]} * double{v.data<float>()[j * d + c]};
        CHECK(mixed == doctest::Approx(y.data<float>()[row * d + c]).epsilon(1e-4).scale(1));
      }
    }
  }
}

TEST_CASE("a probe sees batches of one row while it lives, and the innermost one does") {
  Rng rng(5);
  const Tensor q = random({1, 4, 8}, rng), k = random({1, 2, 8}, rng), v = random({1, 2, 8}, rng);
  const Tensor more = random({3, 4, 8}, rng), keys = random({3, 2, 8}, rng);
  int outer = 0, inner = 0;
  {
    const ops::AttentionProbe probe([&](Interval seen, std::span<const float> weights) {
      ++outer;
      CHECK(seen == Interval{0, 1});
      CHECK(weights.front() == doctest::Approx(1));
    });
    (void)ops::attention(q, KvView{k, v}, Batch::causal(1), {});
    (void)ops::attention(more, KvView{keys, keys}, Batch::causal(3), {});
    {
      const ops::AttentionProbe nested([&](Interval, std::span<const float>) { ++inner; });
      (void)ops::attention(q, KvView{k, v}, Batch::causal(1), {});
    }
  }
  (void)ops::attention(q, KvView{k, v}, Batch::causal(1), {});
  CHECK(outer == 1);
  CHECK(inner == 1);
}
