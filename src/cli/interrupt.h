// Ctrl-C: the first one asks the computation to stop (it ends at the next layer), the second ends the program at once.
#pragma once

#include "base/exec_context.h"

namespace tap::cli {

class InterruptScope {
 public:
  explicit InterruptScope(ExecContext& context);  // SIGINT, SIGTERM and SIGHUP cancel `context`
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
};

// For a program that outlives an interrupt: what came since the last resume().
enum class Interruption { none, stop, leave };  // leave: SIGTERM or SIGHUP, which no resume() takes back
Interruption interruption();
// A stop is dealt with: computations may go on, and the next Ctrl-C is a first one.
void resume();

// Readable once a signal has come, on whichever thread: poll it beside an input. -1 when none could be had.
int wake_fd();
void drain_wake_fd();
void wake() noexcept;  // makes it readable; async-signal-safe

// Run before a signal ends the program at once; must be async-signal-safe. Null for none.
void on_forced_exit(void (*restore)() noexcept);

}  // namespace tap::cli
