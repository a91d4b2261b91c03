// Calls that fail on demand: the n-th read, pread, write, fsync or rename of a file below a path, or the n-th operator
// new. interpose.cpp stands before libc and libstdc++, either linked into a test or preloaded into the program, where
// TAPETUM_TEST_FAULT says what fails ("pread:3:EIO:/folder", "new:17").
#pragma once

#include <cerrno>
#include <cstdint>
#include <string>

namespace tap::faults {

enum class Call { none, read, pread, write, fsync, rename, allocate };

struct Fault {
  Call call = Call::none;
  std::uint64_t nth = 1;  // from now on, counted from 1: the first that fails; reading and writing then go on to fail
  int error = EIO;        // 0: no failure, but half of the bytes that were asked for (read, pread, write)
  std::string path{};     // only files whose real path begins so
};

void arm(const Fault& fault);
void disarm();
bool fired();  // since arm()

// Arms for one scope.
class FaultScope {
 public:
  explicit FaultScope(const Fault& fault) { arm(fault); }
  ~FaultScope() { disarm(); }
  FaultScope(const FaultScope&) = delete;
  FaultScope& operator=(const FaultScope&) = delete;
};

}  // namespace tap::faults
