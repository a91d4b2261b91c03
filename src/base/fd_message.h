// Local sockets, and messages over them (SOCK_SEQPACKET) that descriptors come with.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include <sys/types.h>

#include "base/fd.h"

namespace tap {

// Two ends of SOCK_SEQPACKET or SOCK_STREAM, for this program alone until it gives one away; without any errno says
// why.
std::pair<Fd, Fd> socket_pair(int type);

// False: not all of it went, errno says why. At most two descriptors, which stay open here.
bool send_message(int socket, std::span<const std::byte> bytes, std::span<const int> fds);

// Gives how many bytes came; 0: the other side is gone, -1: errno says why. `fds`, at most two, are filled when as many
// came; otherwise none is, and what came is closed.
ssize_t receive_message(int socket, std::span<std::byte> bytes, std::span<Fd> fds, int flags = 0);

}  // namespace tap
