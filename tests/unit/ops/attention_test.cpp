#include <cstring>

#include <doctest/doctest.h>

#include "base/rng.h"
#include "ops/ops.h"
#include "ops/reference.h"
#include "support/op_case.h"

using namespace tap;

namespace {

// Why: f32 sums of ≤ 1024 products of values about 1.
constexpr double f32_tolerance = 2e-5;
// Why: queries, keys, values and probabilities each rounded to 8 bits (2^-9 relative), over values about 1 that are
// averaged.
constexpr double bf16_tolerance = 8e-3;

struct Case {
  Dim heads, kv_heads, head_dim;
  std::vector<Dim> rows, past;  // of each sequence
  enum Mask { causal, all, window, blocks, holes } mask = causal;
  float softcap = 0, scale = 0;
  double size = 1;  // of queries and keys
};

Batch batch_of(const Case& c) {
  Batch batch;
  batch.positions.resize(1);
  Dim at = 0;
  for (std::size_t s = 0; s < c.rows.size(); ++s) {
    const auto past = static_cast<std::int32_t>(c.past[s]), rows = static_cast<std::int32_t>(c.rows[s]),
               total = past + rows;
    batch.sequences.push_back({at, at + rows, past});
    for (std::int32_t i = past; i < total; ++i) {
      batch.positions[0].push_back(i);
      switch (c.mask) {
        case Case::causal: batch.intervals.push_back({0, i + 1}); break;
        case Case::all: batch.intervals.push_back({0, total}); break;
        case Case::window: batch.intervals.push_back({std::max(0, i - 6), i + 1}); break;
        case Case::blocks: batch.intervals.push_back({i / 11 * 11, std::min(total, (i / 11 + 1) * 11)}); break;
        case Case::holes: batch.intervals.push_back(i % 3 ? Interval{i / 2, i + 1} : Interval{i, i}); break;
      }
    }
    at += rows;
  }
  return batch;
}

double scale_of(const Case& c) {
  return c.scale > 0 ? static_cast<double>(c.scale) : 1 / std::sqrt(static_cast<double>(c.head_dim));
}

std::vector<Case> plain_cases() {
  std::vector<Case> cases;
  for (const Dim d : {1, 2, 7, 16, 33, 64, 72, 130})
    for (const Dim t : {1, 2, 15, 16, 17, 35, 67, 150})
      cases.push_back({2, 2, d, {t}, {0}, t % 2 ? Case::all : Case::causal});
  cases.push_back({6, 2, 64, {64, 1, 33, 0, 90}, {0, 0, 0, 0, 0}});
  cases.push_back({6, 3, 40, {70, 21}, {0, 0}, Case::window});
  cases.push_back({4, 1, 24, {70, 21}, {0, 0}, Case::blocks});
  cases.push_back({4, 1, 24, {70, 21}, {0, 0}, Case::holes});
  cases.push_back({3, 1, 64, {200}, {0}, Case::causal, 5.0f});
  cases.push_back({2, 2, 64, {80}, {0}, Case::all, 0, 0.02f});
  cases.push_back({2, 1, 64, {300}, {0}, Case::all, 0, 0, 6});  // one key takes almost all
  cases.push_back({16, 1, 8, {9}, {0}, Case::causal});
  return cases;
}

void check_plain(const Case& c, DType arithmetic, double tolerance) {
  const Batch batch = batch_of(c);
  const Dim t = batch.rows();
  const Tensor q = test::misaligned(test::random({t, c.heads, c.head_dim}, 1, c.size)),
               k = test::misaligned(test::random({t, c.kv_heads, c.head_dim}, 2, c.size)),
               v = test::misaligned(test::random({t, c.kv_heads, c.head_dim}, 3));
  std::vector<Dim> begins;
  for (const Span& span : batch.sequences) begins.push_back(span.begin);
  // Where the CPU has no bf16 products, and for odd head sizes, f32 rows are multiplied as they are.
  const bool rounds = arithmetic == DType::bf16 && active_isa() >= Isa::avx512_bf16 && c.head_dim % 2 == 0;
  if (!rounds) tolerance = f32_tolerance;
  const auto rounded = [&](const Tensor& x) { return rounds ? x.to(DType::bf16) : x; };
  const auto wanted =
      ops::reference::attention(rounded(q), rounded(k), rounded(v), batch, begins, std::vector<Dim>(begins.size(), 0),
                                scale_of(c), static_cast<double>(c.softcap));
  const ops::AttentionOptions options{c.scale, c.softcap, arithmetic};
  const auto run = [&] { return ops::attention(q, KvView{k, v}, batch, options); };
  CAPTURE(c.head_dim);
  CAPTURE(t);
  CAPTURE(c.heads);
  CHECK(test::distance(run(), wanted) < tolerance);
  if (t > 60) test::check_threads(run);
}

// [rows, heads, d] to [heads, rows, d].
Tensor by_heads(const Tensor& x) {
  Tensor y = Tensor::empty({x.dim(1), x.dim(0), x.dim(2)}, x.dtype());
  const auto bytes = static_cast<std::size_t>(x.dim(2) * bytes_of(x.dtype()));
  const auto* from = static_cast<const std::byte*>(x.raw());
  auto* to = static_cast<std::byte*>(y.raw_write());
  for (Dim row = 0; row < x.dim(0); ++row)
    for (Dim head = 0; head < x.dim(1); ++head)
      std::memcpy(to + static_cast<std::size_t>(head * x.dim(0) + row) * bytes,
                  from + static_cast<std::size_t>(row * x.dim(1) + head) * bytes, bytes);
  return y;
}

// A cache in pieces: runs of `piece` rows, the first one being logical row `base`.
struct Cache {
  Tensor keys, values;  // [all rows, kv_heads, head_dim]
  std::vector<Tensor> pieces;
  KvView view;
  std::vector<Dim> begins, bases;
};

Cache cache_of(const Case& c, DType type, Dim piece, Dim base) {
  Cache cache;
  Dim total = 0;
  for (std::size_t s = 0; s < c.rows.size(); ++s) total += c.rows[s] + c.past[s] - base;
  cache.keys = test::random({total, c.kv_heads, c.head_dim}, 5, c.size).to(type);
  cache.values = test::random({total, c.kv_heads, c.head_dim}, 6).to(type);
  cache.view.dtype = type;
  cache.view.kv_heads = c.kv_heads;
  cache.view.head_dim = c.head_dim;
  Dim at = 0;
  for (std::size_t s = 0; s < c.rows.size(); ++s) {
    KvSequence sequence;
    sequence.base = base;
    cache.begins.push_back(at);
    cache.bases.push_back(base);
    for (Dim left = c.rows[s] + c.past[s] - base; left > 0; left -= piece) {
      const Dim rows = std::min(left, piece);
      // Each run lies in memory of its own, so that reading past its end is seen by the address sanitizer.
      const Tensor k = by_heads(cache.keys.rows(at, at + rows)), v = by_heads(cache.values.rows(at, at + rows));
      sequence.runs.push_back({k.raw(), v.raw(), rows, rows * c.head_dim, rows * c.head_dim});
      cache.pieces.push_back(k);
      cache.pieces.push_back(v);
      at += rows;
    }
    cache.view.sequences.push_back(std::move(sequence));
  }
  return cache;
}

void check_cache(const Case& c, DType type, Dim piece, Dim base, double tolerance) {
  const Batch batch = batch_of(c);
  const Tensor q = test::random({batch.rows(), c.heads, c.head_dim}, 4, c.size);
  const Cache cache = cache_of(c, type, piece, base);
  const auto wanted =
      ops::reference::attention(type == DType::bf16 ? q.to(DType::bf16) : q, cache.keys, cache.values, batch,
                                cache.begins, cache.bases, scale_of(c), static_cast<double>(c.softcap));
  const auto run = [&] { return ops::attention(q, cache.view, batch, {c.scale, c.softcap}); };
  CAPTURE(c.head_dim);
  CAPTURE(batch.rows());
  CAPTURE(piece);
  CHECK(test::distance(run(), wanted) < tolerance);
  test::check_threads(run);
}

}  // namespace

