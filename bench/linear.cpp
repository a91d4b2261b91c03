// Products with packed weights: time, rate and fraction of the measured limit by shape, type and rows.
// Usage: linear [path=auto|tiles|onednn] [type=f32|bf16|q8|q4] [rows=N] [threads=N]
// Up to 8 rows are measured as one sweep over a model's worth of weights (SmolVLM-500M's text part: 32 layers), in GB/s
// of weights read beside plain reads of the same bytes; more rows on one weight of each shape, in Gop/s.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "base/rng.h"
#include "kernels/machine_limits.h"
#include "kernels/isa.h"
#include "kernels/product_onednn.h"

using namespace tap;
using kernels::Pack;

namespace {

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

constexpr const char* type_names[] = {"f32", "bf16", "q8", "q4"};

struct Weight {
  kernels::PackView view;
  kernels::Scratch panels;
  std::vector<float> scale;
  std::vector<std::int32_t> sums;

  Weight(Pack type, Dim in, Dim out)
      : panels(kernels::panel_bytes(type, in) * ceil_div(out, 64)),
        scale(static_cast<std::size_t>(round_up(out, 64)), 0.01f),
        sums(static_cast<std::size_t>(round_up(out, 64))) {
    std::vector<float> rows(static_cast<std::size_t>(64 * in));
    Rng rng(1);
    for (float& v : rows) v = static_cast<float>(rng.uniform() - 0.5);
    const kernels::RowsView source{reinterpret_cast<const std::byte*>(rows.data()), in * 4};
    for (Dim p = 0; p < ceil_div(out, 64); ++p)
      kernels::pack_panel(type, source, 64, in, panels.as<std::byte>() + p * kernels::panel_bytes(type, in),
                          scale.data() + p * 64, sums.data() + p * 64);
    view = {type, in, out, panels.as<std::byte>(), scale.data(), sums.data()};
  }
  Dim bytes() const { return kernels::panel_bytes(view.type, view.in) * view.panel_count(); }
};

struct Shape {
  const char* name;
  Dim in, out;
};

void multiply(const std::vector<float>& x, const kernels::PackView& w, Dim rows, float* y, kernels::ProductPath path) {
  const kernels::Operand a = kernels::prepare(w.type, x.data(), w.in, rows, w.in);
  product(a, w, {.out = y, .out_stride = w.out}, path);
}

// The products of a layer as a model calls them: query, key and value at once; gate and up as one; weights in this
// order.
void decode_layer(const std::vector<float>& x, const std::unique_ptr<Weight>* w, Dim rows, float* y) {
  const auto finish = [&](int i, Dim at) {
    return kernels::Finish{.out = y + rows * at, .out_stride = w[i]->view.out};
  };
  const kernels::Operand a = kernels::prepare(w[0]->view.type, x.data(), 960, rows, 960);
  const kernels::ProductJob jobs[] = {
      {w[0]->view, finish(0, 0)}, {w[1]->view, finish(1, 960)}, {w[2]->view, finish(2, 1280)}};
  kernels::product_each(a, jobs);
  multiply(x, w[3]->view, rows, y, kernels::ProductPath::automatic);
  const kernels::Operand b = kernels::prepare(w[4]->view.type, x.data(), 960, rows, 960);
  kernels::product_gated(b, w[4]->view, nullptr, w[5]->view, nullptr, finish(4, 0));
  multiply(x, w[6]->view, rows, y, kernels::ProductPath::automatic);
}

// One pass over a model's weights, alternating with plain reads of the same bytes: what else the machine does then hits
// both.
void sweep(Pack type, Dim rows, int threads, kernels::ProductPath path) {
  const Shape layer[] = {{"q", 960, 960},     {"k", 960, 320},   {"v", 960, 320},    {"o", 960, 960},
                         {"gate", 960, 2560}, {"up", 960, 2560}, {"down", 2560, 960}};
  std::vector<std::unique_ptr<Weight>> weights;
  for (int i = 0; i < 32; ++i)
    for (const Shape& s : layer) weights.push_back(std::make_unique<Weight>(type, s.in, s.out));
  weights.push_back(std::make_unique<Weight>(type, 960, 49280));
  const std::vector<float> x(static_cast<std::size_t>(rows * 2560), 0.01f);
  std::vector<float> y(static_cast<std::size_t>(rows * 49280));

  struct Times {
    double product = 0, read = 0;
  };
  std::map<std::pair<Dim, Dim>, Times> best;  // by shape: the fastest pass over its weights
  Times fastest{1e30, 1e30};
  for (int round = 0; round < 20; ++round) {
    std::map<std::pair<Dim, Dim>, Times> times;
    for (const auto& w : weights) {
      const double start = now_s();
      read_block(w->panels.as<std::byte>(), w->bytes(), threads);
      times[{w->view.in, w->view.out}].read += now_s() - start;
    }
    for (const auto& w : weights) {
      const double start = now_s();
      multiply(x, w->view, rows, y.data(), path);
      times[{w->view.in, w->view.out}].product += now_s() - start;
    }
    const double start = now_s();
    for (std::size_t l = 0; l + 7 <= weights.size(); l += 7) decode_layer(x, &weights[l], rows, y.data());
    multiply(x, weights.back()->view, rows, y.data(), path);
    fastest.product = std::min(fastest.product, now_s() - start);
    double read = 0;
    for (const auto& [shape, t] : times) {
      read += t.read;
      auto& b = best[shape];
      b.product = b.product > 0 ? std::min(b.product, t.product) : t.product;
      b.read = b.read > 0 ? std::min(b.read, t.read) : t.read;
    }
    fastest.read = std::min(fastest.read, read);
  }
  double bytes = 0;
  std::map<std::pair<Dim, Dim>, double> bytes_of_shape;
  for (const auto& w : weights) {
    bytes += static_cast<double>(w->bytes());
    bytes_of_shape[{w->view.in, w->view.out}] += static_cast<double>(w->bytes());
  }
  fmt::print("{:5} rows {:4}  sweep of {:.0f} MB: {:.2f} ms, {:.1f} GB/s = {:.0f} % of {:.1f}; by shape:",
             type_names[static_cast<int>(type)], rows, bytes / 1e6, fastest.product * 1e3,
             bytes / fastest.product / 1e9, 100 * fastest.read / fastest.product, bytes / fastest.read / 1e9);
  for (const auto& [shape, t] : best)
    fmt::print(" {}->{} {:.1f} ({:.0f} %)", shape.first, shape.second, bytes_of_shape[shape] / t.product / 1e9,
               100 * t.read / t.product);
  fmt::print("\n");
}

}  // namespace

