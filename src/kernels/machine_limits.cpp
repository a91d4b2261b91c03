#include "kernels/machine_limits.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>

#include <fmt/format.h>
#include <sys/mman.h>

#include "base/parallel.h"
#include "kernels/dot_avx512.h"
#include "kernels/isa.h"
#include "kernels/product_tiles.h"

#if defined(__x86_64__)
#include <immintrin.h>
// gcc 12's own intrinsics start from an undefined register (GCC PR 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace tap {

namespace {

std::atomic<std::int64_t> sink;  // keeps results alive

constexpr Dim turns = 1 << 20;

#if defined(__x86_64__)
// 24 independent sums hide the latency of any of these instructions. In assembly: gcc 12 would copy the sums about. The
// operands are zeros, which these units do not skip.
void turn_f32() {
  Dim left = turns;
  __asm__ volatile(
      "vzeroall\n\tvpxorq %%zmm24, %%zmm24, %%zmm24\n\tvpxorq %%zmm25, %%zmm25, %%zmm25\n\t"
      ".irp n,16,17,18,19,20,21,22,23\n\tvpxorq %%zmm\\n, %%zmm\\n, %%zmm\\n\n\t.endr\n"
      "1:\n\t"
      ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n\tvfmadd231ps %%zmm24, %%zmm25, "
      "%%zmm\\n\n\t.endr\n\t"
      "dec %0\n\tjnz 1b\n\tvzeroupper"
      : "+r"(left)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
        "xmm13", "xmm14", "xmm15");
}

void turn_bf16() {
  Dim left = turns;
  __asm__ volatile(
      "vzeroall\n\tvpxorq %%zmm24, %%zmm24, %%zmm24\n\tvpxorq %%zmm25, %%zmm25, %%zmm25\n\t"
      ".irp n,16,17,18,19,20,21,22,23\n\tvpxorq %%zmm\\n, %%zmm\\n, %%zmm\\n\n\t.endr\n"
      "1:\n\t"
      ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n\tvdpbf16ps %%zmm24, %%zmm25, "
      "%%zmm\\n\n\t.endr\n\t"
      "dec %0\n\tjnz 1b\n\tvzeroupper"
      : "+r"(left)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
        "xmm13", "xmm14", "xmm15");
}

void turn_int8() {
  Dim left = turns;
  __asm__ volatile(
      "vzeroall\n\tvpxorq %%zmm24, %%zmm24, %%zmm24\n\tvpxorq %%zmm25, %%zmm25, %%zmm25\n\t"
      ".irp n,16,17,18,19,20,21,22,23\n\tvpxorq %%zmm\\n, %%zmm\\n, %%zmm\\n\n\t.endr\n"
      "1:\n\t"
      ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n\tvpdpbusd %%zmm24, %%zmm25, "
      "%%zmm\\n\n\t.endr\n\t"
      "dec %0\n\tjnz 1b\n\tvzeroupper"
      : "+r"(left)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
        "xmm13", "xmm14", "xmm15");
}

__attribute__((target("avx512f"))) std::uint64_t sum_avx512(const std::byte* data, Dim bytes) {
  __m512i sums[8];
  for (auto& s : sums) s = _mm512_setzero_si512();
  for (Dim i = 0; i < bytes; i += 512) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      _mm_prefetch(reinterpret_cast<const char*>(data + i + j * 64) + 8192, _MM_HINT_T0);
      sums[j] = _mm512_add_epi64(sums[j], _mm512_load_si512(data + i + j * 64));
    }
  }
  std::uint64_t total = 0;
  for (const auto& s : sums) total += static_cast<std::uint64_t>(_mm512_reduce_add_epi64(s));
  return total;
}
#endif

std::uint64_t sum_portable(const std::byte* data, Dim bytes) {
  const auto* words = reinterpret_cast<const std::uint64_t*>(data);
  std::uint64_t a[8] = {};
  for (Dim i = 0; i < bytes / 8; i += 8) {
    __builtin_prefetch(reinterpret_cast<const char*>(words + i) + 8192);
    for (int j = 0; j < 8; ++j) a[j] += words[i + j];
  }
  return a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7];
}

// Portable tiles of 6 rows x 64 inputs x 64 outputs, all in the first-level cache.
constexpr int portable_turns = 400, portable_rows = 6, portable_k = 64;
constexpr double portable_operations = 2.0 * portable_turns * portable_rows * portable_k * 64;

