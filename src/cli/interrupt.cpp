#include "cli/interrupt.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/file.h"

namespace tap::cli {

namespace {

std::atomic<ExecContext*> interrupted_context{nullptr};
std::atomic<int> interrupts{0};
std::atomic<bool> leaving{false};
std::atomic<int> wake_event{-1};
std::atomic<void (*)() noexcept> restore_before_exit{nullptr};

void on_interrupt(int signal) {
  ExecContext* context = interrupted_context.load();
  if (signal != SIGINT) leaving = true;
  if (interrupts.fetch_add(1) > 0 || !context) {
    remove_pending_files();
    if (const auto restore = restore_before_exit.load()) restore();
    ::_exit(130);
  }
  context->cancel();
  wake();
}

}  // namespace

InterruptScope::InterruptScope(ExecContext& context) {
  interrupted_context = &context;
  struct sigaction action = {};
  action.sa_handler = on_interrupt;  // no SA_RESTART: a read from a terminal or a pipe ends too
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGHUP, &action, nullptr);
  ::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is a failed write, not a death
}

InterruptScope::~InterruptScope() { interrupted_context = nullptr; }

Interruption interruption() {
  if (leaving) return Interruption::leave;
  return interrupts > 0 ? Interruption::stop : Interruption::none;
}

void resume() {
  ExecContext* context = interrupted_context.load();
  if (leaving || !context) return;
  interrupts = 0;
  context->clear_cancel();
  if (interrupts > 0) context->cancel();  // a signal that came between the two lines above
}

int wake_fd() {
  if (wake_event < 0) wake_event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return wake_event;
}

void drain_wake_fd() {
  std::uint64_t count;
  (void)!::read(wake_event, &count, sizeof count);
}

void wake() noexcept {
  const int error = errno;
  const std::uint64_t one = 1;
  if (const int fd = wake_event; fd >= 0) (void)!::write(fd, &one, sizeof one);
  errno = error;
}

void on_forced_exit(void (*restore)() noexcept) { restore_before_exit = restore; }

}  // namespace tap::cli
