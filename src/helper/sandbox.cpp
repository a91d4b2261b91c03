#include "helper/sandbox.h"

#include <cerrno>
#include <csignal>
#include <initializer_list>

#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "codec/media_protocol.h"

namespace tap::helper {

namespace {

constexpr rlim_t memory_bytes = rlim_t{4} << 30, cpu_seconds = 24 * 3600, most_files = 16;

bool limit(int what, rlim_t value) {
  const rlimit limits{value, value};
  return ::setrlimit(static_cast<__rlimit_resource>(what), &limits) == 0;
}

// What decoding, talking and allocating take. Everything else fails with EPERM, as on a machine that has nothing.
bool allow_calls() {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(1));
  if (!filter) return false;
  bool good = true;
  for (const int call : {SCMP_SYS(read),
                         SCMP_SYS(pread64),
                         SCMP_SYS(lseek),
                         SCMP_SYS(write),
                         SCMP_SYS(pwrite64),
                         SCMP_SYS(recvmsg),
                         SCMP_SYS(sendmsg),
                         SCMP_SYS(memfd_create),
                         SCMP_SYS(ftruncate),
                         SCMP_SYS(munmap),
                         SCMP_SYS(mremap),
                         SCMP_SYS(brk),
                         SCMP_SYS(madvise),
                         SCMP_SYS(futex),
                         SCMP_SYS(clock_gettime),
                         SCMP_SYS(gettimeofday),
                         SCMP_SYS(exit_group),
                         SCMP_SYS(exit),
                         SCMP_SYS(rt_sigreturn),
                         SCMP_SYS(rt_sigaction),
                         SCMP_SYS(rt_sigprocmask),
                         SCMP_SYS(close),
                         SCMP_SYS(fstat),
                         SCMP_SYS(getrandom),
                         SCMP_SYS(sched_getaffinity),
                         SCMP_SYS(sched_yield),
                         SCMP_SYS(getpid),
                         SCMP_SYS(gettid),
                         SCMP_SYS(tgkill),
                         SCMP_SYS(fcntl),
                         SCMP_SYS(sysinfo),
                         SCMP_SYS(set_robust_list),
                         SCMP_SYS(rseq)})
    good &= seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0) == 0;
  // No memory that can be executed.
  constexpr scmp_datum_t executable = 4;  // PROT_EXEC
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)})
    good &= seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, executable, 0)) == 0;
  // Threads (libde265 decodes in one), but no processes. glibc falls back from clone3, whose flags no filter sees.
  constexpr scmp_datum_t thread = 0x10000;  // CLONE_THREAD
  good &=
      seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, thread, thread)) == 0;
  good &= seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) == 0;
  good = good && seccomp_load(filter) == 0;
  seccomp_release(filter);
  return good;
}

}  // namespace

bool enter_sandbox() {
  bool good = ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
  good &= ::prctl(PR_SET_DUMPABLE, 0) == 0 && limit(RLIMIT_CORE, 0);
  good &= ::close_range(media_protocol::file_fd + 1, ~0U, 0) == 0;
#ifdef TAPETUM_SANITIZED
  constexpr bool walls = false;  // sanitizers need calls and memory that these forbid
#else
  constexpr bool walls = true;
#endif
  if (!walls) return good;
  good &= limit(RLIMIT_AS, memory_bytes) && limit(RLIMIT_CPU, cpu_seconds) && limit(RLIMIT_NOFILE, most_files);
  return good && allow_calls();
}

}  // namespace tap::helper
