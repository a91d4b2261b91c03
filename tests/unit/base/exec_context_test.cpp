#include "base/exec_context.h"

#include <algorithm>
#include <thread>

#include <doctest/doctest.h>

#include <sched.h>

#include "base/error.h"
#include "support/temp_folder.h"

using namespace tap;
using test::TempFolder;

namespace {

int cpus() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

int threads_under(const TempFolder& root) { return available_threads(root.path().c_str()); }

}  // namespace

TEST_CASE("[F14] a cgroup v2 quota caps the threads and half a CPU still gives one") {
  const TempFolder root;
  CHECK(threads_under(root) == cpus());  // no cgroup at all
  root.write("cpu.max", "max 100000\n");
  CHECK(threads_under(root) == cpus());
  root.write("cpu.max", "50000 100000\n");
  CHECK(threads_under(root) == 1);
  root.write("cpu.max", "100000 100000\n");
  CHECK(threads_under(root) == 1);
  root.write("cpu.max", "150000 100000\n");  // rounded up
  CHECK(threads_under(root) == std::min(2, cpus()));
  root.write("cpu.max", "99999999999999 1\n");
  CHECK(threads_under(root) == cpus());
}

TEST_CASE("[F14] a cgroup v1 quota caps the threads under each of its controllers' names") {
  for (const std::string controller : {"", "cpu/", "cpu,cpuacct/"}) {
    const TempFolder root;
    root.write(controller + "cpu.cfs_quota_us", "-1\n");  // none
    root.write(controller + "cpu.cfs_period_us", "100000\n");
    CHECK(threads_under(root) == cpus());
    root.write(controller + "cpu.cfs_quota_us", "50000\n");
    CHECK(threads_under(root) == 1);
    root.write(controller + "cpu.cfs_quota_us", "150000\n");
    CHECK(threads_under(root) == std::min(2, cpus()));
  }
}

TEST_CASE("[F14] cgroup files with nonsense are passed over") {
  const TempFolder root;
  for (const std::string text : {"", "x", "0 0", "-5 100000", "1 -1", "nan 1", "1", "1e300 1e-300"}) {
    root.write("cpu.max", text);
    CHECK(threads_under(root) == cpus());
  }
}

TEST_CASE("the innermost scope of a thread is its context") {
  ExecContext outer(1), inner(3);
  CHECK(ExecContext(2).threads() == 2);
  CHECK(ExecContext(0).threads() >= 1);
  const ExecContext::Scope a(outer);
  CHECK(&ExecContext::current() == &outer);
  {
    const ExecContext::Scope b(inner);
    CHECK(ExecContext::current().threads() == 3);
    const ExecContext* other = nullptr;
    std::thread([&] { other = &ExecContext::current(); }).join();
    CHECK(other != &inner);
  }
  CHECK(&ExecContext::current() == &outer);
}

TEST_CASE("a checkpoint runs the hook and throws once cancelled") {
  ExecContext context(1);
  int calls = 0;
  context.checkpoint();
  context.set_hook([&] { ++calls; });
  context.checkpoint();
  CHECK(calls == 1);
  context.cancel();
  try {
    context.checkpoint();
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::cancelled);
  }
  CHECK(calls == 1);
  context.clear_cancel();
  context.checkpoint();
  CHECK(calls == 2);
}
