// The only door to threads: one OpenMP team, entered from the engine's thread.
#pragma once

#include <algorithm>
#include <exception>
#include <functional>

#include "base/dim.h"
#include "base/exec_context.h"

namespace tap {

struct Rows {
  Dim begin, end;
  Dim size() const { return end - begin; }
};

// Calls body(Rows) over [0, count) in chunks of `grain` rows (the last may be shorter). Chunks depend on count and
// grain only, never on the number of threads, so results are the same bits for any number. The first exception is
// rethrown after all have stopped.
void parallel_rows(Dim count, Dim grain, const std::function<void(Rows)>& body);

}  // namespace tap
