#include <doctest/doctest.h>

#include "samples.h"

namespace tap {
namespace {

using namespace test;
using namespace std::string_literals;

}  // namespace

TEST_CASE("every PBM and PGM and PPM has the pixels of Pillow") {
  std::size_t seen = 0;
  for (const char* suffix : {".ppm", ".pgm", ".pbm"})
    for (const Case& c : cases("", suffix)) {
      check_like_pillow(c);
      ++seen;
    }
  CHECK(seen >= 24);
}

TEST_CASE("PAM of one to four channels decodes") {
  const auto pam = [](int depth, const std::string& pixels) {
    return fmt::format("P7\nWIDTH 2\nHEIGHT 1\nDEPTH {}\nMAXVAL 255\n# c\nTUPLTYPE ANY\nENDHDR\n", depth) + pixels;
  };
  using Pixels = std::vector<std::uint8_t>;
  CHECK(decode_image(bytes_of(pam(1, "\x01\x02")), "x")->pixels == Pixels{1, 1, 1, 2, 2, 2});
  CHECK(decode_image(bytes_of(pam(2, "\x01\xff\x02\0"s)), "x")->pixels == Pixels{1, 1, 1, 255, 255, 255});
  CHECK(decode_image(bytes_of(pam(3, "\1\2\3\4\5\6")), "x")->pixels == Pixels{1, 2, 3, 4, 5, 6});
  CHECK(decode_image(bytes_of(pam(4, "\1\2\3\xff\4\5\6\0"s)), "x")->pixels == Pixels{1, 2, 3, 255, 255, 255});
  CHECK(says(error_of(pam(5, "12345678"), "x"), "DEPTH 5; 1 to 4 can be read"));
  CHECK(says(error_of(pam(4, "1234567"), "x"), "cannot hold"));
  CHECK(says(error_of("P7\nWIDTH 2\n", "x"), "no ENDHDR"));
  CHECK(says(error_of("P7\nWIDTH 2\nENDHDR\n", "x"), "wants WIDTH, HEIGHT, DEPTH and MAXVAL"));
}

TEST_CASE("[B13] PPM of one pixel and single rows and columns decode and 0xN is refused") {
  CHECK(cases("ppm_", ".ppm").size() == 3);
  for (const char* size : {"0 5", "5 0", "0 0"})
    CHECK(says(error_of(fmt::format("P6 {} 255\n123456789", size), "none.ppm"), "has no pixels"));
}

TEST_CASE("[B11] a PPM of a few bytes declaring many pixels is refused by its header") {
  for (const char* kind : {"P1", "P2", "P3", "P4", "P5", "P6"})
    CHECK(says(error_of(fmt::format("{} 8000 8000 255\n1 2 3", kind), "bomb.ppm"), "declares 8000x8000 pixels"));
  CHECK(error_of("P6 4294967295 4294967295 255\n123", "bomb.ppm").code() == ErrorCode::limit);
  CHECK(error_of("P6 9999999999 9999999999 255\n123", "bomb.ppm").code() == ErrorCode::limit);
}

TEST_CASE("wrong numbers in a PPM are said") {
  CHECK(says(error_of("P6 99999999999 1 255\n123", "x"), "wants a width, a height and the largest value"));
  CHECK(says(error_of("P6 -1 1 255\n123", "x"), "wants a width"));
  CHECK(says(error_of("P5 1 1 0\n1", "x"), "the largest value is 0, must be 1 to 65535"));
  CHECK(says(error_of("P5 1 1 65536\n12", "x"), "the largest value is 65536"));
  CHECK(says(error_of("P2 1 2 9\n3 10", "x"), "a value that is not 0 to 9"));
  CHECK(says(error_of("P2 1 1 9\n 3x", "x"), "a value that is not 0 to 9"));
  CHECK(says(error_of("P1 1 2\n1 2", "x"), "neither 0 nor 1"));
  CHECK(says(error_of("P2 1 3 9\n1 1  #", "x"), "the file ends before the picture does"));
}

TEST_CASE("a PPM of bytes cut anywhere is an error") {
  for (const char* name : {"plain_bytes.ppm", "plain_bytes.pbm", "top_1023.pgm"}) {
    const std::string good = file_text(name);
    for (std::size_t size = 0; size < good.size(); ++size) {
      CAPTURE(size);
      CHECK_FALSE(decode_image(bytes_of(good.substr(0, size)), "cut").ok());
    }
  }
}

TEST_CASE("a damaged PPM gives a picture or an error") {
  for (const char* suffix : {".ppm", ".pgm", ".pbm"})
    for (const Case& c : cases("", suffix)) check_survives_damage(c.file, 200);
}

}  // namespace tap
