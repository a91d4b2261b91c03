#include "cache/kv_cache.h"

#include <doctest/doctest.h>

#include "base/rng.h"

using namespace tap;

namespace {

Tensor filled(Dim rows, float start) {  // [rows, 2, 4], element i = start + i
  Tensor t = Tensor::empty({rows, 2, 4});
  for (Dim i = 0; i < t.elements(); ++i) t.write<float>()[i] = start + static_cast<float>(i);
  return t;
}

const KvShape shape{.layers = 2, .kv_heads = 2, .head_dim = 4};

// Element i of a row [2, 4] of a run of f32 rows.
float key(const KvRun& run, Dim row, Dim i) {
  return static_cast<const float*>(run.keys)[i / 4 * run.key_head + row * 4 + i % 4];
}
float value(const KvRun& run, Dim row, Dim i) {
  return static_cast<const float*>(run.values)[i / 4 * run.value_head + row * 4 + i % 4];
}

}  // namespace

TEST_CASE("rows appended in pieces lie in one run in order") {
  KvCache cache(shape, DType::f32, 1000);
  const Tensor k = filled(100, 0), v = filled(100, 5000);
  KvView view;
  Dim past = 0;
  for (const Dim count : {Dim{1}, Dim{2}, Dim{60}, Dim{37}}) {  // crosses the growth from 64 rows
    for (Dim layer = 0; layer < 2; ++layer)
      view =
          cache.layer(layer).append(k.rows(past, past + count), v.rows(past, past + count), Batch::causal(count, past));
    past += count;
    CHECK(cache.rows() == past);
  }
  REQUIRE(view.sequences.size() == 1);
  REQUIRE(view.sequences[0].runs.size() == 1);
  const KvRun& run = view.sequences[0].runs[0];
  CHECK(run.rows == 100);
  for (Dim i = 0; i < 800; ++i) {
    CHECK(key(run, i / 8, i % 8) == static_cast<float>(i));
    CHECK(value(run, i / 8, i % 8) == static_cast<float>(5000 + i));
  }
}

TEST_CASE("a view keeps its memory when the cache grows or dies") {
  KvView view;
  {
    KvCache cache(shape, DType::f32, 1000);
    view = cache.layer(0).append(filled(3, 7), filled(3, 9), Batch::causal(3));
    cache.reserve(900);
  }
  CHECK(key(view.sequences[0].runs[0], 0, 0) == 7);
  CHECK(value(view.sequences[0].runs[0], 2, 7) == 32);
}

TEST_CASE("bf16 rows are rounded to nearest even") {
  KvCache cache(shape, DType::bf16, 16);
  Tensor k = filled(1, 0);
  k.write<float>()[0] = 1.00390625f;  // 1 + 2^-8: halfway, the even neighbour is 1
  k.write<float>()[1] = 1.01171875f;  // 1 + 3 * 2^-8: halfway, the even neighbour is 1 + 2^-6
  const KvView view = cache.layer(0).append(k, k, Batch::causal(1));
  CHECK(view.dtype == DType::bf16);
  const auto* rows = static_cast<const bf16*>(view.sequences[0].runs[0].keys);
  CHECK(to_f32(rows[0]) == 1.0f);
  CHECK(to_f32(rows[1]) == 1.015625f);
}

TEST_CASE("truncate forgets rows and what an interrupted forward left in one layer") {
  KvCache cache(shape, DType::f32, 100);
  for (Dim layer = 0; layer < 2; ++layer) cache.layer(layer).append(filled(10, 0), filled(10, 0), Batch::causal(10));
  cache.layer(0).append(filled(1, 0), filled(1, 0), Batch::causal(1, 10));  // layer 1 never came
  CHECK(cache.rows() == 10);
  cache.truncate(4);
  CHECK(cache.rows() == 4);
  CHECK_THROWS_AS(cache.layer(0).append(filled(1, 0), filled(1, 0), Batch::causal(1, 5)), Error);
  const KvView view = cache.layer(0).append(filled(1, 99), filled(1, 0), Batch::causal(1, 4));
  CHECK(view.sequences[0].runs[0].rows == 5);
  CHECK(key(view.sequences[0].runs[0], 4, 0) == 99);
}

