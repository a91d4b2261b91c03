#include <doctest/doctest.h>
#include <webp/encode.h>

#include "base/clock.h"
#include "samples.h"

namespace tap {
namespace {

using namespace test;
using namespace std::string_literals;

std::string chunk(const std::string& name, const std::string& body) {
  return name + little(static_cast<std::uint32_t>(body.size()), 4) + body + (body.size() % 2 ? "\0"s : ""s);
}

std::string riff(const std::string& chunks) {
  return "RIFF" + little(static_cast<std::uint32_t>(chunks.size() + 4), 4) + "WEBP" + chunks;
}

// An animation on a canvas of width x height with `frames` frames of one red pixel each.
std::string animation(std::uint32_t width, std::uint32_t height, std::uint32_t frames, std::uint32_t x = 0) {
  const std::uint8_t red[] = {255, 0, 0};
  std::uint8_t* pixel = nullptr;
  const std::size_t size = WebPEncodeLosslessRGB(red, 1, 1, 3, &pixel);
  const std::string body = std::string(reinterpret_cast<char*>(pixel), size).substr(12);  // without the RIFF header
  WebPFree(pixel);
  std::string chunks = chunk("VP8X", "\x02\0\0\0"s + little(width - 1, 3) + little(height - 1, 3));
  chunks += chunk("ANIM", little(0, 6));
  for (std::uint32_t i = 0; i < frames; ++i)
    chunks +=
        chunk("ANMF", little(x / 2, 3) + little(0, 3) + little(0, 3) + little(0, 3) + little(40, 3) + "\0"s + body);
  return riff(chunks);
}

}  // namespace

TEST_CASE("every frame of every WebP has the pixels of Pillow") {
  const std::vector<Case> all = cases("", ".webp");
  REQUIRE(all.size() >= 22);
  for (const Case& c : all) check_like_pillow(c);
}

TEST_CASE("[B13] WebP of one pixel and single rows and columns decode") {
  CHECK(cases("webp_", ".webp").size() == 3);
  for (const Case& c : cases("webp_", ".webp")) check_like_pillow(c);
}

TEST_CASE("[B16] the EXIF orientation of a WebP turns the pixels") {
  CHECK(cases("exif_", ".webp").size() == 4);
  CHECK(probe_image(bytes_of(file_text("exif_6.webp")), "x")->orientation == 6);
  CHECK(probe_image(bytes_of(file_text("exif_9.webp")), "x")->orientation == 1);
}

TEST_CASE("[B18] an animated WebP decodes at any frame and says how many there are") {
  CHECK(cases("movie", ".webp").size() == 4);
  CHECK(cases("sprite", ".webp").size() == 5);
  DecodeOptions options;
  options.frame = 4;
  const Error error = error_of(file_text("movie.webp"), "movie.webp", options);
  CHECK(error.code() == ErrorCode::bad_input);
  CHECK(says(error, "has no frame 4: it holds 4 frames, counted from 0"));
  const std::string many = animation(2, 2, 10'000);
  CHECK(probe_image(bytes_of(many), "many.webp")->frames == 10'000);
  options.frame = 9'999;
  CHECK(decode_image(bytes_of(many), "many.webp", options)->pixels[0] == 255);
}

TEST_CASE("[B18] an animated WebP of a huge canvas and one that takes too long are refused by the header") {
  const Stopwatch watch;
  CHECK(says(error_of(animation(16384, 16384, 1), "huge.webp"), "16384x16384 is 268435456 pixels; the limit is"));
  CHECK(says(error_of(animation(8000, 8000, 1), "large.webp"), "decoding needs 832000000 bytes; the limit is"));
  DecodeOptions options;
  options.frame = 2'999;
  CHECK(says(error_of(animation(1000, 1000, 3'000), "long.webp", options), "frame 2999 takes drawing"));
  CHECK(watch.ms() < 1000);
}

TEST_CASE("[B18] a frame of a WebP outside its canvas is an error") {
  CHECK(error_of(animation(2, 2, 1, 4), "outside.webp").code() == ErrorCode::bad_file);
}

TEST_CASE("a WebP cut anywhere is an error") {
  for (const char* name : {"lossy.webp", "lossless_alpha.webp", "movie.webp", "exif_6.webp"}) {
    const std::string good = file_text(name);
    for (std::size_t size = 0; size < good.size(); size += size < 64 ? 1 : 7) {
      CAPTURE(size);
      CHECK_FALSE(decode_image(bytes_of(good.substr(0, size)), "cut").ok());
    }
  }
}

TEST_CASE("a damaged WebP gives a picture or an error") {
  for (const char* name : {"lossy.webp", "lossy_alpha.webp", "lossless.webp", "lossless_palette.webp", "exif_6.webp"})
    check_survives_damage(name, 400);
  for (const char* name : {"movie.webp", "sprite.webp"}) check_survives_damage(name, 400, 2);
}

}  // namespace tap
