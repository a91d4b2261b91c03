// What this machine can do at best: the figures that other benchmarks are fractions of. Each is the best of several
// short runs, since anything else that runs on the machine only ever makes a run slower. `threads`: at most the current
// ExecContext's.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>

#include "base/exec_context.h"
#include "kernels/pack.h"

namespace tap {

// Multiplications and additions (2 per step) a second in 1e9, operands in registers: the product peak of a weight
// type's arithmetic (f32 FMA, bf16 dot products, int8 dot products for q8 and q4). Where the CPU lacks the instructions
// it is that of the portable kernel which runs in their place, on operands in the first-level cache.
// Takes about `seconds`; the current ExecContext's checkpoint is asked between runs.
double product_peak_gops(kernels::Pack type, int threads, double seconds = 0.5);

// Bytes a second in 1e9, reading one block over and over; with or without huge pages. 0 when the block cannot be had.
double read_bandwidth_gbs(int threads, bool huge_pages, std::size_t block_bytes = std::size_t{1} << 30,
                          double seconds = 0.5);

// Reads a block once, a contiguous part for each of `threads` threads (at most the current ExecContext's).
void read_block(const std::byte* block, Dim bytes, int threads);

struct MachineLimits {
  int threads;
  double f32_gops, bf16_gops, int8_gops;
  double read_gbs, read_one_thread_gbs, read_small_pages_gbs, read_one_thread_small_pages_gbs;
};
MachineLimits measure_limits(int threads);
std::string to_json(const MachineLimits& limits);

// Seconds of the fastest of at least `runs` calls and at least `seconds` in all; the current ExecContext's checkpoint
// is asked between calls.
template <class Fn>
double fastest_s(Fn&& fn, int runs = 5, double seconds = 0.2) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  double best = 1e30;
  const auto begin = Clock::now();
  for (int i = 0; i < runs || since(begin) < seconds; ++i) {
    ExecContext::current().checkpoint();
    const auto start = Clock::now();
    fn();
    best = std::min(best, since(start));
  }
  return best;
}

}  // namespace tap
