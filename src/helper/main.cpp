// tapetum-media: one file, one sandbox. Started by the program with a socket as descriptor 3 and the file as 4; with
// the argument `starter` it forks such helpers.
#include <cstring>
#include <exception>
#include <memory>
#include <span>

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

extern "C" {
#include <libavutil/log.h>
}

#include "base/fd_message.h"
#include "codec/media_protocol.h"
#include "helper/forker.h"
#include "helper/sandbox.h"
#include "helper/still.h"
#include "helper/video.h"

namespace tap::helper {

namespace {

using namespace media_protocol;

void set_text(std::span<char> to, const std::string& text) {
  const std::size_t n = std::min(to.size() - 1, text.size());
  std::memcpy(to.data(), text.data(), n);
  to[n] = '\0';
}

// A descriptor with the bytes, or -1.
int shared(std::span<const std::byte> bytes) {
  const int fd = ::memfd_create("frame", MFD_CLOEXEC);
  if (fd < 0) return -1;
  if (write_all(fd, bytes) < bytes.size()) return ::close(fd), -1;
  return fd;
}

bool send_reply(Reply reply, std::span<const std::byte> bytes) {
  int fd = -1;
  if (!bytes.empty() && reply.status == Status::good) {
    fd = shared(bytes);
    reply.bytes = bytes.size();
    if (fd < 0) {
      reply = {};
      reply.status = Status::failed;
      set_text(reply.message, "out of memory for a frame");
    }
  }
  const bool sent = send_message(socket_fd, std::as_bytes(std::span(&reply, 1)),
                                 std::span(&fd, fd < 0 ? std::size_t{0} : std::size_t{1}));
  if (fd >= 0) ::close(fd);
  return sent;
}

bool receive(Request& request) {
  iovec part{&request, sizeof request};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  return ::recvmsg(socket_fd, &message, 0) == static_cast<ssize_t>(sizeof request) && request.version == version;
}

class Worker {
 public:
  // False: the other side is gone.
  bool answer(const Request& request) {
    Reply reply;
    try {
      switch (request.ask) {
        case Ask::open_video: {
          if (!video_) video_ = std::make_unique<Video>(file_fd);
          fill(reply);
          return send_reply(reply, std::as_bytes(std::span(video_->seconds())));
        }
        case Ask::frame: {
          if (!video_ || request.index < 0 || request.index >= static_cast<std::int64_t>(video_->seconds().size()))
            throw Refusal{Status::failed, "no such frame"};
          std::int64_t index = request.index;
          const Image image = video_->frame(index);
          fill(reply);
          reply.index = index;
          return send_reply(reply, std::as_bytes(std::span(image.pixels)));
        }
        case Ask::heif:
        case Ask::picture: {
          const Image image = request.ask == Ask::heif ? heif_picture(file_fd, request.index, reply.frames)
                                                       : coded_picture(file_fd, request.index);
          reply.width = image.width;
          reply.height = image.height;
          return send_reply(reply, std::as_bytes(std::span(image.pixels)));
        }
      }
      throw Refusal{Status::failed, "no such request"};
    } catch (const Refusal& refusal) {
      return send_error(refusal.status, refusal.why);
    } catch (const std::bad_alloc&) {
      return send_error(Status::limit, "takes more memory than the media helper may have");
    } catch (const std::exception& error) {
      return send_error(Status::failed, error.what());
    }
  }

 private:
  void fill(Reply& reply) const {
    reply.width = video_->width();
    reply.height = video_->height();
    reply.frames = static_cast<std::int64_t>(video_->seconds().size());
    reply.broken = video_->broken();
    set_text(reply.codec, video_->codec());
  }
  static bool send_error(Status status, const std::string& why) {
    Reply reply;
    reply.status = status;
    set_text(reply.message, why);
    return send_reply(reply, {});
  }
  std::unique_ptr<Video> video_;
};

}  // namespace

}  // namespace tap::helper

int main(int count, char** arguments) {
  using namespace tap::helper;
  av_log_set_level(AV_LOG_QUIET);
  prepare_stills();
  if (count == 2 && std::strcmp(arguments[1], tap::media_protocol::starter) == 0) fork_helpers();
  if (!enter_sandbox()) return 4;  // rather no video than one without walls
  Worker worker;
  tap::media_protocol::Request request;
  while (receive(request))
    if (!worker.answer(request)) break;
  ::_exit(0);
}
