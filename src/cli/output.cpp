#include "cli/output.h"

#include <cerrno>

#include <unistd.h>

#include "base/file.h"

namespace tap::cli {

void write_out(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EPIPE) throw PipeClosed{};
    if (n < 0) throw Error(ErrorCode::io, fmt::format("stdout: cannot write: {}", reason_of(errno)), "stdout");
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

void write_json(const Json& value) { write_out(to_json_line(value) + "\n"); }

bool out_is_terminal() { return ::isatty(STDOUT_FILENO) == 1; }
bool err_is_terminal() { return ::isatty(STDERR_FILENO) == 1; }

Json error_json(const Error& error) {
  return {{"error", {{"code", name(error.code())}, {"message", error.message()}, {"item", error.item()}}}};
}

}  // namespace tap::cli
