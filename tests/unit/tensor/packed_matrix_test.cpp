#include "tensor/packed_matrix.h"

#include <cmath>
#include <cstring>
#include <vector>

#include <doctest/doctest.h>

#include "base/rng.h"
#include "tensor/packed_data.h"

using namespace tap;

namespace {

Tensor random_tensor(Dim rows, Dim width, std::uint64_t seed = 1) {
  Rng rng(seed);
  Tensor t = Tensor::empty({rows, width});
  for (Dim i = 0; i < t.elements(); ++i) t.write<float>()[i] = static_cast<float>(2 * rng.uniform() - 1);
  return t;
}

constexpr WeightType all_types[] = {WeightType::f32, WeightType::bf16, WeightType::q8, WeightType::q4,
                                    WeightType::dense};

}  // namespace

TEST_CASE("rows added in any pieces pack to the same bytes") {
  const Tensor weight = random_tensor(200, 70);
  for (const WeightType type : all_types) {
    const PackedMatrix whole = PackedMatrix::pack(weight, type);
    for (const Dim piece : {1, 63, 64, 65, 130}) {
      PackedMatrix::Builder builder(type, 70, 200);
      for (Dim at = 0; at < 200; at += piece) builder.add_rows(weight.rows(at, std::min<Dim>(200, at + piece)));
      const PackedMatrix pieces = builder.finish();
      const auto bytes = static_cast<std::size_t>(kernels::panel_bytes(whole.data().pack, 70) * 4);
      REQUIRE(std::memcmp(whole.data().panels->data(), pieces.data().panels->data(), bytes) == 0);
      REQUIRE(std::memcmp(whole.unpack().raw(), pieces.unpack().raw(), 200 * 70 * 4) == 0);
    }
  }
}

TEST_CASE("bf16 rows pack as their f32 values do") {
  const Tensor narrow = random_tensor(70, 33).to(DType::bf16), wide = narrow.to(DType::f32);
  for (const WeightType type : all_types)
    CHECK(std::memcmp(PackedMatrix::pack(narrow, type).unpack().raw(), PackedMatrix::pack(wide, type).unpack().raw(),
                      70 * 33 * 4) == 0);
  CHECK(std::memcmp(PackedMatrix::pack(narrow, WeightType::bf16).unpack().raw(), wide.raw(), 70 * 33 * 4) == 0);
}

TEST_CASE("an unpacked row is the row of the unpacked matrix") {
  const Tensor weight = random_tensor(65, 40);
  std::vector<float> row(40);
  for (const WeightType type : all_types) {
    const PackedMatrix packed = PackedMatrix::pack(weight, type);
    const Tensor all = packed.unpack();
    for (const Dim r : {0, 63, 64}) {
      packed.unpack_row(r, row.data());
      CHECK(std::memcmp(row.data(), all.row(r), 160) == 0);
    }
    CHECK_THROWS_AS(packed.unpack_row(65, row.data()), Error);
    CHECK_THROWS_AS(packed.unpack_row(-1, row.data()), Error);
  }
}

TEST_CASE("a weight is held once: bytes are those of its type") {
  const Tensor weight = random_tensor(640, 1024);
  const double values = 640 * 1024;
  const auto held = [&](WeightType type) {
    return static_cast<double>(PackedMatrix::pack(weight, type).bytes()) / values;
  };
  CHECK(held(WeightType::f32) == doctest::Approx(4.0));
  CHECK(held(WeightType::bf16) == doctest::Approx(2.0));
  CHECK(held(WeightType::q8) < 1.01);
  CHECK(held(WeightType::q4) < 0.63);  // 4 bits, and 32 more for each group of 32
}

TEST_CASE("a builder refuses rows of the wrong width and number") {
  PackedMatrix::Builder builder(WeightType::q8, 32, 10);
  CHECK_THROWS_WITH_AS(builder.add_rows(random_tensor(2, 31)),
                       "pack: rows are [2, 31] f32, must be [n, 32] f32 or bf16", Error);
  builder.add_rows(random_tensor(6, 32));
  CHECK_THROWS_WITH_AS(builder.finish(), "pack: 6 rows added, the matrix has 10", Error);
  CHECK_THROWS_WITH_AS(builder.add_rows(random_tensor(5, 32)), "pack: 11 rows added, the matrix has 10", Error);
  CHECK_THROWS_AS(PackedMatrix::Builder(WeightType::f32, 0, 4), Error);
}

