#include "base/file.h"

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <limits>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/exec_context.h"
#include "base/fd.h"

namespace tap {

namespace {

// One write at a time may be pending; a fixed buffer so that a signal handler can read it.
char pending_path[4096];
std::atomic<bool> pending{false};

Error open_error(const std::string& path, int error_number) {
  const ErrorCode code = error_number == ENOENT || error_number == ENOTDIR ? ErrorCode::not_found : ErrorCode::io;
  return Error(code, fmt::format("{}: {}", path, reason_of(error_number)), path);
}

// `interruptible`: a terminal or a pipe may keep us waiting, so cancel() and a signal must end the reading.
Result<std::string> read_stream(int fd, const std::string& path, std::size_t limit_bytes, bool interruptible) {
  std::string text;
  char buffer[1 << 16];
  for (;;) {
    if (interruptible) {
      try {
        ExecContext::current().checkpoint();
      } catch (const Error& error) {
        return error;
      }
    }
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return open_error(path, errno);
    if (n == 0) return text;
    if (text.size() + static_cast<std::size_t>(n) > limit_bytes)
      return Error(ErrorCode::limit, fmt::format("{}: larger than the limit of {} bytes", path, limit_bytes), path);
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

}  // namespace

std::string reason_of(int error_number) {
  char buffer[256];
  return strerror_r(error_number, buffer, sizeof buffer);
}

bool file_exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

bool is_directory(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

std::vector<std::string> folder_entries(const std::string& path, std::size_t limit) {
  struct Close {
    void operator()(DIR* folder) const { ::closedir(folder); }
  };
  std::vector<std::string> names;
  const std::unique_ptr<DIR, Close> folder(::opendir(path.c_str()));
  if (!folder) return names;
  while (names.size() < limit) {
    const dirent* const entry = ::readdir(folder.get());
    if (!entry) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

Result<std::string> read_file(const std::string& path, std::size_t limit_bytes) {
  if (path == "-") return read_stream(STDIN_FILENO, "stdin", limit_bytes, true);
  // O_NONBLOCK: a FIFO without a writer must not hang us; it is refused below.
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return open_error(path, errno);
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return open_error(path, errno);
  if (S_ISDIR(info.st_mode)) return Error(ErrorCode::bad_input, fmt::format("{}: is a folder, not a file", path), path);
  if (!S_ISREG(info.st_mode)) return Error(ErrorCode::bad_input, fmt::format("{}: is not a regular file", path), path);
  if (static_cast<std::uint64_t>(info.st_size) > limit_bytes)
    return Error(ErrorCode::limit, fmt::format("{}: {} bytes, the limit is {}", path, info.st_size, limit_bytes), path);
  return read_stream(fd.get(), path, limit_bytes, false);
}

Result<File> File::open(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return open_error(path, errno);
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return open_error(path, errno);
  if (!S_ISREG(info.st_mode)) return Error(ErrorCode::bad_input, fmt::format("{}: is not a regular file", path), path);
  return File(fd.release(), static_cast<std::uint64_t>(info.st_size), path,
              fmt::format("{} {} {}.{:09}", info.st_size, info.st_ino, info.st_mtim.tv_sec, info.st_mtim.tv_nsec));
}

File::File(File&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      size_(other.size_),
      path_(std::move(other.path_)),
      identity_(std::move(other.identity_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  std::swap(identity_, other.identity_);
  return *this;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

void File::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  if (offset > size_ || out.size() > size_ - offset)
    fail(ErrorCode::bad_file, "{}: wants bytes {} to {}, the file has {}", path_, offset, offset + out.size(), size_);
  while (!out.empty()) {
    const ssize_t n = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(ErrorCode::io, "{}: reading at byte {}: {}", path_, offset, reason_of(errno));
    if (n == 0) fail(ErrorCode::bad_file, "{}: ends at byte {} while being read, it had {}", path_, offset, size_);
    out = out.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
}

void remove_pending_files() noexcept {
  if (pending.exchange(false)) ::unlink(pending_path);
}

void write_file_atomic(const std::string& named, std::span<const std::byte> bytes) {
  // A link is followed: the file it names is replaced, the link stays.
  char resolved[PATH_MAX];
  const std::string path = ::realpath(named.c_str(), resolved) ? std::string(resolved) : named;
  struct stat info;
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode))
    throw Error(ErrorCode::io, fmt::format("{}: is a folder, cannot write a file there", named), named);
  const auto refuse = [&](const char* doing, int error_number) {
    remove_pending_files();
    throw Error(ErrorCode::io, fmt::format("{}: {}: {}", named, doing, reason_of(error_number)), named);
  };
  // A device or a pipe cannot be renamed over: it gets the bytes directly.
  const bool direct = exists && !S_ISREG(info.st_mode);
  const std::string target = direct ? path : fmt::format("{}.tmp-{}", path, ::getpid());
  if (target.size() >= sizeof pending_path) refuse("the path is too long", ENAMETOOLONG);
  std::memcpy(pending_path, target.c_str(), target.size() + 1);
  pending = !direct;  // before the file is there, so that a signal at any moment removes it
  Fd fd(::open(target.c_str(), direct ? O_WRONLY | O_CLOEXEC | O_NONBLOCK : O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
               0666));
  if (fd.get() < 0) refuse("cannot write", errno);
  if (direct)
    ::fcntl(fd.get(), F_SETFL, 0);  // O_NONBLOCK only kept the opening of a pipe that nobody reads from waiting
  if (write_all(fd.get(), bytes) < bytes.size()) refuse("cannot write", errno);
  if (direct) return;
  if (exists) (void)::fchmod(fd.get(), info.st_mode & 07777);  // best effort: the old file's permissions
  if (::fsync(fd.get()) != 0 && errno != EINVAL) refuse("cannot write", errno);
  if (::close(fd.release()) != 0) refuse("cannot write", errno);
  if (::rename(target.c_str(), path.c_str()) != 0) refuse("cannot rename the finished file", errno);
  pending = false;
}

void write_file_atomic(const std::string& path, std::string_view text) {
  write_file_atomic(path, std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace tap
