#include "media/helper_starter.h"

#include <cerrno>
#include <cstring>
#include <string_view>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/child_program.h"
#include "base/fd_message.h"
#include "base/log.h"
#include "media/picture_bytes.h"

namespace tap {

using namespace media_protocol;

namespace {

constexpr int patience_ms = 20'000;  // for a fork, the first of which waits for the libraries

}  // namespace

struct HelperStarter::Forker {
  pid_t pid = -1;
  Fd socket;

  // Throws Error(io).
  Forker() {
    auto [ours, theirs] = socket_pair(SOCK_SEQPACKET);
    if (ours.get() < 0) fail(ErrorCode::io, "no socket for the media helper: {}", std::strerror(errno));
    socket = std::move(ours);
    pid = HelperProcess::start_program({"tapetum-media", starter}, {{theirs.get(), socket_fd}});
    // Where memory runs out, the helper of one request ends before this program; those that are forked have it of it.
    const Fd score(::open(fmt::format("/proc/{}/oom_score_adj", pid).c_str(), O_WRONLY | O_CLOEXEC));
    constexpr std::string_view first = "1000";
    (void)!::write(score.get(), first.data(), first.size());
  }
  Forker(const Forker&) = delete;
  Forker& operator=(const Forker&) = delete;
  ~Forker() {
    if (pid > 0) end_child(pid);
  }

  // Nothing: it is gone, or makes no sense.
  std::optional<Started> fork(int for_socket, int for_file) const {
    const Start start;
    const int descriptors[] = {for_socket, for_file};
    if (!send_message(socket.get(), std::as_bytes(std::span(&start, 1)), descriptors)) return std::nullopt;
    pollfd ready{socket.get(), POLLIN, 0};
    int events;
    do events = ::poll(&ready, 1, patience_ms);
    while (events < 0 && errno == EINTR);
    Started started;
    if (events <= 0 || ::recv(socket.get(), &started, sizeof started, MSG_DONTWAIT) != sizeof started ||
        started.version != version || (started.error == 0 && started.pid <= 0))
      return std::nullopt;
    return started;
  }
};

HelperStarter::HelperStarter() {
  if (!HelperProcess::installed()) return;
  try {
    forker_ = std::make_unique<Forker>();
  } catch (const Error& error) {  // start() tries again
    log::info("no media helper waits: {}", error.message());
  }
}

HelperStarter::~HelperStarter() = default;

pid_t HelperStarter::start(int socket, int file) {
  const std::lock_guard lock(forking_);
  for (int i = 0; i < 2; ++i) {  // one that was killed is started again
    if (!forker_) forker_ = std::make_unique<Forker>();
    const std::optional<Started> started = forker_->fork(socket, file);
    if (started && started->error == 0) return started->pid;
    if (started) fail(ErrorCode::io, "cannot start the media helper: {}", std::strerror(started->error));
    forker_.reset();
  }
  fail(ErrorCode::io, "cannot start the media helper: it ends at once");
}

bool HelperStarter::try_one() {
  constexpr std::string_view dot = "P6 1 1 255 \x01\x02\x03";  // a picture of one pixel
  try {
    HelperProcess helper = take(std::as_bytes(std::span(dot)), "a first picture");
    return helper.picture(Ask::picture, 0).pixels == std::vector<std::uint8_t>{1, 2, 3};
  } catch (const Error& error) {
    if (error.code() == ErrorCode::out_of_memory) throw;  // a moment's: the next picture asks again
    log::warn("pictures from the network are decoded without a sandbox: {}", error.message());
    return false;
  }
}

bool HelperStarter::usable() {
  const std::lock_guard lock(trying_);
  if (!usable_) usable_ = try_one();
  return *usable_;
}

HelperProcess HelperStarter::take(std::span<const std::byte> bytes, const std::string& name) {
  return HelperProcess::of_bytes(bytes, name, [this](int socket, int file) { return start(socket, file); });
}

Image HelperStarter::picture(std::span<const std::byte> bytes, const std::string& name, double seconds) {
  if (!usable()) return decode_picture(bytes, name);
  return take(bytes, name).picture(is_heif(bytes) ? Ask::heif : Ask::picture, 0, seconds);
}

}  // namespace tap
