#include <algorithm>

#include <doctest/doctest.h>

#include "base/clock.h"
#include "samples.h"

namespace tap {
namespace {

using namespace test;
using namespace std::string_literals;

std::string little16(std::size_t value) {
  return {static_cast<char>(value & 0xFF), static_cast<char>(value >> 8 & 0xFF)};
}

std::string screen(std::size_t width, std::size_t height) {  // two colours: black and red
  return "GIF89a" + little16(width) + little16(height) + "\x80\0\0"s + "\0\0\0\xff\0\0"s;
}

// One pixel of colour 1: clear, 1, end as codes of 3 bits.
std::string one_pixel(std::size_t x = 0, std::size_t y = 0) {
  return "," + little16(x) + little16(y) + little16(1) + little16(1) + "\0\x02\x02\x4c\x01\0"s;
}

}  // namespace

TEST_CASE("every frame of every GIF has the pixels of Pillow") {
  const std::vector<Case> all = cases("", ".gif");
  REQUIRE(all.size() >= 75);
  for (const Case& c : all) check_like_pillow(c);
}

TEST_CASE("[B13] GIF of one pixel and single rows and columns decode and 0xN is refused") {
  CHECK(cases("gif_", ".gif").size() == 3);
  for (const Case& c : cases("gif_", ".gif")) check_like_pillow(c);
  const std::string empty = "," + little16(0) + little16(0) + little16(0) + little16(5) + "\0\x02\x02\x4c\x01\0"s;
  CHECK(says(error_of(screen(0, 0) + empty + ";", "none.gif"), "a picture of 0x5 has no pixels"));
}

TEST_CASE("[B17] a GIF without frames is an error") {
  for (const std::string& tail : {";"s, ""s, "!\xfe\x03"s + "abc\0;"s, ","s, "\0\0\0"s}) {
    const Error error = error_of(screen(4, 4) + tail, "none.gif");
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(says(error, "GIF: no picture in the file"));
  }
}

TEST_CASE("[B17] a GIF of 100 000 frames is counted and any frame of it decodes and no frame after the last") {
  std::string gif = screen(100, 100);
  for (std::size_t i = 0; i < 100'000; ++i) gif += one_pixel(i % 100, i / 100 % 100);
  CHECK(probe_image(bytes_of(gif), "many.gif")->frames == 100'000);
  const Image first = decode_image(bytes_of(gif), "many.gif").value();
  CHECK(first.pixels[0] == 255);
  CHECK(std::count(first.pixels.begin(), first.pixels.end(), 255) == 1);
  DecodeOptions options;
  options.frame = 9'999;
  const Image all = decode_image(bytes_of(gif), "many.gif", options).value();
  CHECK(std::count(all.pixels.begin(), all.pixels.end(), 255) == 10'000);
  options.frame = 100'000;
  const Error error = error_of(gif, "many.gif", options);
  CHECK(error.code() == ErrorCode::bad_input);
  CHECK(says(error, "has no frame 100000: it holds 100000 frames, counted from 0"));
}

TEST_CASE("[B17] a frame outside the canvas widens it and one that is too far away is refused by the limits") {
  for (const Case& c : cases("random_outside")) check_like_pillow(c);
  const Image image = decode_image(bytes_of(screen(1, 1) + one_pixel(3, 2) + ";"), "outside.gif").value();
  CHECK(image.width == 4);
  CHECK(image.height == 3);
  const Error error = error_of(screen(1, 1) + one_pixel(65535, 65535) + ";", "far.gif");
  CHECK(error.code() == ErrorCode::limit);
  CHECK(says(error, "65536x65536"));
  DecodeOptions options;
  options.frame = 1;
  CHECK(decode_image(bytes_of(screen(1, 1) + one_pixel() + one_pixel(65535, 65535)), "far.gif").ok());
  CHECK(error_of(screen(1, 1) + one_pixel() + one_pixel(65535, 65535), "far.gif", options).code() == ErrorCode::limit);
}

TEST_CASE("[B17] a GIF that widens with each of 60 000 frames is refused before it is drawn") {
  std::string gif = screen(15'000, 1);
  for (std::size_t i = 0; i < 60'000; ++i) gif += one_pixel(0, std::min<std::size_t>(i, 1300));
  DecodeOptions options;
  options.frame = 59'999;
  const Stopwatch watch;
  const Error error = error_of(gif, "wide.gif", options);
  CHECK(watch.ms() < 1000);
  CHECK(error.code() == ErrorCode::limit);
  CHECK(says(error, "frame 59999 takes drawing"));
}

TEST_CASE("[B11] a GIF of 40 bytes declaring a frame of 8000x8000 is refused by its header") {
  const std::string gif =
      screen(8000, 8000) + "," + little16(0) + little16(0) + little16(8000) + little16(8000) + "\0\x02\x02\x4c\x01\0"s;
  CHECK(says(error_of(gif, "bomb.gif"), "frame 0 declares 8000x8000 pixels, which"));
}

TEST_CASE("the canvas of a GIF is held against the limit of memory") {
  DecodeOptions options;
  options.limits.max_memory_bytes = 31 * 23 * 4 - 1;
  CHECK(says(error_of(file_text("movie.gif"), "movie.gif", options), "decoding needs"));
  options.limits.max_memory_bytes = 31 * 23 * 4;
  CHECK(decode_image(bytes_of(file_text("movie.gif")), "movie.gif", options).ok());
  options.frame = 1;
  CHECK(says(error_of(file_text("movie.gif"), "movie.gif", options), "decoding needs"));
}

TEST_CASE("a frame before the first is refused") {
  DecodeOptions options;
  options.frame = -1;
  CHECK(says(error_of(file_text("rgb.gif"), "x.gif", options), "has no frame -1: it holds 1 frame, counted"));
  options.frame = 1;
  CHECK(says(error_of(file_text("rgb.png"), "x.png", options), "has no frame 1: it holds 1 frame, counted"));
}

TEST_CASE("a GIF cut anywhere before its trailer is an error") {
  for (const char* name : {"rgb.gif", "interlaced.gif"}) {
    const std::string good = file_text(name);
    for (std::size_t size = 0; size + 3 < good.size(); ++size) {
      CAPTURE(size);
      CHECK_FALSE(decode_image(bytes_of(good.substr(0, size)), "cut").ok());
    }
  }
}

TEST_CASE("a damaged GIF gives a picture or an error") {
  for (const char* name : {"rgb.gif", "interlaced.gif", "random_0.gif", "random_outside.gif"})
    check_survives_damage(name, 500);
  for (const char* name : {"movie.gif", "random_1.gif", "random_grey.gif", "random_outside.gif"})
    check_survives_damage(name, 500, 3);
}

}  // namespace tap
