#include "kernels/pack.h"

#include <cmath>
#include <cstring>
#include <vector>

#include <doctest/doctest.h>

#include "base/rng.h"

using namespace tap;
using kernels::Pack;

namespace {

struct Packed {
  std::vector<float> source;  // [out, in]
  std::vector<std::byte> panels;
  std::vector<float> scale;
  std::vector<std::int32_t> sums;
  kernels::PackView view;
  Packed(Pack type, Dim in, Dim out, float spread = 1.0f) {
    Rng rng(static_cast<std::uint64_t>(in * 1000 + out));
    for (Dim i = 0; i < in * out; ++i) source.push_back(spread * static_cast<float>(rng.uniform() - 0.4));
    const Dim count = ceil_div(out, 64), bytes = kernels::panel_bytes(type, in);
    panels.assign(static_cast<std::size_t>(count * bytes), std::byte{0x55});
    scale.resize(static_cast<std::size_t>(count * 64));
    sums.resize(scale.size());
    for (Dim p = 0; p < count; ++p)
      kernels::pack_panel(type, {reinterpret_cast<const std::byte*>(source.data() + p * 64 * in), in * 4},
                          std::min<Dim>(64, out - p * 64), in, panels.data() + p * bytes, scale.data() + p * 64,
                          sums.data() + p * 64);
    view = {type, in, out, panels.data(), scale.data(), sums.data()};
  }
};

constexpr Pack all_types[] = {Pack::f32, Pack::bf16, Pack::q8, Pack::q4};

}  // namespace

TEST_CASE("a packed row comes back within half a step of its type") {
  for (const Pack type : all_types)
    for (const Dim in : {1, 3, 16, 31, 32, 33, 64, 65, 100})
      for (const Dim out : {1, 63, 64, 65}) {
        const Packed w(type, in, out);
        std::vector<float> row(static_cast<std::size_t>(in));
        for (Dim r = 0; r < out; ++r) {
          kernels::unpack_row(w.view, r, row.data());
          for (Dim i = 0; i < in; ++i) {
            const float wanted = w.source[static_cast<std::size_t>(r * in + i)];
            // f32 exact; bf16 8 bits; q8 half of max / 127; q4 half of a step of range / 15 and bf16 ends
            const float limit = type == Pack::f32    ? 0.0f
                                : type == Pack::bf16 ? 0.004f * std::fabs(wanted)
                                : type == Pack::q8   ? 0.5f / 127
                                                     : 0.5f / 15 + 0.005f;
            REQUIRE(std::fabs(row[static_cast<std::size_t>(i)] - wanted) <= limit);
          }
        }
      }
}

TEST_CASE("padding of a panel is zero and a panel unpacks to zeros past the last output") {
  const Packed w(Pack::bf16, 33, 3);
  const auto* bits = reinterpret_cast<const std::uint16_t*>(w.panels.data());
  for (Dim k = 0; k < 64; ++k)
    for (Dim n = 0; n < 64; ++n)
      if (k >= 33 || n >= 3) REQUIRE(bits[(k / 2 * 64 + n) * 2 + k % 2] == 0);
  std::vector<float> rows(64 * 33, 7.0f);
  kernels::unpack_panel(w.view, 0, rows.data());
  CHECK(rows[2 * 33] != 0.0f);
  for (std::size_t i = 3 * 33; i < rows.size(); ++i) REQUIRE(rows[i] == 0.0f);
}

TEST_CASE("the layouts are the ones that oneDNN names") {
  const Packed f(Pack::f32, 20, 70), q(Pack::q8, 70, 70);
  const auto* values = reinterpret_cast<const float*>(f.panels.data());
  CHECK(values[(1 * 32 + 17) * 64 + 5] == f.source[69 * 20 + 17]);  // panel 1 of 32 padded inputs, output 69 = 64 + 5
  const auto* bytes = reinterpret_cast<const std::int8_t*>(q.panels.data());
  const float back = q.scale[69] * static_cast<float>(bytes[128 * 64 + (66 / 4 * 64 + 5) * 4 + 66 % 4]);
  CHECK(back == doctest::Approx(q.source[69 * 70 + 66]).epsilon(0.02));
  std::int32_t sum = 0;
  for (Dim k = 0; k < 70; ++k) sum += bytes[128 * 64 + (k / 4 * 64 + 5) * 4 + k % 4];
  CHECK(q.sums[69] == sum);
}

TEST_CASE("a group of equal weights and a row of zeros pack without division by zero") {
  for (const Pack type : all_types) {
    const Packed w(type, 64, 64, 0.0f);
    std::vector<float> row(64, 1.0f);
    kernels::unpack_row(w.view, 10, row.data());
    for (const float v : row) REQUIRE(v == 0.0f);
  }
}