TEST_CASE("q8 keeps the size of weights of very different rows") {
  Tensor weight = random_tensor(4, 64);
  for (Dim i = 0; i < 64; ++i) weight.row_write(1)[i] *= 1e-6f, weight.row_write(2)[i] *= 1e6f;
  const Tensor back = PackedMatrix::pack(weight, WeightType::q8).unpack();
  for (Dim r = 0; r < 4; ++r) {
    float largest = 0;
    for (Dim i = 0; i < 64; ++i) largest = std::max(largest, std::fabs(weight.row(r)[i]));
    for (Dim i = 0; i < 64; ++i) REQUIRE(std::fabs(back.row(r)[i] - weight.row(r)[i]) <= 0.51f / 127 * largest);
  }
}

TEST_CASE("a dense matrix packs its transpose and packs anew after a change") {
  PackedMatrix packed = PackedMatrix::pack(random_tensor(70, 130), WeightType::dense);
  PackedMatrix::Data& data = *packed.shared();
  const auto check_transpose = [&] {
    std::vector<float> row(70);
    for (Dim i = 0; i < 130; ++i) {
      kernels::unpack_row(data.transposed_view(), i, row.data());
      for (Dim o = 0; o < 70; ++o) REQUIRE(row[static_cast<std::size_t>(o)] == to_f32(to_bf16(data.master.row(o)[i])));
    }
  };
  check_transpose();
  data.master.row_write(69)[129] = 5.0f;
  refresh_dense(data);
  check_transpose();
  CHECK(packed.unpack().row(69)[129] == 5.0f);
}

TEST_CASE("rows that are quantized already pack to the bytes that they came from") {
  for (const WeightType type : {WeightType::q8, WeightType::q4})
    for (const Dim in : {1, 31, 32, 33, 70, 128})
      for (const Dim out : {1, 64, 65, 200}) {
        CAPTURE(in);
        CAPTURE(out);
        const PackedMatrix packed = PackedMatrix::pack(random_tensor(out, in), type);
        PackedMatrix::Builder builder(type, in, out);
        for (Dim at = 0; at < out; at += 128) builder.add_rows(packed.quantized_rows(at, std::min<Dim>(out, at + 128)));
        const PackedMatrix again = builder.finish();
        const auto same = [](const std::shared_ptr<Storage>& a, const std::shared_ptr<Storage>& b, Dim bytes) {
          return std::memcmp(a->data(), b->data(), static_cast<std::size_t>(bytes)) == 0;
        };
        const Dim panels = ceil_div(out, kernels::panel_outputs);
        REQUIRE(same(packed.data().panels, again.data().panels, panels * kernels::panel_bytes(packed.data().pack, in)));
        if (type == WeightType::q8)  // scales, then column sums
          REQUIRE(same(packed.data().scales, again.data().scales, panels * kernels::panel_outputs * 8));
      }
}

TEST_CASE("quantized rows of another form, or in broken panels, are refused") {
  const PackedMatrix q8 = PackedMatrix::pack(random_tensor(70, 40), WeightType::q8);
  const PackedMatrix q4 = PackedMatrix::pack(random_tensor(70, 40), WeightType::q4);
  PackedMatrix::Builder builder(WeightType::q8, 40, 70);
  CHECK_THROWS_WITH_AS(builder.add_rows(q4.quantized_rows(0, 64)), "pack: values is [64, 32], must be [64, 40]", Error);
  builder.add_rows(q8.quantized_rows(0, 10));
  CHECK_THROWS_WITH_AS(builder.add_rows(q8.quantized_rows(10, 70)),
                       "pack: 60 quantized rows behind 10 of 70: whole panels of 64 but for the last", Error);
  PackedMatrix::Builder exact(WeightType::bf16, 40, 70);
  CHECK_THROWS_WITH_AS(exact.add_rows(q8.quantized_rows(0, 64)), "pack: quantized rows for a matrix in bf16", Error);
  CHECK_THROWS_AS(q8.quantized_rows(0, 71), Error);
  CHECK_THROWS_AS(PackedMatrix::pack(random_tensor(2, 40), WeightType::bf16).quantized_rows(0, 1), Error);
}