template <class A, class W, class C, void (*tile)(const A*, Dim, Dim, const W*, Dim, C*)>
void turn_portable() {
  alignas(64) A a[portable_rows * portable_k] = {};
  alignas(64) W panel[portable_k * 64] = {};
  alignas(64) C c[portable_rows * 64];
  for (int i = 0; i < portable_turns; ++i) tile(a, portable_k, portable_rows, panel, portable_k, c);
  sink += static_cast<std::int64_t>(c[0]);
}

}  // namespace

double product_peak_gops(kernels::Pack type, int threads, double seconds) {
  const Isa isa = active_isa();
  void (*turn)() = turn_portable<float, float, float, kernels::tile_f32_portable>;
  if (type == kernels::Pack::bf16)
    turn = turn_portable<std::uint16_t, std::uint16_t, float, kernels::tile_bf16_portable>;
  if (type == kernels::Pack::q8 || type == kernels::Pack::q4)
    turn = turn_portable<std::uint8_t, std::int8_t, std::int32_t, kernels::tile_q8_portable>;
  double operations = portable_operations;
#if defined(__x86_64__)
  if (type == kernels::Pack::f32 && isa >= Isa::avx512) turn = turn_f32, operations = 2.0 * 16 * 24 * turns;
  if (type == kernels::Pack::bf16 && isa >= Isa::avx512_bf16) turn = turn_bf16, operations = 2.0 * 32 * 24 * turns;
  if ((type == kernels::Pack::q8 || type == kernels::Pack::q4) && isa >= Isa::avx512_vnni)
    turn = turn_int8, operations = 2.0 * 64 * 24 * turns;
#endif
  const double s = fastest_s([&] { parallel_rows(threads, 1, [&](Rows) { turn(); }); }, 5, seconds);
  return threads * operations / s / 1e9;
}

void read_block(const std::byte* block, Dim bytes, int threads) {
  auto sum = sum_portable;
#if defined(__x86_64__)
  if (active_isa() >= Isa::avx512) sum = sum_avx512;
#endif
  const Dim part = bytes / threads / 512 * 512;
  parallel_rows(threads, 1,
                [&](Rows r) { sink += static_cast<std::int64_t>(sum(block + r.begin * part, r.size() * part)); });
}

double read_bandwidth_gbs(int threads, bool huge_pages, std::size_t block_bytes, double seconds) {
  void* block = ::mmap(nullptr, block_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return 0;
  const std::unique_ptr<void, std::function<void(void*)>> unmap(block, [&](void* at) { ::munmap(at, block_bytes); });
  ::madvise(block, block_bytes, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  auto* bytes = static_cast<std::byte*>(block);
  for (std::size_t i = 0; i < block_bytes; i += 4096) bytes[i] = std::byte{1};
  const double s = fastest_s([&] { read_block(bytes, static_cast<Dim>(block_bytes), threads); }, 6, seconds);
  return static_cast<double>(block_bytes) / s / 1e9;
}

MachineLimits measure_limits(int threads) {
  MachineLimits l{};
  l.threads = threads;
  l.f32_gops = product_peak_gops(kernels::Pack::f32, threads);
  l.bf16_gops = product_peak_gops(kernels::Pack::bf16, threads);
  l.int8_gops = product_peak_gops(kernels::Pack::q8, threads);
  l.read_gbs = read_bandwidth_gbs(threads, true);
  l.read_one_thread_gbs = read_bandwidth_gbs(1, true);
  l.read_small_pages_gbs = read_bandwidth_gbs(threads, false);
  l.read_one_thread_small_pages_gbs = read_bandwidth_gbs(1, false);
  return l;
}

std::string to_json(const MachineLimits& l) {
  return fmt::format(
      R"({{"isa":"{}","threads":{},"f32_gops":{:.1f},"bf16_gops":{:.1f},"int8_gops":{:.1f},"read_gbs":{:.2f},)"
      R"("read_one_thread_gbs":{:.2f},"read_small_pages_gbs":{:.2f},"read_one_thread_small_pages_gbs":{:.2f}}})",
      name(active_isa()), l.threads, l.f32_gops, l.bf16_gops, l.int8_gops, l.read_gbs, l.read_one_thread_gbs,
      l.read_small_pages_gbs, l.read_one_thread_small_pages_gbs);
}

}  // namespace tap
