// The terminal of a conversation: byte by byte while a line is edited, silent while an answer is written, and as it was
// before on every way out, signals included.
#pragma once

#include <string>
#include <string_view>

#include "cli/line_view.h"

namespace tap::cli {

class Terminal {
 public:
  // stdin and stdout are a terminal whose cursor can be moved.
  static bool usable();

  Terminal();  // one at a time; throws Error(io) when the terminal's settings cannot be read
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void edit_mode();    // every key is a byte, Ctrl-C included; pastes are bracketed
  void answer_mode();  // what is typed is not shown and waits for the next line; Ctrl-C is SIGINT
  void suspend();      // as Ctrl-Z in a plain terminal; returns when the job goes on, in edit mode

  enum class Wake { bytes, timeout, resized, interrupted, closed };
  // Waits for input and puts it behind `bytes`; wait_ms < 0: for ever.
  Wake wait(std::string& bytes, int wait_ms);
  bool has_input() const;  // more bytes are there already

  static ScreenSize size();
};

}  // namespace tap::cli
