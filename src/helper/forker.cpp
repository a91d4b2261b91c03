#include "helper/forker.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <span>
#include <utility>

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd_message.h"
#include "codec/media_protocol.h"

namespace tap::helper {

namespace {

using namespace media_protocol;

constexpr int lowest_fd = 64;  // above the numbers that a helper finds its own under

using Descriptors = std::array<Fd, 2>;  // of a helper's socket and of its file

// False: the program is gone.
bool receive(Descriptors& got) {
  Start start;
  const ssize_t bytes = receive_message(socket_fd, std::as_writable_bytes(std::span(&start, 1)), got);
  return bytes == static_cast<ssize_t>(sizeof start) && start.version == version && got[1].get() >= 0;
}

Fd above(const Fd& fd) { return Fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, lowest_fd)); }

// Puts them where a helper looks for them.
bool place(Descriptors given) {
  const Fd socket = above(given[0]), file = above(given[1]);
  given = {Fd(), Fd()};  // their numbers may be the places
  return socket.get() >= 0 && file.get() >= 0 && ::dup2(socket.get(), socket_fd) == socket_fd &&
         ::dup2(file.get(), file_fd) == file_fd;
}

}  // namespace

void fork_helpers() {
  for (;;) {
    Descriptors given;
    if (!receive(given)) ::_exit(0);
    // A child of the program, which can then wait for it and end it: glibc's fork makes none of those. There is one
    // thread here, so no lock is held by another.
    const auto pid =
        static_cast<pid_t>(::syscall(SYS_clone, CLONE_PARENT | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    if (pid == 0) {
      if (!place(std::move(given))) ::_exit(4);
      return;
    }
    Started started;
    started.pid = pid;
    if (pid < 0) started.error = errno;
    if (::send(socket_fd, &started, sizeof started, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof started)) ::_exit(0);
  }
}

}  // namespace tap::helper
