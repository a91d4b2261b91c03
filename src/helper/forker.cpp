#include "helper/forker.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "codec/media_protocol.h"

namespace tap::helper {

namespace {

using namespace media_protocol;

constexpr int lowest_fd = 64;  // above the numbers that a helper finds its own under

struct Descriptors {
  Fd socket, file;
};

// False: the program is gone.
bool receive(Descriptors& got) {
  Start start;
  iovec part{&start, sizeof start};
  int both[2] = {-1, -1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof both)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t bytes;
  do bytes = ::recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC);
  while (bytes < 0 && errno == EINTR);
  const cmsghdr* head = CMSG_FIRSTHDR(&message);
  if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
      head->cmsg_len == CMSG_LEN(sizeof both))
    std::memcpy(both, CMSG_DATA(head), sizeof both);
  got.socket = Fd(both[0]);
  got.file = Fd(both[1]);
  return bytes == static_cast<ssize_t>(sizeof start) && start.version == version && both[1] >= 0;
}

Fd above(const Fd& fd) { return Fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, lowest_fd)); }

// Puts them where a helper looks for them.
bool place(Descriptors given) {
  const Fd socket = above(given.socket), file = above(given.file);
  given.socket = Fd();  // their numbers may be the places
  given.file = Fd();
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
