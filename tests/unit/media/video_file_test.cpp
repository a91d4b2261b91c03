#include "media/camera.h"
#include "media/video_file.h"

#include <cstdlib>

#include <doctest/doctest.h>

using namespace tap;

namespace {
const std::string folder = TAPETUM_SOURCE_DIR "/tests/data/video/";
}

TEST_CASE("videos are told by their first bytes, pictures in the same boxes are none") {
  CHECK(is_video_file(folder + "steps.mp4"));
  CHECK_FALSE(is_video_file(TAPETUM_SOURCE_DIR "/tests/data/codec/avif_1x1.avif"));
  CHECK_FALSE(is_video_file(TAPETUM_SOURCE_DIR "/data/samples/roof.png"));
  CHECK_FALSE(is_video_file(folder));
  CHECK_FALSE(is_video_file("/nowhere"));
  CHECK_FALSE(is_video_file("/dev/zero"));
}

TEST_CASE("YUYV to RGB: black, white, grey and a red as cameras mean them") {
  const unsigned char pixels[] = {16, 128, 235, 128, 126, 128, 81, 240};
  const Image image = rgb_of_yuyv(pixels, 4, 1, 8);
  CHECK(std::vector<std::uint8_t>(image.pixels.begin(), image.pixels.begin() + 6) ==
        std::vector<std::uint8_t>{0, 0, 0, 255, 255, 255});
  CHECK(image.pixels[9] > 200);  // Y 81, V 240: red
  CHECK(image.pixels[10] < 40);
  CHECK(is_camera("/dev/video0"));
  CHECK_FALSE(is_camera("video0.mp4"));
}
