// Ctrl-C: the first one asks the computation to stop (it ends at the next layer), the second ends the program at once.
#pragma once

#include "base/exec_context.h"

namespace tap::cli {

class InterruptScope {
 public:
  explicit InterruptScope(ExecContext& context);  // SIGINT and SIGTERM cancel `context`; SIGPIPE is ignored
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
};

}  // namespace tap::cli
