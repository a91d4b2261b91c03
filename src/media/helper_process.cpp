#include "media/helper_process.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child_program.h"
#include "base/clock.h"
#include "base/exec_context.h"
#include "base/fd_message.h"
#include "base/file.h"
#include "codec/decode.h"

namespace tap {

namespace {

using namespace media_protocol;

constexpr int look_ms = 50;  // between questions whether to go on

double patience_s() {  // for one reply
  const char* given = std::getenv("TAPETUM_MEDIA_SECONDS");
  const double seconds = given ? std::atof(given) : 0;
  return seconds > 0 ? seconds : 120;
}

// Beside the program, as in an installation.
std::string helper_path() {
  if (const char* given = std::getenv("TAPETUM_MEDIA"); given && *given) return given;
  std::string self(4096, '\0');
  const ssize_t length = ::readlink("/proc/self/exe", self.data(), self.size());
  if (length <= 0) return {};
  self.resize(static_cast<std::size_t>(length));
  return self.substr(0, self.rfind('/')) + "/tapetum-media";
}

// What the helper said, cut to what may be printed.
std::string said(const Reply& reply) {
  std::string text(reply.message, ::strnlen(reply.message, sizeof reply.message));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 32 || static_cast<unsigned char>(c) > 126) c = '?';
  return text;
}

ErrorCode code_of(Status status) {
  switch (status) {
    case Status::unsupported: return ErrorCode::unsupported;
    case Status::limit: return ErrorCode::limit;
    case Status::failed: return ErrorCode::internal;
    default: return ErrorCode::bad_file;
  }
}

void read_all(int fd, void* to, std::size_t bytes, const std::string& path) {
  auto* at = static_cast<char*>(to);
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t got = ::pread(fd, at + done, bytes - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw Error(ErrorCode::io, fmt::format("{}: the media helper sent less than it said", path), path);
    done += static_cast<std::size_t>(got);
  }
}

pid_t start_new(int socket, int file) {
  return HelperProcess::start_program({"tapetum-media"}, {{socket, socket_fd}, {file, file_fd}});
}

Fd shared_bytes(std::span<const std::byte> bytes, const std::string& name) {
  Fd file(::memfd_create("bytes", MFD_CLOEXEC));
  if (file.get() < 0)
    throw Error(ErrorCode::io, fmt::format("{}: no memory to share: {}", name, std::strerror(errno)), name);
  if (write_all(file.get(), bytes) < bytes.size())
    throw Error(ErrorCode::out_of_memory, fmt::format("{}: out of memory for the media helper", name), name);
  return file;
}

}  // namespace

struct HelperProcess::Process {
  pid_t pid = -1;
  Fd socket;

  ~Process() {
    if (pid > 0) end_child(pid);
  }
  // How it ended, once it has: it leaves no zombie behind.
  Error ending() {
    const auto io = [](std::string how) { return Error(ErrorCode::io, "the media helper " + std::move(how)); };
    int status = 0;
    for (int i = 0; i < 100; ++i) {
      const pid_t got = ::waitpid(pid, &status, WNOHANG);
      if (got == pid) {
        pid = -1;
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
          return {ErrorCode::out_of_memory, "out of memory: the system killed the media helper"};
        if (WIFSIGNALED(status)) return io(fmt::format("was killed by signal {}", WTERMSIG(status)));
        return io(WEXITSTATUS(status) == 4 ? "could not enter its sandbox"
                                           : fmt::format("ended with code {}", WEXITSTATUS(status)));
      }
      if (got < 0 && errno != EINTR) break;
      ::usleep(2000);
    }
    return io("went away");
  }
};

bool HelperProcess::installed() { return file_exists(helper_path()); }

pid_t HelperProcess::start_program(std::vector<std::string> arguments, std::vector<std::pair<int, int>> descriptors) {
  const pid_t pid = start_child({.path = helper_path(),
                                 .arguments = std::move(arguments),
                                 .environment = {"LC_ALL=C"},
                                 .descriptors = std::move(descriptors)});
  if (pid < 0) fail(ErrorCode::io, "cannot start the media helper: {}", std::strerror(-pid));
  return pid;
}

HelperProcess::HelperProcess(const std::string& path, const Fd& file, const Start& start)
    : path_(path), process_(std::make_unique<Process>()) {
  if (!installed())
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: videos and HEIC pictures are read by tapetum-media, which is not installed beside "
                            "tapetum (it needs libavformat59, libavcodec59, libswscale6, libheif1)",
                            path),
                path);
  auto [ours, theirs] = socket_pair(SOCK_SEQPACKET);  // theirs is closed here once they have it: their end is seen
  if (ours.get() < 0)
    throw Error(ErrorCode::io, fmt::format("{}: no socket for the media helper: {}", path, std::strerror(errno)), path);
  process_->socket = std::move(ours);
  try {
    process_->pid = start(theirs.get(), file.get());
  } catch (const Error& error) {
    throw error.within(path, path);
  }
}

