// What this machine can do at best: the figures that other benchmarks are fractions of. Each is the best of several
// short runs, since anything else that runs on the machine only ever makes a run slower.
#pragma once

#include <string>

#include "kernels/pack.h"

namespace tap::bench {

// Multiplications and additions (2 per step) a second in 1e9, operands in registers: the product peak of a weight
// type's arithmetic (f32 FMA, bf16 dot products, int8 dot products for q8 and q4). Where the CPU lacks the instructions
// it is f32's.
double product_peak_gops(kernels::Pack type, int threads);

// Bytes a second in 1e9, reading one block over and over; with or without huge pages.
double read_bandwidth_gbs(int threads, bool huge_pages, std::size_t block_bytes = std::size_t{1} << 30);

// Reads a block once, a contiguous part for each of `threads` threads (at most the current ExecContext's).
void read_block(const std::byte* block, Dim bytes, int threads);

struct Limits {
  int threads;
  double f32_gops, bf16_gops, int8_gops;
  double read_gbs, read_one_thread_gbs, read_small_pages_gbs, read_one_thread_small_pages_gbs;
};
Limits measure_limits(int threads);
std::string to_json(const Limits& limits);

// Seconds of the fastest of at least `runs` calls and at least `seconds` in all.
template <class Fn>
double fastest_s(Fn&& fn, int runs = 5, double seconds = 0.2);
double now_s();

template <class Fn>
double fastest_s(Fn&& fn, int runs, double seconds) {
  double best = 1e30;
  const double begin = now_s();
  for (int i = 0; i < runs || now_s() - begin < seconds; ++i) {
    const double start = now_s();
    fn();
    const double passed = now_s() - start;
    if (passed < best) best = passed;
  }
  return best;
}

}  // namespace tap::bench
