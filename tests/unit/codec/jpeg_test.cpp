#include <cstdio>  // before jpeglib.h, which wants FILE

#include <doctest/doctest.h>
#include <jpeglib.h>

#include "base/clock.h"
#include "samples.h"

namespace tap {
namespace {

using namespace test;
using namespace std::string_literals;

// Seeded noise over gradients, so that no two encoders' choices give the same bytes by chance.
std::string encoded(unsigned width, unsigned height, bool arithmetic, bool progressive) {
  jpeg_compress_struct info;
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &out, &size);
  info.image_width = width;
  info.image_height = height;
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  if (progressive) jpeg_simple_progression(&info);
  info.arith_code = arithmetic ? TRUE : FALSE;
  jpeg_start_compress(&info, TRUE);
  Rng rng(width);
  std::vector<unsigned char> row(width * 3);
  while (info.next_scanline < height) {
    for (unsigned i = 0; i < row.size(); ++i)
      row[i] = static_cast<unsigned char>((i + info.next_scanline * (1 + i % 3)) / 2 + rng.next_u32() % 16);
    JSAMPROW rows = row.data();
    jpeg_write_scanlines(&info, &rows, 1);
  }
  jpeg_finish_compress(&info);
  std::string text(reinterpret_cast<char*>(out), size);
  std::free(out);
  jpeg_destroy_compress(&info);
  return text;
}

// The same with its last scan repeated.
std::string with_scans(const std::string& jpeg, int repeats) {
  const std::size_t scan = jpeg.rfind("\xff\xda"), end = jpeg.rfind("\xff\xd9");
  REQUIRE(scan != std::string::npos);
  REQUIRE(end > scan);
  std::string out = jpeg.substr(0, end);
  for (int i = 0; i < repeats; ++i) out += jpeg.substr(scan, end - scan);
  return out + jpeg.substr(end);
}

}  // namespace

TEST_CASE("[B14] a progressive JPEG of 1000 scans is refused and one of a few is not") {
  const std::string jpeg = encoded(64, 48, false, true);
  REQUIRE(decode_image(bytes_of(jpeg), "x.jpg").ok());
  const Stopwatch watch;
  const Error error = error_of(with_scans(jpeg, 1000), "scans.jpg");
  CHECK(error.code() == ErrorCode::limit);
  CHECK(says(error, "more than 100 scans, the limit for this size"));
  CHECK(watch.ms() < 1000);
}

TEST_CASE("[B14] a JPEG cut at each byte of its first 4 KiB is an error") {
  for (const bool arithmetic : {false, true})
    for (const bool progressive : {false, true}) {
      CAPTURE(arithmetic);
      CAPTURE(progressive);
      const std::string good = encoded(240, 180, arithmetic, progressive);
      REQUIRE(good.size() > 4096);
      for (std::size_t size = 0; size <= 4096; ++size) {
        CAPTURE(size);
        CHECK_FALSE(decode_image(bytes_of(good.substr(0, size)), "cut.jpg").ok());
      }
    }
}

TEST_CASE("[B14] arithmetic coding gives the pixels of Huffman coding") {
  for (const bool progressive : {false, true}) {
    const Image huffman = decode_image(bytes_of(encoded(61, 43, false, progressive)), "x.jpg").value();
    CHECK(decode_image(bytes_of(encoded(61, 43, true, progressive)), "x.jpg").value() == huffman);
  }
}

TEST_CASE("[B14] damage to an arithmetic-coded JPEG gives a picture or an error") {
  log::set_level(log::Level::quiet);
  const std::string good = encoded(61, 43, true, true);
  Rng rng(3);
  for (int round = 0; round < 400; ++round) {
    std::string bad = good;
    for (int flips = 0; flips < 3; ++flips) bad[rng.next_u32() % bad.size()] = static_cast<char>(rng.next_u32());
    check_survives(bad, small_limits());
  }
  log::set_level(log::Level::normal);
}

TEST_CASE("[B13] JPEG of one pixel and single rows and columns decode") {
  std::size_t seen = 0;
  for (const char* name : {"jpeg_1x1", "jpeg_1x200", "jpeg_200x1"})
    for (const Case& c : cases(name)) {
      check_like_pillow(c);
      ++seen;
    }
  CHECK(seen == 3);
}

}  // namespace tap
