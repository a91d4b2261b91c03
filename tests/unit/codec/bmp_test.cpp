#include <doctest/doctest.h>

#include "samples.h"

namespace tap {
namespace {

using namespace test;
using namespace std::string_literals;

std::string bmp(std::uint32_t width, std::uint32_t height, unsigned bits, const std::string& data,
                unsigned compression = 0, const std::string& palette = "") {
  return "BM" + little(0, 8) + little(static_cast<std::uint32_t>(54 + palette.size()), 4) + little(40, 4) +
         little(width, 4) + little(height, 4) + little(1, 2) + little(bits, 2) + little(compression, 4) +
         little(0, 20) + palette + data;
}

const std::string two_colors = "\0\0\0\0\x03\x02\x01\0"s + std::string(254 * 4, '\0');

}  // namespace

TEST_CASE("every BMP has the pixels of Pillow") {
  const std::vector<Case> all = cases("", ".bmp");
  REQUIRE(all.size() >= 31);
  for (const Case& c : all) check_like_pillow(c);
}

TEST_CASE("[B13] BMP of one pixel and single rows and columns decode and 0xN is refused") {
  CHECK(cases("bmp_", ".bmp").size() == 3);
  for (const auto& [w, h] : {std::pair<std::uint32_t, std::uint32_t>{0, 5}, {5, 0}, {0, 0}})
    CHECK(says(error_of(bmp(w, h, 24, std::string(64, '\0')), "none.bmp"), "has no pixels"));
}

TEST_CASE("[B11] a BMP of 60 bytes declaring 8900x8900 pixels is refused by its header") {
  CHECK(says(error_of(bmp(8900, 8900, 24, "123456"), "bomb.bmp"), "declares 8900x8900 pixels, which 60 bytes cannot"));
  CHECK(error_of(bmp(0xFFFFFFFF, 0x7FFFFFFF, 24, "123456"), "bomb.bmp").code() == ErrorCode::limit);
  CHECK(error_of(bmp(0x10000, 0x80000000, 32, "123456"), "bomb.bmp").code() == ErrorCode::limit);
}

TEST_CASE("run-length coded pixels that are left out have colour 0 and a missing end is an error") {
  const Image image = decode_image(bytes_of(bmp(3, 2, 8, "\x02\x01\0\x01"s, 1, two_colors)), "x.bmp").value();
  CHECK(image.pixels == std::vector<std::uint8_t>{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 1, 2, 3, 0, 0, 0});
  CHECK(says(error_of(bmp(3, 2, 8, "\x02\x01"s, 1, two_colors), "x.bmp"), "the file ends before the picture does"));
  // Steps and runs that leave the picture are cut at its end.
  const std::string wild = "\0\x02\xff\xff\xff\x01\0\xff"s + std::string(256, '\x01');
  CHECK(decode_image(bytes_of(bmp(3, 2, 8, wild, 1, two_colors)), "x.bmp").ok());
}

TEST_CASE("what a BMP cannot be is said") {
  CHECK(says(error_of(bmp(1, 1, 2, "1234"), "x.bmp"), "2 bits a pixel; 1, 4, 8, 16, 24 or 32 can be read"));
  CHECK(error_of(bmp(1, 1, 24, "1234", 4), "x.bmp").code() == ErrorCode::unsupported);
  CHECK(says(error_of(bmp(1, 1, 24, "1234", 1), "x.bmp"), "run lengths of another pixel size"));
  CHECK(says(error_of(bmp(1, 1, 16, little(5, 4) + little(0, 12), 3), "x.bmp"), "bit fields with gaps"));
  CHECK(says(error_of("BMW is a car\n", "x.bmp"), "is text, not a picture"));
}

TEST_CASE("a BMP cut anywhere before its last pixels is an error") {
  for (const char* name : {"rgb.bmp", "index_4.bmp", "fields_bgra.bmp"}) {
    const std::string good = file_text(name);
    for (std::size_t size = 0; size < good.size(); ++size) {
      CAPTURE(size);
      CHECK_FALSE(decode_image(bytes_of(good.substr(0, size)), "cut").ok());
    }
  }
}

TEST_CASE("a damaged BMP gives a picture or an error") {
  for (const Case& c : cases("", ".bmp")) check_survives_damage(c.file, 200);
}

}  // namespace tap