HelperProcess::~HelperProcess() = default;
HelperProcess::HelperProcess(HelperProcess&&) noexcept = default;

HelperProcess HelperProcess::of_file(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0)
    throw Error(errno == ENOENT ? ErrorCode::not_found : ErrorCode::io,
                fmt::format("{}: {}", path, std::strerror(errno)), path);
  return {path, file, start_new};
}

HelperProcess HelperProcess::of_bytes(std::span<const std::byte> bytes, const std::string& name) {
  return of_bytes(bytes, name, start_new);
}

HelperProcess HelperProcess::of_bytes(std::span<const std::byte> bytes, const std::string& name, const Start& start) {
  return {name, shared_bytes(bytes, name), start};
}

std::pair<Reply, Fd> HelperProcess::exchange(const Request& request, std::uint64_t most, double seconds) {
  const auto gone = [&] { return process_->ending().within(path_, path_); };
  if (process_->pid <= 0)
    throw Error(ErrorCode::io, fmt::format("{}: the media helper went away before", path_), path_);
  if (::send(process_->socket.get(), &request, sizeof request, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof request))
    throw gone();
  const Stopwatch watch;
  const double patience = seconds > 0 ? std::min(seconds, patience_s()) : patience_s();
  for (;;) {
    pollfd ready{process_->socket.get(), POLLIN, 0};
    const int events = ::poll(&ready, 1, look_ms);
    if (events > 0) break;
    ExecContext::current().checkpoint();
    if (watch.ms() > patience * 1000) {
      process_ = std::make_unique<Process>();
      throw Error(ErrorCode::io, fmt::format("{}: the media helper gave no answer in {} seconds", path_, patience),
                  path_);
    }
  }
  Reply reply;
  Fd memory;
  const ssize_t bytes = receive_message(process_->socket.get(), std::as_writable_bytes(std::span(&reply, 1)),
                                        std::span(&memory, 1), MSG_DONTWAIT);
  if (bytes <= 0) throw gone();
  if (bytes != static_cast<ssize_t>(sizeof reply) || reply.version != version || reply.status > Status::failed)
    throw Error(ErrorCode::io, fmt::format("{}: the media helper speaks no sense", path_), path_);
  if (reply.status != Status::good)
    throw Error(code_of(reply.status), fmt::format("{}: {}", path_, said(reply)), path_);
  if (reply.bytes > most || (reply.bytes > 0) != (memory.get() >= 0))
    throw Error(ErrorCode::io, fmt::format("{}: the media helper speaks no sense", path_), path_);
  return {reply, std::move(memory)};
}

HelperProcess::Got HelperProcess::ask(const Request& request, std::uint64_t most, double seconds) {
  const auto [reply, memory] = exchange(request, most, seconds);
  Got got{reply, std::vector<std::byte>(reply.bytes)};
  if (!got.bytes.empty()) read_all(memory.get(), got.bytes.data(), got.bytes.size(), path_);
  return got;
}

Image HelperProcess::picture(Ask ask_for, std::int64_t index, double seconds, std::int64_t* count) {
  const auto [reply, memory] =
      exchange({.ask = ask_for, .index = index}, 3 * static_cast<std::uint64_t>(most_pixels), seconds);
  const std::int64_t edge = ask_for == Ask::heif ? most_edge : ImageLimits{}.max_edge_px;
  if (reply.width < 1 || reply.height < 1 || reply.width > edge || reply.height > edge ||
      reply.bytes != static_cast<std::uint64_t>(reply.width * reply.height * 3) || (count && reply.frames < 1))
    throw Error(ErrorCode::io, fmt::format("{}: the media helper speaks no sense", path_), path_);
  if (count) *count = reply.frames;
  Image image(reply.width, reply.height);
  read_all(memory.get(), image.pixels.data(), image.pixels.size(), path_);
  return image;
}

Image heif_image(std::span<const std::byte> bytes, const std::string& name, Dim index, Dim* count) {
  std::int64_t frames = 0;
  Image image = HelperProcess::of_bytes(bytes, name).picture(Ask::heif, index, 0, &frames);
  if (count) *count = frames;
  return image;
}

bool is_heif(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 12));
  if (text.size() < 12 || text.substr(4, 4) != "ftyp") return false;
  for (const std::string_view brand : {"heic", "heix", "hevc", "hevx", "heim", "heis", "mif1", "msf1"})
    if (text.substr(8) == brand) return true;
  return false;
}

}  // namespace tap
