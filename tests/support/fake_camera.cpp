// A camera that is none, for tests: preloaded, it answers for /dev/video-test as Video4Linux would.
// TAPETUM_TEST_CAMERA: "FRAMES:END" with END one of unplug, hang, torn; the picture changes every 15 frames, at 30 a
// second.
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <string>
#include <vector>

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

constexpr int width = 64, height = 48, slot = 8192;
int device = -1;
int frame = 0;
std::deque<int> queued;
double started = 0;

double now() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

int last_frame() {
  const char* given = std::getenv("TAPETUM_TEST_CAMERA");
  return given ? std::atoi(given) : 0;
}

bool ends_with(const char* how) {
  const char* given = std::getenv("TAPETUM_TEST_CAMERA");
  const char* colon = given ? std::strchr(given, ':') : nullptr;
  return colon && std::strcmp(colon + 1, how) == 0;
}

template <class Fn>
Fn next_of(const char* name) {
  return reinterpret_cast<Fn>(::dlsym(RTLD_NEXT, name));
}

int open_device() {
  device = ::memfd_create("camera", MFD_CLOEXEC);
  if (::ftruncate(device, 4 * slot) != 0) return -1;
  return device;
}

int answer(unsigned long request, void* argument) {
  switch (request) {
    case VIDIOC_QUERYCAP: {
      auto& can = *static_cast<v4l2_capability*>(argument);
      can.capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
      return 0;
    }
    case VIDIOC_S_FMT: {
      auto& pix = static_cast<v4l2_format*>(argument)->fmt.pix;
      pix.width = width, pix.height = height, pix.pixelformat = V4L2_PIX_FMT_YUYV, pix.bytesperline = 2 * width;
      return 0;
    }
    case VIDIOC_REQBUFS: static_cast<v4l2_requestbuffers*>(argument)->count = 4; return 0;
    case VIDIOC_QUERYBUF: {
      auto& buffer = *static_cast<v4l2_buffer*>(argument);
      buffer.length = slot, buffer.m.offset = buffer.index * slot;
      return 0;
    }
    case VIDIOC_QBUF: queued.push_back(static_cast<int>(static_cast<v4l2_buffer*>(argument)->index)); return 0;
    case VIDIOC_STREAMON: started = now(); return 0;
    case VIDIOC_STREAMOFF: return 0;
    case VIDIOC_DQBUF: {
      if (queued.empty()) return errno = EAGAIN, -1;
      auto& buffer = *static_cast<v4l2_buffer*>(argument);
      buffer.index = static_cast<unsigned>(queued.front());
      queued.pop_front();
      std::vector<std::uint8_t> pixels(width * height * 2, 128);
      for (std::size_t i = 0; i < pixels.size(); i += 2) pixels[i] = static_cast<std::uint8_t>(40 + frame / 15 * 60);
      if (::pwrite(device, pixels.data(), pixels.size(), static_cast<off_t>(buffer.index) * slot) < 0) return -1;
      buffer.bytesused = ends_with("torn") && frame % 2 == 0 ? 100 : static_cast<unsigned>(pixels.size());
      ++frame;
      return 0;
    }
    default: return errno = EINVAL, -1;
  }
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const int mode = va_arg(rest, int);
  va_end(rest);
  if (std::string(path) == "/dev/video-test") return open_device();
  return next_of<int (*)(const char*, int, ...)>("open")(path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const int mode = va_arg(rest, int);
  va_end(rest);
  if (std::string(path) == "/dev/video-test") return open_device();
  return next_of<int (*)(const char*, int, ...)>("open64")(path, flags, mode);
}

int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list rest;
  va_start(rest, request);
  void* argument = va_arg(rest, void*);
  va_end(rest);
  if (fd == device && fd >= 0) return answer(request, argument);
  return next_of<int (*)(int, unsigned long, ...)>("ioctl")(fd, request, argument);
}

int poll(pollfd* fds, nfds_t count, int timeout) {
  const auto real = next_of<int (*)(pollfd*, nfds_t, int)>("poll");
  if (count != 1 || !fds || device < 0) return real(fds, count, timeout);
  const int fd = fds->fd;
  if (fd != device) return real(fds, count, timeout);
  fds[0].revents = 0;
  if (frame >= last_frame()) {
    if (ends_with("hang")) return ::usleep(static_cast<unsigned>(timeout) * 1000), 0;
    fds[0].revents = POLLERR | POLLHUP;
    return 1;
  }
  const double wait = started + frame / 30.0 - now();
  if (wait > timeout / 1000.0) return ::usleep(static_cast<unsigned>(timeout) * 1000), 0;
  if (wait > 0) ::usleep(static_cast<unsigned>(wait * 1e6));
  fds[0].revents = POLLIN;
  return 1;
}
}
