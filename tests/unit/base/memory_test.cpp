#include "base/memory.h"

#include <doctest/doctest.h>

#include "support/temp_folder.h"

using namespace tap;
using tap::test::TempFolder;

namespace {

MemoryLimits limits_under(const TempFolder& root) {
  return memory_limits(root.path().c_str(), (root / "proc").c_str());
}

}  // namespace

TEST_CASE("[F14] a cgroup v2 memory limit leaves what is not in use and page cache is no use") {
  const TempFolder root;
  root.write("memory.max", "1000000000\n");
  root.write("memory.current", "700000000\n");
  CHECK(limits_under(root).cgroup == 300000000);
  root.write("memory.stat", "anon 500000000\nfile 200000000\nactive_file 50000000\ninactive_file 150000000\n");
  CHECK(limits_under(root).cgroup == 500000000);
  CHECK(limits_under(root).cgroup_limit == 1000000000);
  CHECK(limits_under(root).available() <= 500000000);
  root.write("memory.current", "2000000000\n");  // over the limit: nothing is left
  CHECK(limits_under(root).cgroup == 0);
}

TEST_CASE("[F14] a cgroup v1 memory limit counts and its huge number means none") {
  const TempFolder root;
  root.write("memory/memory.usage_in_bytes", "400000000\n");
  root.write("memory/memory.limit_in_bytes", "9223372036854771712\n");
  CHECK(!limits_under(root).cgroup);
  root.write("memory/memory.limit_in_bytes", "600000000\n");
  root.write("memory/memory.stat", "cache 1\ntotal_active_file 100000000\ntotal_inactive_file 50000000\n");
  CHECK(limits_under(root).cgroup == 350000000);
}

TEST_CASE("[F14] without limits or with nonsense in their files the machine's memory counts") {
  const TempFolder root;
  root.write("proc/meminfo", "MemTotal:  24000000 kB\nMemFree:  1000 kB\nMemAvailable:  5000 kB\n");
  for (const std::string text : {"max\n", "", "x", "-5"}) {
    root.write("memory.max", text);
    root.write("memory.current", "100\n");
    const MemoryLimits limits = limits_under(root);
    CHECK(!limits.cgroup);
    CHECK(limits.machine == 5000 * 1024);
    CHECK(limits.available() == 5000 * 1024);
    CHECK(limits.binding() == "the machine's memory");
  }
}

TEST_CASE("the process's resident memory grows with what it touches") {
  const std::uint64_t before = resident_bytes();
  const std::string touched(std::size_t{64} << 20, 'x');
  CHECK(resident_bytes() >= before + (std::size_t{60} << 20));
  CHECK(peak_resident_bytes() >= before + (std::size_t{60} << 20));
  CHECK(touched.back() == 'x');
}
