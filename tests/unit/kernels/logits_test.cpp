#include "kernels/logits.h"

#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include "base/rng.h"
#include "kernels/isa.h"

using namespace tap;

TEST_CASE("the peak of a row is its first largest finite value, and the sum of exponentials is that of a double") {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Isa isa : usable_isas()) {
    const IsaScope scope(isa);
    Rng rng(11);
    for (const Dim width : {1, 2, 15, 16, 17, 63, 64, 1000, 1024, 1025, 49'280}) {
      CAPTURE(width);
      std::vector<float> x(static_cast<std::size_t>(width));
      for (float& v : x) v = static_cast<float>(rng.uniform() * 40 - 20);
      for (std::size_t i = 5; i < x.size(); i += 7)
        x[i] = i % 3 == 0 ? std::nanf("") : i % 3 == 1 ? infinity : -infinity;
      if (width > 20) x[static_cast<std::size_t>(width) - 1] = x[static_cast<std::size_t>(width) / 2] = 21;
      float top = -infinity;
      Dim at = -1;
      for (Dim i = 0; i < width; ++i)
        if (const float v = x[static_cast<std::size_t>(i)]; std::isfinite(v) && v > top) top = v, at = i;
      double sum = 0;
      for (const float v : x)
        if (std::isfinite(v)) sum += std::exp(static_cast<double>(v) - static_cast<double>(top));
      const kernels::RowPeak peak = kernels::peak_of(x.data(), width);
      CHECK(peak.top == top);
      CHECK(peak.at == at);
      CHECK(peak.sum == doctest::Approx(sum).epsilon(1e-6));
      std::vector<float> y(x.size());
      kernels::exp_row(x.data(), width, top, 0.7f, y.data());
      double worst = 0;
      for (std::size_t i = 0; i < x.size(); ++i)
        if (x[i] <= top) {
          const double wanted = std::exp((static_cast<double>(x[i]) - static_cast<double>(top)) / 0.7);
          worst = std::max(worst, std::abs(static_cast<double>(y[i]) - wanted) / std::max(wanted, 1e-37));
        }
      CHECK(worst < 1e-5);
    }
  }
}

TEST_CASE("a row without a finite value has no peak") {
  const std::vector<float> x(40, -std::numeric_limits<float>::infinity());
  CHECK(kernels::peak_of(x.data(), 40).at == -1);
  CHECK(kernels::peak_of(x.data(), 0).at == -1);
}
