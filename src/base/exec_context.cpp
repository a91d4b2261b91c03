#include "base/exec_context.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <sched.h>

#include "base/cgroup.h"
#include "base/error.h"
#include "base/file.h"

namespace tap {

namespace {

thread_local ExecContext* innermost = nullptr;

ExecContext& process_default() {
  static ExecContext context;
  return context;
}

// Quota in CPUs of one cgroup folder; 0 when there is none.
double cgroup_quota(const std::string& folder) {
  if (const auto text = read_file(folder + "/cpu.max", 256); text.ok()) {  // v2: "QUOTA PERIOD" or "max PERIOD"
    double quota = 0, period = 0;
    if (std::sscanf(text->c_str(), "%lf %lf", &quota, &period) == 2 && period > 0) return quota / period;
    return 0;
  }
  for (const char* controller : {"", "/cpu", "/cpu,cpuacct"}) {
    const auto quota = read_file(folder + controller + "/cpu.cfs_quota_us", 64);
    const auto period = read_file(folder + controller + "/cpu.cfs_period_us", 64);
    if (!quota.ok() || !period.ok()) continue;
    const double q = std::atof(quota->c_str()), p = std::atof(period->c_str());
    if (q > 0 && p > 0) return q / p;
  }
  return 0;
}

}  // namespace

int available_threads(const char* cgroup_root) {
  cpu_set_t set;
  int cpus = 1;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) cpus = std::max(1, CPU_COUNT(&set));
  const auto cap = [&](double quota) {
    if (quota > 0 && quota < cpus) cpus = std::max(1, static_cast<int>(std::ceil(quota)));
  };
  for_each_cgroup(cgroup_root, [&](const std::string& folder) { cap(cgroup_quota(folder)); });
  return cpus;
}

ExecContext::ExecContext(int threads) : threads_(threads > 0 ? threads : available_threads()) {}

void ExecContext::checkpoint() const {
  if (cancelled_.load(std::memory_order_relaxed)) throw Error(ErrorCode::cancelled, "interrupted");
  if (hook_) hook_();
}

ExecContext& ExecContext::current() { return innermost ? *innermost : process_default(); }

ExecContext::Scope::Scope(ExecContext& context) : previous_(innermost) { innermost = &context; }
ExecContext::Scope::~Scope() { innermost = previous_; }

}  // namespace tap