TEST_CASE("sequences of a ragged batch are kept apart") {
  KvCache cache(shape, DType::f32, 100, 3);
  Batch batch;
  batch.sequences = {{0, 2, 0}, {2, 2, 0}, {2, 5, 0}};  // 2, 0 and 3 rows
  batch.intervals.assign(5, {0, 1});
  const Tensor k = filled(5, 0);
  for (Dim layer = 0; layer < 2; ++layer) {
    const KvView view = cache.layer(layer).append(k, k, batch);
    REQUIRE(view.sequences.size() == 3);
    CHECK(view.sequences[0].runs[0].rows == 2);
    CHECK(view.sequences[1].runs.empty());
    CHECK(key(view.sequences[2].runs[0], 0, 0) == 16);
  }
  CHECK(cache.rows(0) == 2);
  CHECK(cache.rows(1) == 0);
  CHECK(cache.rows(2) == 3);
}

TEST_CASE("a sequence beyond the limit is refused with both numbers") {
  KvCache cache(shape, DType::f32, 8);
  try {
    cache.layer(0).append(filled(9, 0), filled(9, 0), Batch::causal(9));
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::limit);
    CHECK(error.message() == "the cache holds at most 8 tokens, 9 are wanted");
  }
}

TEST_CASE("an answer's rows come in two parts when they are many") {
  const auto rows = [](const KvCache& cache) { return cache.bytes() / (2 * 2 * 8 * 4); };
  KvCache cache(shape, DType::f32, 5000);
  cache.expect(100, 400);
  CHECK(rows(cache) == 400);
  cache.expect(100, 400);
  CHECK(rows(cache) == 400);
  cache.expect(300, 2000);
  CHECK(rows(cache) == 800);  // doubled, as 428 are more than 400
  cache.reserve(801);
  CHECK(rows(cache) == 2000);
  cache.reserve(2001);  // more than was expected
  CHECK(rows(cache) == 4000);
  cache.expect(4500, 9000);
  CHECK(rows(cache) == 5000);
}

TEST_CASE("reserved rows are appended without asking the system for memory") {
  KvCache cache(shape, DType::bf16, 512);
  cache.reserve(512);
  const Tensor k = filled(1, 0);
  const auto before = ExecContext::current().arena()->stats().system_allocations;
  for (Dim i = 0; i < 512; ++i)
    for (Dim layer = 0; layer < 2; ++layer) cache.layer(layer).append(k, k, Batch::causal(1, i));
  CHECK(ExecContext::current().arena()->stats().system_allocations == before);
}

namespace {

// Layer 0 sees all rows, layer 1 the last 4; 3 rows to spare.
const KvShape windowed{.layers = 2, .kv_heads = 2, .head_dim = 4, .windows = {0, 4}, .spare = 3};

// Appends rows [past, past + count) of values that tell their row to both layers; gives layer 1's view.
KvView append(KvCache& cache, Dim past, Dim count) {
  Tensor k = Tensor::empty({count, 2, 4});
  for (Dim i = 0; i < k.elements(); ++i) k.write<float>()[i] = static_cast<float>((past + i / 8) * 100 + i % 8);
  KvView view;
  for (Dim layer = 0; layer < 2; ++layer) view = cache.layer(layer).append(k, k, Batch::causal(count, past));
  return view;
}

}  // namespace

