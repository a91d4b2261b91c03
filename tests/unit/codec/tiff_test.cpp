#include <algorithm>
#include <cstdlib>
#include <map>

#include <doctest/doctest.h>

#include "base/clock.h"
#include "samples.h"

namespace tap {
namespace {

using namespace test;
using namespace std::string_literals;

using Tags = std::map<std::uint32_t, std::uint32_t>;  // every value is one 32-bit number

// A directory at `at` of a little-endian file, and the place of the next one.
std::string directory(const Tags& tags, std::size_t next) {
  std::string out = little(tags.size(), 2);
  for (const auto& [tag, value] : tags) out += little(tag, 2) + little(4, 2) + little(1, 4) + little(value, 4);
  return out + little(next, 4);
}

std::string tiff(const Tags& tags, const std::string& data = "12345678", std::size_t next = 0) {
  return "II*\0"s + little(8 + data.size(), 4) + data + directory(tags, next);
}

// 8-bit grey in one strip at offset 8.
Tags grey(std::uint32_t width, std::uint32_t height) {
  return {{256, width}, {257, height}, {258, 8}, {259, 1}, {262, 1}, {273, 8}, {277, 1}, {278, height}, {279, 8}};
}

}  // namespace

TEST_CASE("every page of every TIFF has the pixels of Pillow") {
  const std::vector<Case> all = cases("", ".tif");
  REQUIRE(all.size() >= 77);
  for (const Case& c : all) check_like_pillow(c);
}

TEST_CASE("uncompressed YCbCr differs from Pillow by at most one level") {
  const Image ours = decode_image(bytes_of(file_text("ycbcr_raw.tif")), "ycbcr_raw.tif").value();
  const Image pillow = decode_image(bytes_of(file_text("ycbcr_raw_as_pillow.ppm")), "x.ppm").value();
  REQUIRE(ours.pixels.size() == pillow.pixels.size());
  int largest = 0;
  for (std::size_t i = 0; i < ours.pixels.size(); ++i)
    largest = std::max(largest, std::abs(int{ours.pixels[i]} - int{pillow.pixels[i]}));
  CHECK(largest <= 1);
}

TEST_CASE("[B13] TIFF of one pixel and single rows and columns decode and 0xN is refused") {
  CHECK(cases("tiff_", ".tif").size() == 3);
  for (const auto& [w, h] : {std::pair<std::uint32_t, std::uint32_t>{0, 5}, {5, 0}, {0, 0}}) {
    const Error error = error_of(tiff(grey(w, h)), "none.tif");
    CHECK(error.code() == ErrorCode::bad_file);
  }
}

TEST_CASE("[B15] float and deep and CMYK TIFF decode as in Pillow") {
  std::size_t seen = 0;
  for (const char* prefix : {"float_", "deep_", "signed_", "mode_f", "mode_i", "mode_cmyk", "mode_1", "small_"})
    for (const Case& c : cases(prefix, ".tif")) {
      check_like_pillow(c);
      ++seen;
    }
  CHECK(seen >= 26);
}

TEST_CASE("[B16] TIFF orientations 1 to 8 turn the pixels and 0 and 9 are ignored") {
  CHECK(cases("exif_", ".tif").size() == 10);
  for (const Case& c : cases("exif_", ".tif")) check_like_pillow(c);
}

TEST_CASE("pages of a TIFF are counted and one after the last is an error") {
  DecodeOptions options;
  options.frame = 4;
  const Error error = error_of(file_text("pages.tif"), "pages.tif", options);
  CHECK(error.code() == ErrorCode::bad_input);
  CHECK(says(error, "has no frame 4: it holds 4 frames, counted from 0"));
}

TEST_CASE("[B16] directories of a TIFF that loop or lie outside end the chain") {
  const std::string data = "12345678";
  CHECK(probe_image(bytes_of(tiff(grey(4, 2), data, 16)), "loop.tif")->frames == 1);
  CHECK(probe_image(bytes_of(tiff(grey(4, 2), data, 0xFFFFFFF0)), "far.tif")->frames == 1);
  CHECK(says(error_of("II*\0\xff\xff\xff\xff"s + data, "x.tif"), "TIFF: no picture in the file"));
  CHECK(says(error_of("II*\0\0\0\0\0"s + data, "x.tif"), "TIFF: no picture in the file"));
  CHECK(says(error_of("II*\0\x08\0"s, "x.tif"), "ends inside the header"));
}

TEST_CASE("a TIFF of more than 65536 directories is refused at once") {
  std::string file = "II*\0"s + little(8, 4);
  for (int i = 0; i < 70'000; ++i) file += little(0, 2) + little(file.size() + 6, 4);
  const Stopwatch watch;
  const Error error = error_of(file, "many.tif");
  CHECK(error.code() == ErrorCode::limit);
  CHECK(says(error, "more than 65536 pictures, the limit"));
  CHECK(watch.ms() < 1000);
}

TEST_CASE("[B11] a TIFF of 150 bytes that declares many pixels or huge strips is refused") {
  CHECK(error_of(tiff(grey(65535, 65535)), "bomb.tif").code() == ErrorCode::limit);
  CHECK(error_of(tiff(grey(0xFFFFFFFF, 0xFFFFFFFF)), "bomb.tif").code() != ErrorCode::internal);
  Tags deflated = grey(8900, 8900);
  deflated[259] = 8;
  CHECK(says(error_of(tiff(deflated), "bomb.tif"), "decoding needs"));
  Tags tiled = grey(16, 16);
  tiled.erase(273), tiled.erase(278), tiled.erase(279);
  tiled[322] = tiled[323] = 0x10000;
  tiled[324] = 8, tiled[325] = 8;
  CHECK(says(error_of(tiff(tiled), "tile.tif"), "decoding needs"));
}

TEST_CASE("what a TIFF cannot be is said in one line") {
  Tags tags = grey(4, 2);
  tags[259] = 6;
  CHECK(says(error_of(tiff(tags), "x.tif"), "TIFF: compression 6 cannot be read"));
  tags = grey(4, 2);
  tags[258] = 64;
  CHECK(says(error_of(tiff(tags), "x.tif"), "of 64 bits"));
  tags = grey(4, 2);
  tags[262] = 8;
  CHECK(error_of(tiff(tags), "x.tif").code() == ErrorCode::unsupported);
  tags = grey(400, 300);  // nearly all bytes are missing
  tags[279] = 120'000;
  CHECK(error_of(tiff(tags, "12345678"), "x.tif").code() == ErrorCode::bad_file);
}

TEST_CASE("a TIFF cut anywhere is an error") {
  for (const char* name : {"rgb_lzw.tif", "rgb_le.tif", "jpeg_ycbcr.tif"}) {
    const std::string good = file_text(name);
    const std::size_t last = good.size() - 64;  // what ends a directory may be padding
    for (std::size_t size = 0; size < last; size += size < 64 ? 1 : 13) {
      CAPTURE(size);
      CHECK_FALSE(decode_image(bytes_of(good.substr(0, size)), "cut").ok());
    }
  }
}

TEST_CASE("a damaged TIFF gives a picture or an error") {
  for (const char* name : {"rgb_lzw.tif", "rgb_adobe_deflate.tif", "rgb_packbits.tif", "group4.tif", "jpeg_ycbcr.tif",
                           "ycbcr_lzw.tif", "mode_p.tif", "tiles_planar.tif", "wide_tiles.tif", "planar_rgba.tif",
                           "small_2_palette.tif", "float_deflate.tif", "exif_6.tif"})
    check_survives_damage(name, 300);
  check_survives_damage("pages.tif", 300, 2);
}

}  // namespace tap