TEST_CASE("plain attention in f32 equals the double oracle for every head size and length and mask") {
  test::on_every_isa([] {
    for (const Case& c : plain_cases()) check_plain(c, DType::f32, f32_tolerance);
  });
}

TEST_CASE("plain attention in bf16 stays within bf16 rounding of the oracle") {
  test::on_every_isa([] {
    for (const Case& c : plain_cases()) check_plain(c, DType::bf16, bf16_tolerance);
  });
}

TEST_CASE("attention over a cache equals the oracle however its rows are cut into runs") {
  test::on_every_isa([] {
    for (const DType type : {DType::f32, DType::bf16}) {
      const double tolerance = type == DType::f32 ? f32_tolerance : bf16_tolerance;
      for (const Dim d : {2, 5, 16, 33, 64, 72, 80, 128, 200})
        for (const Dim past : {0, 1, 15, 63, 64, 65, 300})
          check_cache({6, 2, d, {1}, {past}}, type, 1000, 0, tolerance);
      for (const Dim piece : {1, 7, 16, 64, 1000}) {
        check_cache({6, 2, 64, {20, 1, 1, 70}, {30, 200, 0, 5}}, type, piece, 0, tolerance);
        check_cache({5, 5, 18, {2, 3, 40}, {100, 0, 33}}, type, piece, 0, tolerance);
        check_cache({8, 1, 64, {1, 17}, {100, 33}, Case::window}, type, piece, 40 - 17, tolerance);
        check_cache({12, 1, 64, {1, 5}, {90, 33}, Case::causal, 3.0f}, type, piece, 0, tolerance);
        check_cache({4, 4, 64, {1, 1}, {90, 33}, Case::holes, 3.0f}, type, piece, 0, tolerance);
        check_cache({15, 5, 64, {1}, {4000}}, type, piece * 16, 0, tolerance);
      }
    }
  });
}

