#include "cli/line_reader.h"

#include <array>
#include <cerrno>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "base/error.h"
#include "base/exec_context.h"
#include "base/file.h"

namespace tap::cli {

LineReader::LineReader(std::string path, std::size_t limit_bytes) : name_(std::move(path)), limit_bytes_(limit_bytes) {
  if (name_ == "-") {
    name_ = "stdin";
    fd_ = STDIN_FILENO;
    return;
  }
  if (is_directory(name_)) throw Error(ErrorCode::bad_input, fmt::format("{}: is a folder, not a file", name_), name_);
  while ((fd_ = ::open(name_.c_str(), O_RDONLY | O_CLOEXEC)) < 0 && errno == EINTR) ExecContext::current().checkpoint();
  if (fd_ < 0)
    throw Error(errno == ENOENT || errno == ENOTDIR ? ErrorCode::not_found : ErrorCode::io,
                fmt::format("{}: {}", name_, reason_of(errno)), name_);
}

LineReader::~LineReader() {
  if (fd_ != STDIN_FILENO) ::close(fd_);
}

LineReader::Got LineReader::give(std::size_t end, std::string& line) {
  const bool too_long = std::exchange(skipping_, false) || end - begin_ > limit_bytes_;
  line.assign(buffer_, begin_, too_long ? 0 : end - begin_);
  begin_ = scanned_ = std::min(buffer_.size(), end + 1);
  ++number_;
  return too_long ? Got::too_long : Got::line;
}

// False: nothing to read at once, and `wait` is false.
bool LineReader::read_more(bool wait) {
  for (;;) {
    ExecContext::current().checkpoint();
    pollfd readable{fd_, POLLIN, 0};
    if (!wait && ::poll(&readable, 1, 0) <= 0) return false;
    std::array<char, 1 << 16> bytes;
    const ssize_t n = ::read(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(ErrorCode::io, fmt::format("{}: cannot read: {}", name_, reason_of(errno)), name_);
    at_end_ = n == 0;
    buffer_.append(bytes.data(), static_cast<std::size_t>(n));
    return true;
  }
}

LineReader::Got LineReader::next(std::string& line, bool wait) {
  for (;;) {
    if (const std::size_t end = buffer_.find('\n', scanned_); end != std::string::npos) {
      ended_ = true;
      return give(end, line);
    }
    buffer_.erase(0, begin_);
    begin_ = 0;
    scanned_ = buffer_.size();
    if (buffer_.size() > limit_bytes_) {
      skipping_ = true;
      buffer_.clear();
      scanned_ = 0;
    }
    if (at_end_) {
      if (buffer_.empty() && !skipping_) return Got::end;
      ended_ = false;
      const Got got = give(buffer_.size(), line);
      buffer_.clear();
      begin_ = scanned_ = 0;
      return got;
    }
    if (!read_more(wait)) return Got::later;
  }
}

}  // namespace tap::cli