TEST_CASE("a windowed layer keeps its window and the new rows and knows their places") {
  KvCache cache(windowed, DType::f32, 1000);
  Dim past = 0, largest = 0;
  for (const Dim count : {3, 1, 2, 1, 1, 1, 5, 1, 1, 1, 1, 1, 1, 1, 40, 1, 1, 1}) {
    const KvSequence seen = append(cache, past, count).sequences[0];
    REQUIRE(seen.runs.size() == 1);
    const Dim first = std::max<Dim>(0, past - 3);  // what the first new row sees
    CHECK(seen.base <= first);
    CHECK(seen.base + seen.runs[0].rows == past + count);
    for (Dim row = first; row < past + count; ++row) {
      CHECK(key(seen.runs[0], row - seen.base, 0) == static_cast<float>(row * 100));
      CHECK(key(seen.runs[0], row - seen.base, 7) == static_cast<float>(row * 100 + 7));
    }
    if (count < 5) largest = std::max(largest, past < 23 ? seen.runs[0].rows : 0);
    past += count;
    CHECK(cache.rows() == past);
  }
  CHECK(largest <= windowed.windowed_rows());
}

TEST_CASE("a windowed cache goes back by its spare rows and no further") {
  KvCache cache(windowed, DType::f32, 1000);
  for (Dim row = 0; row < 50; ++row) append(cache, row, 1);
  CHECK(cache.truncate(49) == 49);
  CHECK(append(cache, 49, 1).sequences[0].base <= 46);
  CHECK(cache.truncate(48) == 48);
  CHECK(cache.truncate(20) == 0);  // rows 17 to 19 are gone
  CHECK(cache.rows() == 0);
  const KvSequence seen = append(cache, 0, 6).sequences[0];
  CHECK(seen.base == 0);
  CHECK(seen.runs[0].rows == 6);
  CHECK(cache.truncate(2) == 2);
}

TEST_CASE("a windowed cache of many rows takes little more than its full layers") {
  KvCache cache(windowed, DType::f32, 1000);
  cache.reserve(1000);
  CHECK(cache.bytes() == (1000 + windowed.windowed_rows()) * 2 * 8 * 4);
  for (Dim row = 0; row < 1000; ++row) append(cache, row, 1);
  CHECK(cache.bytes() == (1000 + windowed.windowed_rows()) * 2 * 8 * 4);
}

namespace {

// Sequences of a cache of two full layers beside what each must hold: a row is known by one number.
class Twin {
 public:
  explicit Twin(Dim sequences) : cache(shape, DType::f32, 4000, sequences), rows(static_cast<std::size_t>(sequences)) {}

  // `counts` new rows each, written to both layers and read again.
  void append(const std::vector<Dim>& counts) {
    Batch batch;
    Dim at = 0;
    for (std::size_t s = 0; s < rows.size(); ++s) {
      batch.sequences.push_back({at, at + counts[s], static_cast<Dim>(rows[s].size())});
      at += counts[s];
    }
    batch.intervals.assign(static_cast<std::size_t>(at), {0, 1});
    Tensor k = Tensor::empty({at, 2, 4});
    for (Dim i = 0; i < k.elements(); ++i) k.write<float>()[i] = static_cast<float>(next_ + i / 8);
    for (std::size_t s = 0; s < rows.size(); ++s)
      for (Dim i = 0; i < counts[s]; ++i) rows[s].push_back(static_cast<float>(next_ + batch.sequences[s].begin + i));
    next_ += at;
    for (Dim layer = 0; layer < 2; ++layer) {
      const KvView view = cache.layer(layer).append(k, k, batch);
      for (std::size_t s = 0; s < rows.size(); ++s) check(view.sequences[s], rows[s]);
    }
  }
  void truncate(std::size_t s, Dim to) {
    const Dim kept = cache.truncate(to, static_cast<Dim>(s));
    CHECK(kept == to);
    rows[s].resize(static_cast<std::size_t>(kept));
  }
  void copy(std::size_t from, std::size_t to, Dim count) {
    CHECK(cache.copy(static_cast<Dim>(from), static_cast<Dim>(to), count));
    rows[to].assign(rows[from].begin(), rows[from].begin() + count);
  }

  KvCache cache;
  std::vector<std::vector<float>> rows;

