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

// Whether so many bytes may be taken at once, within the cgroup's limit, beyond which the process is killed, and that
// of the address space. Below large_bytes that is not asked.
constexpr std::uint64_t large_bytes = std::uint64_t{16} << 20;
bool has_room(std::uint64_t bytes);
void require_room(std::uint64_t bytes);  // throws Error(out_of_memory) naming the numbers
// What is large must leave so much to what is small (a server's other answers); 0 unless this is called.
void keep_room(std::uint64_t bytes);

std::uint64_t resident_bytes();       // VmRSS
std::uint64_t peak_resident_bytes();  // VmHWM; 0 where the system does not say

}  // namespace tap