TEST_CASE("up to eight rows of a cached sequence have the bits that each has alone") {
  test::on_every_isa([] {
    for (const DType type : {DType::f32, DType::bf16})
      for (const Case& c :
           {Case{4, 4, 64, {8}, {300}}, Case{6, 2, 40, {2}, {63}}, Case{8, 1, 33, {7}, {200}},
            Case{15, 5, 64, {8}, {4000}}, Case{12, 1, 64, {8}, {130}, Case::causal, 3.0f}, Case{80, 1, 16, {5}, {70}},
            Case{4, 2, 32, {8}, {150}, Case::window}, Case{24, 2, 16, {6}, {150}, Case::window}}) {
        const Batch batch = batch_of(c);
        const Tensor q = test::random({batch.rows(), c.heads, c.head_dim}, 4);
        const Cache cache = cache_of(c, type, 1'000'000, 0);
        const Tensor together = ops::attention(q, cache.view, batch, {c.scale, c.softcap});
        for (Dim row = 0; row < batch.rows(); ++row) {
          Batch one = Batch::causal(1, c.past[0] + row);
          one.intervals = {batch.intervals[static_cast<std::size_t>(row)]};
          const Tensor alone = ops::attention(q.rows(row, row + 1), cache.view, one, {c.scale, c.softcap});
          CHECK(std::memcmp(alone.raw(), together.rows(row, row + 1).raw(),
                            static_cast<std::size_t>(alone.elements()) * sizeof(float)) == 0);
        }
      }
  });
}

TEST_CASE("sequences that share their first runs have the bits that each has over rows of its own") {
  test::on_every_isa([] {
    for (const DType type : {DType::f32, DType::bf16}) {
      const Case c{15, 5, 64, {1, 1, 3, 40}, {700, 650, 1200, 640}};
      const Batch batch = batch_of(c);
      const Tensor q = test::random({batch.rows(), c.heads, c.head_dim}, 4);
      Cache whole = cache_of(c, type, 1'000'000, 0), cut = cache_of(c, type, 320, 0);
      // All begin as the first does: by its memory, or by a copy of it.
      for (std::size_t s = 1; s < c.rows.size(); ++s) {
        std::copy_n(cut.view.sequences[0].runs.begin(), 2, cut.view.sequences[s].runs.begin());
        const KvRun &from = whole.view.sequences[0].runs[0], &to = whole.view.sequences[s].runs[0];
        const std::size_t bytes = static_cast<std::size_t>(640 * c.head_dim * bytes_of(type));
        for (Dim head = 0; head < c.kv_heads; ++head)
          for (const auto& [source, target, stride, place] :
               {std::tuple{from.keys, to.keys, from.key_head, to.key_head},
                std::tuple{from.values, to.values, from.value_head, to.value_head}})
            std::memcpy(static_cast<std::byte*>(const_cast<void*>(target)) + head * place * bytes_of(type),
                        static_cast<const std::byte*>(source) + head * stride * bytes_of(type), bytes);
      }
      const auto run = [&] { return ops::attention(q, cut.view, batch, {c.scale, c.softcap}); };
      const Tensor apart = ops::attention(q, whole.view, batch, {c.scale, c.softcap}), shared = run();
      CHECK(std::memcmp(apart.raw(), shared.raw(), static_cast<std::size_t>(apart.elements()) * sizeof(float)) == 0);
      test::check_threads(run);
    }
  });
}