 private:
  static void check(const KvSequence& seen, const std::vector<float>& wanted) {
    std::size_t at = 0;
    bool same = true;
    for (const KvRun& run : seen.runs) {
      same = same && at % attention_block_keys == 0;
      for (Dim row = 0; row < run.rows && at < wanted.size(); ++row, ++at)
        for (const Dim i : {0, 3, 4, 7})
          same = same && key(run, row, i) == wanted[at] && value(run, row, i) == wanted[at];
    }
    CHECK(same);
    CHECK(at == wanted.size());
  }
  Dim next_ = 1;
};

}  // namespace

TEST_CASE("sequences that begin alike hold and read their first rows once") {
  Twin twin(3);
  twin.append({1000, 0, 0});
  const Dim alone = twin.cache.bytes();
  twin.copy(0, 1, 1000);
  twin.copy(1, 2, 900);  // what it has of the first, too
  CHECK(twin.cache.bytes() < alone + alone / 4);
  const Tensor k = filled(3, 0);
  Batch batch;
  for (const Dim past : {1000, 1000, 900}) {
    const Dim at = batch.rows();
    batch.sequences.push_back({at, at + 1, past});
    batch.intervals.push_back({0, 1});
  }
  const KvView view = twin.cache.layer(0).append(k, k, batch);
  CHECK(view.sequences[1].runs[0].keys == view.sequences[0].runs[0].keys);
  CHECK(view.sequences[1].runs[0].rows == 960);
  CHECK(view.sequences[2].runs[0].keys == view.sequences[0].runs[0].keys);
  CHECK(view.sequences[2].runs[0].rows == 896);
}

TEST_CASE("rows that others read are not written: each sequence keeps its own as they grow, go back and are copied") {
  Rng rng(5);
  const auto below = [&](Dim most) { return static_cast<Dim>(rng.uniform() * static_cast<double>(most)); };
  Twin twin(4);
  for (int round = 0; round < 400; ++round) {
    CAPTURE(round);
    const auto one = static_cast<std::size_t>(below(4)), other = static_cast<std::size_t>(below(4));
    const Dim held = static_cast<Dim>(twin.rows[one].size());
    switch (below(4)) {
      case 0: twin.truncate(one, below(3) ? below(held + 1) : 0); break;
      case 1:
        if (one != other) twin.copy(one, other, held - below(std::min<Dim>(held, 100) + 1));
        break;
      default: {
        std::vector<Dim> counts;
        for (const auto& rows : twin.rows) counts.push_back(rows.size() > 3000 ? 0 : below(3) ? below(3) : below(700));
        twin.append(counts);
      }
    }
  }
  for (std::size_t s = 0; s < 4; ++s) twin.truncate(s, 0);
  twin.append({1, 1, 1, 1});
}

TEST_CASE("a block is not held for few of its rows") {
  constexpr Dim row_bytes = 2 * 2 * 8 * 4;
  Twin twin(2);
  twin.append({3000, 0});
  twin.copy(0, 1, 3000);
  for (std::size_t s = 0; s < 2; ++s) twin.truncate(s, 100);
  CHECK(twin.cache.bytes() <= 2 * 256 * row_bytes);
  twin.append({2000, 0});
  twin.copy(0, 1, 2000);
  twin.truncate(0, 0);
  twin.truncate(1, 0);
  twin.cache.expect(300, 400, 0);  // nor what a long conversation took for a short one
  twin.append({300, 0});
  twin.copy(0, 1, 300);
  twin.append({1, 1});
  CHECK(twin.cache.bytes() <= (400 + 64) * row_bytes);
}

TEST_CASE("a row that others read is not written again") {
  Twin twin(2);
  twin.append({600, 0});
  twin.copy(0, 1, 600);
  Batch batch = Batch::causal(1, 500);
  CHECK_THROWS_AS(twin.cache.layer(0).append(filled(1, 0), filled(1, 0), batch), Error);
  twin.truncate(1, 0);  // nobody reads it any more
  twin.cache.layer(0).append(filled(1, 0), filled(1, 0), batch);
}
