#include "media/camera.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/exec_context.h"
#include "codec/decode.h"

namespace tap {

namespace {

constexpr unsigned wanted_buffers = 4;
constexpr double patience_ms = 5000;

int call(int fd, unsigned long request, void* argument) {
  int result = 0;
  do result = ::ioctl(fd, request, argument);
  while (result < 0 && errno == EINTR);
  return result;
}

std::uint8_t clamped(int value) { return static_cast<std::uint8_t>(std::clamp(value, 0, 255)); }

}  // namespace

struct Camera::Device {
  std::string path;
  int fd = -1;
  unsigned format = 0;
  Dim width = 0, height = 0, stride = 0;
  struct Buffer {
    void* at = nullptr;
    std::size_t bytes = 0;
  };
  std::vector<Buffer> buffers;

  ~Device() {
    if (fd < 0) return;
    int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    (void)call(fd, VIDIOC_STREAMOFF, &type);
    for (const Buffer& buffer : buffers) ::munmap(buffer.at, buffer.bytes);
    ::close(fd);
  }
  [[noreturn]] void refuse(ErrorCode code, std::string_view why) const {
    throw Error(code, fmt::format("{}: {}", path, why), path);
  }
  [[noreturn]] void failed(std::string_view what) const {
    refuse(ErrorCode::io, errno == ENODEV || errno == ENXIO ? "the camera is gone"
                                                            : fmt::format("{}: {}", what, std::strerror(errno)));
  }
  void set_format() {
    for (const unsigned pixels : {V4L2_PIX_FMT_YUYV, V4L2_PIX_FMT_MJPEG}) {
      v4l2_format wanted{};
      wanted.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
      wanted.fmt.pix.width = 640;
      wanted.fmt.pix.height = 480;
      wanted.fmt.pix.pixelformat = pixels;
      wanted.fmt.pix.field = V4L2_FIELD_ANY;
      if (call(fd, VIDIOC_S_FMT, &wanted) < 0 || wanted.fmt.pix.pixelformat != pixels) continue;
      format = pixels;
      width = wanted.fmt.pix.width;
      height = wanted.fmt.pix.height;
      stride = std::max<Dim>(wanted.fmt.pix.bytesperline, 2 * width);
      if (width < 2 || height < 1 || width > 16384 || height > 16384 || width % 2 != 0)
        refuse(ErrorCode::unsupported, fmt::format("gives frames of {}x{}", width, height));
      return;
    }
    refuse(ErrorCode::unsupported, "the camera gives neither YUYV nor Motion JPEG");
  }
  void map_buffers() {
    v4l2_requestbuffers request{};
    request.count = wanted_buffers;
    request.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    request.memory = V4L2_MEMORY_MMAP;
    if (call(fd, VIDIOC_REQBUFS, &request) < 0 || request.count < 1) failed("no buffers");
    for (unsigned i = 0; i < request.count; ++i) {
      v4l2_buffer info{};
      info.index = i;
      info.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
      info.memory = V4L2_MEMORY_MMAP;
      if (call(fd, VIDIOC_QUERYBUF, &info) < 0) failed("no buffer");
      void* at = ::mmap(nullptr, info.length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, info.m.offset);
      if (at == MAP_FAILED) failed("a buffer cannot be mapped");
      buffers.push_back({at, info.length});
      if (call(fd, VIDIOC_QBUF, &info) < 0) failed("a buffer cannot be given to it");
    }
  }
  std::optional<v4l2_buffer> take(int wait_ms) {
    pollfd ready{fd, POLLIN, 0};
    const int got = ::poll(&ready, 1, wait_ms);
    if (got < 0 && errno != EINTR) failed("waiting for a frame");
    if (got <= 0) return std::nullopt;
    if (ready.revents & (POLLERR | POLLHUP)) refuse(ErrorCode::io, "the camera is gone");
    v4l2_buffer buffer{};
    buffer.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    buffer.memory = V4L2_MEMORY_MMAP;
    if (call(fd, VIDIOC_DQBUF, &buffer) == 0) return buffer;
    if (errno != EAGAIN) failed("taking a frame");
    return std::nullopt;
  }
  void give_back(v4l2_buffer& buffer) {
    if (call(fd, VIDIOC_QBUF, &buffer) < 0) failed("a buffer cannot be given back");
  }
};

bool is_camera(std::string_view path) { return path.starts_with("/dev/video"); }

Camera::Camera(const std::string& path) : device_(std::make_unique<Device>()) {
  Device& d = *device_;
  d.path = path;
  d.fd = ::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (d.fd < 0)
    d.refuse(errno == ENOENT || errno == ENODEV || errno == ENXIO ? ErrorCode::not_found : ErrorCode::io,
             errno == ENOENT || errno == ENODEV || errno == ENXIO ? "no such camera" : std::strerror(errno));
  v4l2_capability can{};
  if (call(d.fd, VIDIOC_QUERYCAP, &can) < 0) d.refuse(ErrorCode::unsupported, "is no camera");
  const unsigned does = can.capabilities & V4L2_CAP_DEVICE_CAPS ? can.device_caps : can.capabilities;
  if (!(does & V4L2_CAP_VIDEO_CAPTURE) || !(does & V4L2_CAP_STREAMING))
    d.refuse(ErrorCode::unsupported, "is no camera that streams");
  d.set_format();
  d.map_buffers();
  int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  if (call(d.fd, VIDIOC_STREAMON, &type) < 0) d.failed("the camera does not start");
}

Camera::~Camera() = default;

Image Camera::newest() {
  Device& d = *device_;
  const Stopwatch watch;
  std::optional<v4l2_buffer> frame;
  while (!frame) {
    ExecContext::current().checkpoint();
    if (watch.ms() > patience_ms) d.refuse(ErrorCode::io, "the camera gave no frame for 5 seconds");
    frame = d.take(50);
    if (frame && (frame->flags & V4L2_BUF_FLAG_ERROR)) {
      d.give_back(*frame);
      frame.reset();
    }
  }
  while (auto later = d.take(0)) {  // frames that waited are old
    d.give_back(*frame);
    frame = later;
  }
  if (frame->index >= d.buffers.size()) d.refuse(ErrorCode::io, "the camera speaks no sense");
  const Device::Buffer& buffer = d.buffers[frame->index];
  const std::size_t used = std::min<std::size_t>(frame->bytesused, buffer.bytes);
  std::optional<Image> image;
  if (d.format == V4L2_PIX_FMT_MJPEG) {
    auto decoded = decode_image(std::span(static_cast<const std::byte*>(buffer.at), used), d.path);
    if (decoded) image = std::move(decoded).value();
  } else if (used >= static_cast<std::size_t>(d.stride * (d.height - 1) + 2 * d.width)) {
    image = rgb_of_yuyv(static_cast<const unsigned char*>(buffer.at), d.width, d.height, d.stride);
  }
  d.give_back(*frame);
  if (!image) return newest();  // a torn frame: the next one
  return *std::move(image);
}

Image rgb_of_yuyv(const unsigned char* yuyv, Dim width, Dim height, Dim stride) {
  Image image(width, height);
  for (Dim y = 0; y < height; ++y) {
    const unsigned char* from = yuyv + y * stride;
    std::uint8_t* to = image.row(y);
    for (Dim x = 0; x < width; ++x, to += 3) {
      // ITU-R BT.601, fixed point of 8 bits
      const int c = 298 * (from[2 * x] - 16), u = from[4 * (x / 2) + 1] - 128, v = from[4 * (x / 2) + 3] - 128;
      to[0] = clamped((c + 409 * v + 128) >> 8);
      to[1] = clamped((c - 100 * u - 208 * v + 128) >> 8);
      to[2] = clamped((c + 516 * u + 128) >> 8);
    }
  }
  return image;
}

}  // namespace tap
