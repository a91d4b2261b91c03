#include "cli/output.h"

#include <cerrno>
#include <cstdio>

#include <unistd.h>

#include <fmt/format.h>

#include "base/exec_context.h"
#include "base/file.h"
#include "base/log.h"

namespace tap::cli {

void write_out(std::string_view text) {
  for (bool again = false; !text.empty(); again = true) {
    if (again)
      ExecContext::current().checkpoint();  // a signal cut the write: nobody may be reading, so Ctrl-C ends the wait
    const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EPIPE) throw PipeClosed{};
    if (n < 0) throw Error(ErrorCode::io, fmt::format("stdout: cannot write: {}", reason_of(errno)), "stdout");
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

void write_json(const Json& value) { write_out(to_json_line(value) + "\n"); }

void print_error(const Error& error) { std::fprintf(stderr, "tapetum: %s\n", log::one_line(error.message()).c_str()); }

Json error_json(const Error& error) {
  return {{"error", {{"code", name(error.code())}, {"message", error.message()}, {"item", error.item()}}}};
}

}  // namespace tap::cli
