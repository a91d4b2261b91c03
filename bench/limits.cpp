// Prints this machine's limits as one JSON line: product peaks in 1e9 operations a second (registers only, and the best
// that oneDNN reaches on a large product), read bandwidth in 1e9 bytes a second. Usage: limits [THREADS]
#include <cstdlib>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "kernels/machine_limits.h"
#include "kernels/isa.h"
#include "kernels/product_onednn.h"

using namespace tap;

namespace {

double onednn_gops(kernels::Pack type, int threads) {
  constexpr Dim rows = 512, in = 1024, out = 4096;
  ExecContext context(threads);
  const ExecContext::Scope scope(context);
  const std::vector<float> x(rows * in, 0.01f), scale(out, 1.0f);
  const std::vector<std::int32_t> sums(out);
  const std::vector<std::byte> panels(static_cast<std::size_t>(kernels::panel_bytes(type, in) * out / 64));
  std::vector<float> y(rows * out);
  const kernels::PackView w{type, in, out, panels.data(), scale.data(), sums.data()};
  if (kernels::onednn_kernel_name(w, rows).empty()) return 0;
  const kernels::Operand a = kernels::prepare(type, x.data(), in, rows, in);
  const kernels::Finish finish{.out = y.data(), .out_stride = out};
  return 2e-9 * rows * in * out / fastest_s([&] { product(a, w, finish, kernels::ProductPath::onednn); });
}

}  // namespace

int main(int count, char** words) {
  try {
    const int threads = count > 1 ? std::atoi(words[1]) : available_threads();
    std::string line = to_json(measure_limits(threads));
    line.pop_back();
    fmt::print("{},\"onednn_f32_gops\":{:.1f},\"onednn_bf16_gops\":{:.1f},\"onednn_q8_gops\":{:.1f}}}\n", line,
               onednn_gops(kernels::Pack::f32, threads), onednn_gops(kernels::Pack::bf16, threads),
               onednn_gops(kernels::Pack::q8, threads));
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "limits: {}\n", error.message());
    return error.code() == ErrorCode::usage ? 2 : 1;
  }
}