TEST_CASE("a row whose interval is empty gives zeros") {
  test::on_every_isa([] {
    for (const Dim rows : {1, 4, 70}) {
      Batch batch = Batch::causal(rows);
      batch.intervals[0] = {0, 0};
      if (rows > 1) batch.intervals[static_cast<std::size_t>(rows) - 1] = {5, 5};
      const Tensor q = test::random({rows, 2, 8}, 1), k = test::random({rows, 2, 8}, 2);
      for (const DType arithmetic : {DType::f32, DType::bf16}) {
        const Tensor y = ops::attention(q, KvView{k, k}, batch, {0, 0, arithmetic});
        for (Dim i = 0; i < 16; ++i) CHECK(y.data<float>()[i] == 0.0f);
        for (Dim i = (rows - 1) * 16; i < rows * 16; ++i) CHECK(y.data<float>()[i] == 0.0f);
      }
    }
  });
}

TEST_CASE("attention names what does not fit") {
  const Tensor q = test::random({3, 4, 8}, 1), k = test::random({3, 2, 8}, 2);
  const auto message = [&](const Tensor& query, const KvView& kv, const Batch& batch) -> std::string {
    try {
      ops::attention(query, kv, batch);
    } catch (const Error& error) {
      return error.message();
    }
    return "";
  };
  Batch batch = Batch::causal(3);
  CHECK(message(q, KvView{k, k}, batch) == "");
  batch.intervals[1] = {0, 4};
  CHECK(message(q, KvView{k, k}, batch) == "attention: row 1 sees [0, 4), but the keys are [0, 3)");
  batch.intervals[1] = {2, 1};
  CHECK(message(q, KvView{k, k}, batch) == "attention: row 1 sees [2, 1): begins after its end");
  CHECK(message(q, KvView{k, k}, Batch::causal(2)) == "attention: 2 intervals for 3 rows");
  CHECK(message(q, KvView{test::random({3, 3, 8}, 1), test::random({3, 3, 8}, 1)}, Batch::causal(3)) ==
        "attention: 4 heads of 8 over 3 KV heads");
  CHECK(message(q, KvView{k, test::random({3, 2, 9}, 1)}, Batch::causal(3)) ==
        "attention: values is [3, 2, 9], must be [3, 2, 8]");
  KvView cached;
  cached.kv_heads = 2;
  cached.head_dim = 8;
  cached.sequences = {{{{k.raw(), k.raw(), 3, 24, 24}}, 10}};
  CHECK(message(q, cached, Batch::causal(3)) == "attention: row 0 sees [0, 1), but the keys are [10, 13)");
  cached.head_dim = 16;
  CHECK(message(q, cached, Batch::causal(3)) == "attention: keys have head_dim 16, must be 8");
}

TEST_CASE("attention takes no new memory from the system in steady state") {
  ExecContext context(2);
  const ExecContext::Scope scope(context);
  const Tensor q = test::random({80, 6, 64}, 1), k = test::random({80, 2, 64}, 2);
  const Batch batch = Batch::causal(80);
  const auto run = [&] {
    ops::attention(q, KvView{k, k}, batch);
    ops::attention(q, KvView{k, k}, batch, {0, 0, DType::bf16});
  };
  run();
  const auto before = context.arena()->stats().system_allocations;
  for (int i = 0; i < 10; ++i) run();
  CHECK(context.arena()->stats().system_allocations == before);
}
