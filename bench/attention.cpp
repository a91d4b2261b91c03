// Attention at the shapes of SmolVLM-500M: one tile of the vision tower, prefill, decode. Prints the best of several
// runs.
//   attention [threads]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/clock.h"
#include "base/rng.h"
#include "cache/kv_cache.h"
#include "kernels/isa.h"
#include "ops/ops.h"

namespace {

using namespace tap;

Tensor random(const Shape& shape, std::uint64_t seed) {
  Rng rng(seed);
  Tensor t = Tensor::empty(shape);
  for (Dim i = 0; i < t.elements(); ++i) t.write<float>()[i] = static_cast<float>(rng.uniform() * 2 - 1);
  return t;
}

template <class Fn>
double best_ms(int runs, Fn&& fn) {
  double best = 1e30;
  for (int i = 0; i < runs; ++i) {
    const Stopwatch watch;
    fn();
    best = std::min(best, watch.ms());
  }
  return best;
}

void report(const std::string& what, double ms, double operations, double bytes) {
  std::printf("%-44s %9.4f ms %9.1f Gop/s %8.1f GB/s\n", what.c_str(), ms, operations / ms * 1e-6, bytes / ms * 1e-6);
}

void plain(const std::string& what, Dim t, Dim heads, Dim kv_heads, Dim d, bool causal, DType arithmetic) {
  const Tensor q = random({t, heads, d}, 1), k = random({t, kv_heads, d}, 2), v = random({t, kv_heads, d}, 3);
  const std::vector<Dim> lengths{t};
  const Batch batch = causal ? Batch::causal(t) : Batch::segments(lengths);
  double seen = 0;
  for (const Interval& interval : batch.intervals) seen += interval.end - interval.begin;
  const double ms = best_ms(20, [&] { ops::attention(q, KvView{k, v}, batch, {0, 0, arithmetic}); });
  report(what, ms, 4 * seen * static_cast<double>(heads * d), static_cast<double>(q.bytes() * 2 + k.bytes() * 2));
}

// A new query (or several) against a cache of `past` rows, many layers of it so that memory is what is measured.
void cached(const std::string& what, Dim rows, Dim past, Dim heads, Dim kv_heads, Dim d, DType type, Dim layers) {
  const Tensor q = random({rows, heads, d}, 1);
  const Batch batch = Batch::causal(rows, past);
  const Tensor k = random({past + rows, kv_heads, d}, 2);
  KvCache cache({.layers = layers, .kv_heads = kv_heads, .head_dim = d}, type, past + rows);
  std::vector<KvView> views;
  for (Dim i = 0; i < layers; ++i) views.push_back(cache.layer(i).append(k, k, Batch::causal(past + rows)));
  const double ms = best_ms(20,
                            [&] {
                              for (const KvView& view : views) ops::attention(q, view, batch);
                            }) /
                    static_cast<double>(layers);
  const double seen = static_cast<double>(past) + static_cast<double>(rows + 1) / 2;
  report(what, ms, 4 * seen * static_cast<double>(rows * heads * d), static_cast<double>(cache.bytes() / layers));
}

}  // namespace

int main(int argc, char** argv) {
  ExecContext context(argc > 1 ? std::atoi(argv[1]) : 0);
  const ExecContext::Scope scope(context);
  std::printf("%s, %d threads\n", describe_isa().c_str(), context.threads());
  plain("vision 1024 x 12 x 64 bf16", 1024, 12, 12, 64, false, DType::bf16);
  cached("decode at 2000, 16 heads of 128, 2 KV", 1, 2000, 16, 2, 128, DType::bf16, 36);
  cached("decode at 2000, 8 heads of 256, 4 KV", 1, 2000, 8, 4, 256, DType::bf16, 34);
  plain("vision 1024 x 12 x 64 f32", 1024, 12, 12, 64, false, DType::f32);
  plain("vision 729 x 16 x 72 bf16", 729, 16, 16, 72, false, DType::bf16);
  plain("causal 1024, 15 heads of 64, 5 KV, bf16", 1024, 15, 5, 64, true, DType::bf16);
  plain("causal 1024, 15 heads of 64, 5 KV, f32", 1024, 15, 5, 64, true, DType::f32);
  cached("prefill 512, bf16 cache", 512, 0, 15, 5, 64, DType::bf16, 1);
  cached("prefill 1024, bf16 cache", 1024, 0, 15, 5, 64, DType::bf16, 1);
  cached("prefill 512 after 512, bf16 cache", 512, 512, 15, 5, 64, DType::bf16, 1);
  for (const Dim past : {200, 1000, 2000, 8000}) {
    const std::string context_length = std::to_string(past);
    cached("decode at " + context_length + ", bf16 cache", 1, past, 15, 5, 64, DType::bf16, 32);
    cached("decode at " + context_length + ", f32 cache", 1, past, 15, 5, 64, DType::f32, 32);
  }
  return 0;
}
