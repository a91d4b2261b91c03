#include "cli/interrupt.h"

#include <atomic>
#include <csignal>

#include <unistd.h>

#include "base/file.h"

namespace tap::cli {

namespace {

std::atomic<ExecContext*> interrupted_context{nullptr};
std::atomic<int> interrupts{0};

void on_interrupt(int) {
  ExecContext* context = interrupted_context.load();
  if (interrupts.fetch_add(1) > 0 || !context) {
    remove_pending_files();
    ::_exit(130);
  }
  context->cancel();
}

}  // namespace

InterruptScope::InterruptScope(ExecContext& context) {
  interrupted_context = &context;
  struct sigaction action = {};
  action.sa_handler = on_interrupt;  // no SA_RESTART: a read from a terminal or a pipe ends too
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGHUP, &action, nullptr);
  ::signal(SIGXFSZ, SIG_IGN);   // a file-size limit is a failed write, not a death
  ::signal(SIGPIPE, SIG_IGN);
}

InterruptScope::~InterruptScope() { interrupted_context = nullptr; }

}  // namespace tap::cli
