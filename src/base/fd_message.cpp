#include "base/fd_message.h"

#include <cerrno>
#include <cstring>

#include <sys/socket.h>

namespace tap {

namespace {

constexpr std::size_t most_fds = 2;

struct Message {
  iovec part{};
  alignas(cmsghdr) char control[CMSG_SPACE(most_fds * sizeof(int))] = {};
  msghdr head{};
  Message(void* data, std::size_t bytes) : part{data, bytes} {
    head.msg_iov = &part;
    head.msg_iovlen = 1;
  }
};

}  // namespace

std::pair<Fd, Fd> socket_pair(int type) {
  int ends[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) return {Fd(), Fd()};
  return {Fd(ends[0]), Fd(ends[1])};
}

bool send_message(int socket, std::span<const std::byte> bytes, std::span<const int> fds) {
  Message message(const_cast<std::byte*>(bytes.data()), bytes.size());
  if (!fds.empty()) {
    message.head.msg_control = message.control;
    message.head.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&message.head);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  return ::sendmsg(socket, &message.head, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

ssize_t receive_message(int socket, std::span<std::byte> bytes, std::span<Fd> fds, int flags) {
  Message message(bytes.data(), bytes.size());
  message.head.msg_control = message.control;
  message.head.msg_controllen = sizeof message.control;
  ssize_t got;
  do got = ::recvmsg(socket, &message.head, MSG_CMSG_CLOEXEC | flags);
  while (got < 0 && errno == EINTR);
  if (got < 0) return got;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message.head); head; head = CMSG_NXTHDR(&message.head, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
      Fd held(fd);
      if (count == fds.size()) fds[i] = std::move(held);
    }
  }
  return got;
}

}  // namespace tap
