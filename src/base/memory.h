// How much memory this process has and may still take: of the machine, of its cgroup, of its address space.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace tap {

struct MemoryLimits {
  std::optional<std::uint64_t> machine;        // MemAvailable: what the system can give without swapping
  std::optional<std::uint64_t> cgroup;         // limit less use, page cache that can be dropped not counted as use
  std::optional<std::uint64_t> address_space;  // RLIMIT_AS less what is mapped
  std::optional<std::uint64_t> cgroup_limit;   // the limit itself, for reports

  // The least of them: bytes that can still be taken. Unlimited when nothing is known.
  std::uint64_t available() const;
  std::string_view binding() const;  // which one that is: "cgroup limit", for messages
};

// The limits of this process; every ancestor's cgroup limit binds (v2 memory.max, v1 memory.limit_in_bytes). The roots
// are parameters for tests.
MemoryLimits memory_limits(const char* cgroup_root = "/sys/fs/cgroup", const char* proc_root = "/proc");

std::uint64_t resident_bytes();       // VmRSS
std::uint64_t peak_resident_bytes();  // VmHWM; 0 where the system does not say

}  // namespace tap
