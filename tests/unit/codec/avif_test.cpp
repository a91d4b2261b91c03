#include <doctest/doctest.h>

#include "base/clock.h"
#include "samples.h"

namespace tap {
namespace {

using namespace test;
using namespace std::string_literals;

std::string replaced(std::string text, const std::string& from, std::size_t skip, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at + skip, to.size(), to);
}

}  // namespace

TEST_CASE("every frame of every AVIF has the pixels of Pillow") {
  const std::vector<Case> all = cases("", ".avif");
  REQUIRE(all.size() >= 25);
  for (const Case& c : all) check_like_pillow(c);
}

TEST_CASE("[B13] AVIF of one pixel and single rows and columns decode and 0xN is refused") {
  CHECK(cases("avif_", ".avif").size() == 3);
  // ispe: version, width, height
  const std::string good = file_text("yuv_444_full.avif");
  CHECK(error_of(replaced(good, "ispe", 8, "\0\0\0\0"s), "none.avif").code() == ErrorCode::bad_file);
  CHECK(error_of(replaced(good, "ispe", 12, "\0\0\0\0"s), "none.avif").code() == ErrorCode::bad_file);
}

TEST_CASE("[B16] rotation and mirroring of an AVIF turn the pixels") {
  CHECK(cases("exif_", ".avif").size() == 8);
  for (int o = 1; o <= 8; ++o)
    CHECK(probe_image(bytes_of(file_text(fmt::format("exif_{}.avif", o))), "x")->orientation == o);
}

TEST_CASE("[B18] an AVIF that declares a huge canvas is refused by its header") {
  const std::string good = file_text("yuv_444_full.avif");
  const Stopwatch watch;
  for (const std::string& size :
       {"\0\0\x27\x10\0\0\x27\x10"s, "\0\0\xff\xff\0\0\xff\xff"s, "\x7f\xff\xff\xff\x7f\xff\xff\xff"s}) {
    const Error error = error_of(replaced(good, "ispe", 8, size), "huge.avif");
    CHECK((error.code() == ErrorCode::limit || error.code() == ErrorCode::bad_file));
  }
  CHECK(
      says(error_of(replaced(good, "ispe", 8, "\0\0\x27\x10\0\0\x27\x10"s), "huge.avif"), "10000x10000 is 100000000"));
  // Within the limits libavif may scale the coded picture or refuse it.
  check_survives(replaced(good, "ispe", 8, "\0\0\x03\xe8\0\0\x03\xe8"s));
  CHECK(watch.ms() < 2000);
}

TEST_CASE("[B18] an AVIF grid is put together and one with a huge canvas is refused by its header") {
  check_like_pillow(cases("grid.avif").at(0));
  const std::string good = file_text("grid.avif");
  // ImageGrid: version, flags, rows - 1, columns - 1, width, height (16 bits each); found by its size of 128 x 96.
  const std::string grid = "\0\0\x01\x01\0\x80\0\x60"s;
  CHECK(good.find(grid) != std::string::npos);
  for (const std::string& size : {"\xff\xff\xff\xff"s, "\x27\x10\x27\x10"s})
    CHECK_FALSE(decode_image(bytes_of(replaced(good, grid, 4, size)), "grid.avif").ok());
  CHECK_FALSE(decode_image(bytes_of(replaced(good, grid, 2, "\xff\xff"s)), "grid.avif").ok());
}

TEST_CASE("frames of an AVIF sequence are counted and one after the last is an error") {
  DecodeOptions options;
  options.frame = 4;
  const Error error = error_of(file_text("movie.avif"), "movie.avif", options);
  CHECK(error.code() == ErrorCode::bad_input);
  CHECK(says(error, "has no frame 4: it holds 4 frames, counted from 0"));
}

TEST_CASE("an AVIF cut anywhere is an error") {
  const std::string good = file_text("yuv_420_full.avif");
  for (std::size_t size = 0; size < good.size(); size += size < 64 ? 1 : 7) {
    CAPTURE(size);
    CHECK_FALSE(decode_image(bytes_of(good.substr(0, size)), "cut").ok());
  }
}

TEST_CASE("a damaged AVIF gives a picture or an error") {
  for (const char* name : {"yuv_420_limited.avif", "rgba.avif", "exif_6.avif", "yuv_400_full.avif"})
    check_survives_damage(name, 250);
  check_survives_damage("movie.avif", 250, 2);
}

}  // namespace tap
