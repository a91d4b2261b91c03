#include "base/parallel.h"

#include <atomic>
#include <mutex>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace tap {

void parallel_rows(Dim count, Dim grain, const std::function<void(Rows)>& body) {
  if (count <= 0) return;
  grain = std::max<Dim>(1, grain);
  const Dim chunks = ceil_div(count, grain);
  const auto chunk = [&](Dim i) { return Rows{i * grain, std::min(count, (i + 1) * grain)}; };
  ExecContext& context = ExecContext::current();
  const int threads = static_cast<int>(std::min<Dim>(context.threads(), chunks));
#ifdef _OPENMP
  const bool alone = threads <= 1 || omp_in_parallel();
#else
  constexpr bool alone = true;  // fuzzers are built without OpenMP
#endif
  if (alone) {
    for (Dim i = 0; i < chunks; ++i) body(chunk(i));
    return;
  }
  std::atomic<bool> stopped{false};
  std::exception_ptr first;
  std::mutex mutex;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (Dim i = 0; i < chunks; ++i) {
    if (stopped.load(std::memory_order_relaxed)) continue;
    try {
      const ExecContext::Scope scope(context);  // what a body allocates comes from the caller's arena
      body(chunk(i));
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!first) first = std::current_exception();
      stopped = true;
    }
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace tap
