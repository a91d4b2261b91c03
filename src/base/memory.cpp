#include "base/memory.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <string>

#include <sys/resource.h>

#include "base/cgroup.h"
#include "base/error.h"
#include "base/file.h"
#include "base/human_bytes.h"

namespace tap {

namespace {

constexpr std::uint64_t unlimited_v1 = std::uint64_t{1} << 60;  // v1 writes a huge number where there is no limit

// The number after `key` at the start of a line ("VmRSS:  123 kB"); none when it is not there.
std::optional<std::uint64_t> field(const std::string& text, std::string_view key) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    if (text.compare(at, key.size(), key) == 0 && at + key.size() < end &&
        (key.back() == ':' || text[at + key.size()] == ' '))
      return std::strtoull(text.c_str() + at + key.size(), nullptr, 10);
    at = end + 1;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> number_in(const std::string& path) {
  const auto text = read_file(path, 64);
  if (!text.ok() || text->empty() || (*text)[0] < '0' || (*text)[0] > '9') return std::nullopt;  // "max"
  return std::strtoull(text->c_str(), nullptr, 10);
}

struct Cgroup {
  std::uint64_t limit, left;
};

// One folder's limit and what is left of it; none without a limit.
std::optional<Cgroup> cgroup_memory(const std::string& folder) {
  struct Names {
    const char *subfolder, *limit, *use, *inactive, *active;
  };
  constexpr std::array<Names, 3> versions{
      {{"", "/memory.max", "/memory.current", "inactive_file", "active_file"},
       {"", "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file", "total_active_file"},
       {"/memory", "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file", "total_active_file"}}};
  for (const Names& names : versions) {
    const std::string at = folder + names.subfolder;
    const auto limit = number_in(at + names.limit), use = number_in(at + names.use);
    if (!limit || !use || *limit >= unlimited_v1) continue;
    std::uint64_t dropped = 0;
    if (const auto stat = read_file(at + "/memory.stat", 1 << 16); stat.ok())
      dropped = field(*stat, names.inactive).value_or(0) + field(*stat, names.active).value_or(0);
    const std::uint64_t held = *use - std::min(*use, dropped);
    return Cgroup{*limit, *limit - std::min(*limit, held)};
  }
  return std::nullopt;
}

std::optional<std::uint64_t> status_bytes(const char* proc_root, std::string_view key) {
  const auto status = read_file(std::string(proc_root) + "/self/status", 1 << 16);
  const auto kib = status.ok() ? field(*status, key) : std::nullopt;
  return kib ? std::optional(*kib * 1024) : std::nullopt;
}

}  // namespace

std::uint64_t MemoryLimits::available() const {
  std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
  for (const auto& limit : {machine, cgroup, address_space})
    if (limit) least = std::min(least, *limit);
  return least;
}

std::string_view MemoryLimits::binding() const {
  if (cgroup && *cgroup == available()) return "the cgroup's memory limit";
  if (address_space && *address_space == available()) return "the limit of the address space (ulimit -v)";
  return "the machine's memory";
}

MemoryLimits memory_limits(const char* cgroup_root, const char* proc_root) {
  MemoryLimits limits;
  if (const auto text = read_file(std::string(proc_root) + "/meminfo", 1 << 16); text.ok())
    if (const auto kib = field(*text, "MemAvailable:")) limits.machine = *kib * 1024;
  for_each_cgroup(cgroup_root, [&](const std::string& folder) {
    const auto found = cgroup_memory(folder);
    if (!found) return;
    limits.cgroup = std::min(limits.cgroup.value_or(found->left), found->left);
    limits.cgroup_limit = std::min(limits.cgroup_limit.value_or(found->limit), found->limit);
  });
  rlimit space{};
  if (::getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) {
    const std::uint64_t mapped = status_bytes(proc_root, "VmSize:").value_or(0), most = space.rlim_cur;
    limits.address_space = most - std::min(most, mapped);
  }
  return limits;
}

namespace {

std::atomic<std::uint64_t> kept_room{0};

MemoryLimits hard_limits() {
  MemoryLimits limits = memory_limits();
  limits.machine.reset();  // only an estimate, and there may be swap
  return limits;
}

}  // namespace

void keep_room(std::uint64_t bytes) { kept_room = bytes; }

bool has_room(std::uint64_t bytes) {
  if (bytes < large_bytes) return true;
  const std::uint64_t left = hard_limits().available(), kept = kept_room;
  return bytes <= left && kept <= left - bytes;
}

void require_room(std::uint64_t bytes) {
  if (has_room(bytes)) return;
  const MemoryLimits limits = hard_limits();
  fail(ErrorCode::out_of_memory, "out of memory: {} more wanted, {} leaves {}", human_bytes(static_cast<double>(bytes)),
       limits.binding(), human_bytes(static_cast<double>(limits.available())));
}

std::uint64_t resident_bytes() { return status_bytes("/proc", "VmRSS:").value_or(0); }
std::uint64_t peak_resident_bytes() { return status_bytes("/proc", "VmHWM:").value_or(0); }

}  // namespace tap
