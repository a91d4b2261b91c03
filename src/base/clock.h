// Wall time for reports; never part of a result.
#pragma once

#include <chrono>

namespace tap {

class Stopwatch {
 public:
  double ms() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count();
  }
  double s() const { return ms() / 1e3; }
  double lap_ms() {  // time since construction or the last lap
    const double passed = ms();
    start_ = std::chrono::steady_clock::now();
    return passed;
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace tap