int main(int count, char** words) {
  try {
    std::map<std::string, std::string> options;
    for (int i = 1; i < count; ++i) {
      const std::string word = words[i];
      options[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
    }
    const int threads = options.contains("threads") ? std::atoi(options["threads"].c_str()) : available_threads();
    ExecContext context(threads);
    const ExecContext::Scope scope(context);
    const auto path = options["path"] == "tiles"    ? kernels::ProductPath::tiles
                      : options["path"] == "onednn" ? kernels::ProductPath::onednn
                                                    : kernels::ProductPath::automatic;
    const MachineLimits limits = measure_limits(threads);
    fmt::print("{}\n", to_json(limits));
    const Shape shapes[] = {{"vision qkv/out", 768, 768}, {"vision fc1", 768, 3072}, {"vision fc2", 3072, 768},
                            {"connector", 12288, 960},    {"text q/o", 960, 960},    {"text k/v", 960, 320},
                            {"text gate/up", 960, 2560},  {"text down", 2560, 960}};
    for (const Pack type : {Pack::f32, Pack::bf16, Pack::q8, Pack::q4}) {
      if (options.contains("type") && options["type"] != type_names[static_cast<int>(type)]) continue;
      const double peak = type == Pack::f32    ? limits.f32_gops
                          : type == Pack::bf16 ? limits.bf16_gops
                                               : limits.int8_gops;
      for (const Dim rows : {1, 2, 4, 8, 16, 64, 256, 512, 1024}) {
        if (options.contains("rows") && std::atol(options["rows"].c_str()) != rows) continue;
        if (rows <= 8) {
          sweep(type, rows, threads, path);
          continue;
        }
        for (const Shape& s : shapes) {
          const Weight w(type, s.in, s.out);
          const std::vector<float> x(static_cast<std::size_t>(rows * s.in), 0.01f);
          std::vector<float> y(static_cast<std::size_t>(rows * s.out));
          const double t = fastest_s([&] { multiply(x, w.view, rows, y.data(), path); }, 5, 0.1);
          const double gops = 2e-9 * static_cast<double>(rows * s.in * s.out) / t;
          fmt::print("{:5} rows {:4}  {:15} {:5} -> {:5}: {:8.3f} ms, {:7.1f} Gop/s = {:3.0f} %\n",
                     type_names[static_cast<int>(type)], rows, s.name, s.in, s.out, t * 1e3, gops, 100 * gops / peak);
        }
      }
    }
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "linear: {}\n", error.message());
    return error.code() == ErrorCode::usage ? 2 : 1;
  }
}
