// A camera through Video4Linux (linux/videodev2.h): the newest frame, as RGB.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "codec/image.h"

namespace tap {

bool is_camera(std::string_view path);  // /dev/video0, …

class Camera {
 public:
  // Opens it and starts its stream: YUYV or Motion JPEG, about 640x480. Throws Error naming the device: not_found, io,
  // unsupported for what is no camera or gives neither.
  explicit Camera(const std::string& path);
  ~Camera();
  // Waits for a frame; older ones that wait are dropped. Throws Error(io) when the camera is gone or gives none for 5
  // seconds, Error(cancelled).
  Image newest();

 private:
  struct Device;
  std::unique_ptr<Device> device_;
};

// [height, width / 2] of Y U Y V to RGB by BT.601 in the video range, as cameras mean it.
Image rgb_of_yuyv(const unsigned char* yuyv, Dim width, Dim height, Dim stride);

}  // namespace tap
