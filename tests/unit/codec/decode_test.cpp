#include "codec/decode.h"

#include <doctest/doctest.h>

#include "base/clock.h"
#include "codec/encode.h"
#include "samples.h"

namespace tap {
namespace {

using namespace test;

}  // namespace

TEST_CASE("every sample decodes to the bytes of Pillow") {
  const std::vector<Case> all = cases();
  REQUIRE(all.size() >= 280);
  for (const Case& c : all) check_like_pillow(c);
}

TEST_CASE("[B11] a PNG of 60 bytes declaring 65535x65535 pixels is refused by its header") {
  const std::string png = test::png_start(65535, 65535, 8, 2) + test::png_chunk("IDAT", "\x78\xda\x03");
  CHECK(png.size() < 64);
  const Error error = error_of(png, "bomb.png");
  CHECK(error.code() == ErrorCode::limit);
  CHECK(says(error, "65535x65535 is 4294836225 pixels; the limit is 80000000"));
  // Edges whose product does not fit 63 bits.
  const Error widest =
      error_of(test::png_start(0xFFFFFFFF, 0xFFFFFFFF, 8, 2) + test::png_chunk("IDAT", "\x78\xda\x03"), "wide.png");
  CHECK(widest.code() == ErrorCode::limit);
  CHECK(says(widest, "4294967295x4294967295 pixels; the limit is 65535"));
  // Within the limit of pixels, 60 bytes still cannot hold them.
  const Error too_short =
      error_of(test::png_start(8900, 8900, 8, 2) + test::png_chunk("IDAT", "\x78\xda\x03"), "short.png");
  CHECK(too_short.code() == ErrorCode::bad_file);
  CHECK(says(too_short, "cannot hold"));
}

TEST_CASE("[B11] a JPEG of a few kilobytes declaring 8900x8900 pixels is refused by its header") {
  for (const char* frame : {"\xff\xc0", "\xff\xc9"}) {  // Huffman and arithmetic coding
    std::string jpeg = file_text("jpeg_quality5.jpg");
    const std::size_t at = jpeg.find("\xff\xc0");
    REQUIRE(at != std::string::npos);
    jpeg.replace(at, 2, frame);
    for (const std::size_t edge : {5u, 7u}) jpeg.replace(at + edge, 2, "\x22\xc4");
    const Error error = error_of(jpeg, "bomb.jpg");
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(says(error, "declares 8900x8900 pixels, which"));
    for (const std::size_t edge : {5u, 7u}) jpeg.replace(at + edge, 2, "\xff\xff");
    CHECK(error_of(jpeg, "bomb.jpg").code() == ErrorCode::limit);
  }
}

TEST_CASE("[B12] a uniform PNG of 40000x40000 pixels in 5 MB is refused at once") {
  const std::string png = test::black_png(40000, 40000);
  CHECK(png.size() > 4'000'000);
  CHECK(png.size() < 6'000'000);
  const Stopwatch watch;
  const Error error = error_of(png, "uniform.png");
  CHECK(error.code() == ErrorCode::limit);
  CHECK(says(error, "the limit is 80000000"));
  CHECK(watch.ms() < 100);
  // The generator makes true PNGs: a smaller one decodes.
  const Image image = decode_image(bytes_of(test::black_png(1500, 900)), "small.png").value();
  CHECK(image == Image(1500, 900));
}

TEST_CASE("[B13] one pixel and single rows and columns of 8192 decode and 0xN is refused") {
  for (const auto& [w, h] : {std::pair<Dim, Dim>{1, 1}, {1, 8192}, {8192, 1}}) {
    Image image(w, h);
    Rng rng(static_cast<std::uint64_t>(w + h));
    for (std::uint8_t& v : image.pixels) v = static_cast<std::uint8_t>(rng.next_u32());
    const std::vector<std::byte> png = encode_png(image);
    CHECK(decode_image(png, "line.png").value() == image);
  }
  for (const auto& [w, h] : {std::pair<std::uint32_t, std::uint32_t>{0, 5}, {5, 0}, {0, 0}}) {
    const Error error = error_of(
        test::png_start(w, h, 8, 2) + test::png_chunk("IDAT", test::deflated("\0")) + test::png_end(), "none.png");
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(says(error, "has no pixels"));
  }
  std::string jpeg = file_text("jpeg_444.jpg");
  const std::size_t frame = jpeg.find("\xff\xc0");
  REQUIRE(frame != std::string::npos);
  jpeg[frame + 5] = jpeg[frame + 6] = 0;
  CHECK(says(error_of(jpeg, "none.jpg"), "has no pixels"));
}

TEST_CASE("[B15] CMYK and YCCK JPEG and deep and palette and grey-alpha and bilevel PNG decode as in Pillow") {
  int seen = 0;
  for (const char* prefix : {"jpeg_cmyk", "jpeg_ycck", "grey_16bit", "rgb_16bit", "rgba_16bit", "la_16bit", "palette",
                             "la", "bilevel", "grey_2bit", "grey_4bit", "grey_trns", "rgb_trns"})
    for (const Case& c : cases(prefix)) {
      check_like_pillow(c);
      ++seen;
    }
  CHECK(seen >= 15);
}

TEST_CASE("[B16] EXIF orientations 1 to 8 turn the pixels and 0 and 9 are ignored") {
  CHECK(cases("exif_").size() == 42);
  for (const Case& c : cases("exif_")) {
    check_like_pillow(c);
    const int orientation = c.file[5] - '0';
    const std::string text = file_text(c.file);
    CHECK(probe_image(bytes_of(text), c.file)->orientation == (orientation >= 1 && orientation <= 8 ? orientation : 1));
  }
}

TEST_CASE("[B19] compressed text and profile bombs in a PNG are never inflated") {
  const std::string bomb = test::deflated(std::string(std::size_t{48} << 20, 'a'), 9);  // 48 MB in 48 KB
  REQUIRE(bomb.size() < 64 * 1024);
  const std::string pixels = test::png_chunk("IDAT", test::deflated(std::string("\0\1\2\3", 4)));
  const std::string png = test::png_start(1, 1, 8, 2) + test::png_chunk("iCCP", std::string("p\0\0", 3) + bomb) +
                          test::png_chunk("zTXt", std::string("k\0\0", 3) + bomb) +
                          test::png_chunk("iTXt", std::string("k\0\1\0\0\0", 6) + bomb) + pixels + test::png_end();
  const Stopwatch watch;
  const Image image = decode_image(bytes_of(png), "bomb.png").value();
  CHECK(image.pixels == std::vector<std::uint8_t>{1, 2, 3});
  CHECK(watch.ms() < 100);
}

TEST_CASE("[B19] a wrong CRC is an error") {
  const std::string good = file_text("rgb.png");
  for (const char* type : {"IHDR", "IDAT", "IEND"}) {
    CAPTURE(type);
    std::string bad = good;
    const std::size_t at = bad.find(type);
    REQUIRE(at != std::string::npos);
    std::uint32_t length = 0;
    for (std::size_t i = 4; i > 0; --i) length = length << 8 | static_cast<unsigned char>(bad[at - i]);
    bad[at + 4 + length] = static_cast<char>(bad[at + 4 + length] ^ 1);
    const Error error = error_of(bad, "crc.png");
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(says(error, "CRC"));
  }
}

TEST_CASE("[B19] the content decides and not the extension") {
  CHECK(decode_image(bytes_of(file_text("rgb.png")), "picture.jpg").ok());
  CHECK(decode_image(bytes_of(file_text("jpeg_444.jpg")), "picture.png").ok());
}

TEST_CASE("[B19] what is no picture is named") {
  using namespace std::string_literals;
  const std::pair<std::string, const char*> not_pictures[] = {
      {"<!DOCTYPE html>\n<html><body>404</body></html>", "is HTML, not a picture"},
      {"%PDF-1.7\n", "is PDF, not a picture"},
      {"Hello there\n", "is text, not a picture"},
      {"{\"error\": \"not found\"}", "is JSON, not a picture"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"},
      {"PK\3\4rest", "is a ZIP archive, not a picture"},
      {"", "is empty"},
      {"\x89PNG\n\x1a\n broken by a text transfer", "are damaged or missing"},
      {"\x01\x02\x00\x80\x99"s, "is no picture that can be read"},
  };
  for (const auto& [bytes, text] : not_pictures) {
    CAPTURE(text);
    const Error error = error_of(bytes, "roof.jpg");
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(says(error, text));
  }
  const std::pair<std::string, const char*> unsupported[] = {
      {"\0\0\0\x1c"
       "ftypheic"s,
       "HEIC"},
      {"\0\0\0\x1c"
       "ftypmif1\0\0\0\0mif1heicmiaf"s,
       "HEIF"},
      {"\xff\x0a\0\0"s, "JPEG XL"},
      {"\xff\x4f\xff\x51\0\0"s, "JPEG 2000"},
      {"\0\0\1\0\1\0"s, "ICO"},
      {"8BPS\0\1"s, "PSD"},
      {"<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\"/>", "SVG"},
  };
  for (const auto& [bytes, kind] : unsupported) {
    const Error error = error_of(bytes, "roof.jpg");
    CHECK(error.code() == ErrorCode::unsupported);
    CHECK(error.message() ==
          fmt::format("roof.jpg: {} is not supported: PNG, JPEG, GIF, WebP, BMP, PPM, TIFF and AVIF are", kind));
  }
}

TEST_CASE("a picture cut at any byte is an error") {
  for (const char* name : {"jpeg_420.jpg", "jpeg_420_progressive.jpg", "jpeg_cmyk.jpg", "rgba.png",
                           "interlaced_rgba.png", "palette_trns.png"}) {
    const std::string good = file_text(name);
    CAPTURE(name);
    for (std::size_t size = 0; size < std::min<std::size_t>(good.size(), 4096); ++size) {
      CAPTURE(size);
      const Result<Image> result = decode_image(bytes_of(good.substr(0, size)), "cut");
      CHECK_FALSE(result.ok());
    }
  }
}

TEST_CASE("damaged bytes give a picture or an error") {
  for (const char* name : {"jpeg_420.jpg", "jpeg_420_progressive.jpg", "jpeg_ycck.jpg", "exif_6_jpeg.jpg",
                           "exif_6_png.png", "rgba.png", "palette_4bit.png"})
    check_survives_damage(name, 300);
}

TEST_CASE("damage inside the chunks of a PNG with right checksums gives a picture or an error") {
  Rng rng(5);
  for (int round = 0; round < 400; ++round) {
    std::string header = test::big_endian(1 + rng.next_u32() % 40) + test::big_endian(1 + rng.next_u32() % 40);
    constexpr int kinds[][2] = {{1, 0}, {8, 0}, {16, 0}, {8, 2},  {16, 2}, {1, 3},
                                {4, 3}, {8, 3}, {8, 4},  {16, 4}, {8, 6},  {16, 6}};
    const auto& kind = kinds[rng.next_u32() % 12];
    for (const int v : {kind[0], kind[1], 0, 0, static_cast<int>(rng.next_u32() % 2)})
      header.push_back(static_cast<char>(v));
    const auto noise = [&](std::size_t most) {
      std::string out(rng.next_u32() % most, '\0');
      for (char& c : out) c = static_cast<char>(rng.next_u32() % 6 == 0 ? rng.next_u32() : 0);
      return out;
    };
    std::string png = "\x89PNG\r\n\x1a\n" + test::png_chunk("IHDR", header);
    if (rng.next_u32() % 2) png += test::png_chunk("PLTE", noise(900));
    if (rng.next_u32() % 2) png += test::png_chunk("tRNS", noise(300));
    png += test::png_chunk("IDAT", test::deflated(noise(20000)));
    if (rng.next_u32() % 4 == 0) png += test::png_chunk("PLTE", noise(900)) + test::png_chunk("tRNS", noise(7));
    check_survives(png + test::png_end());
  }
}

TEST_CASE("scans of a progressive JPEG are limited") {
  const std::string good = file_text("jpeg_420_progressive.jpg");
  DecodeOptions options;
  options.limits.max_scans = 3;
  const Error error = error_of(good, "scans.jpg", options);
  CHECK(error.code() == ErrorCode::limit);
  CHECK(says(error, "more than 3 scans"));
}

TEST_CASE("the memory of a progressive JPEG is limited") {
  DecodeOptions options;
  const std::string good = file_text("jpeg_444_progressive.jpg");
  const Image image = decode_image(std::as_bytes(std::span(good)), "work.jpg").value();
  options.limits.max_memory_bytes = image.pixels.size() + 10'000;
  CHECK(error_of(good, "work.jpg", options).code() == ErrorCode::limit);
  options.limits.max_memory_bytes = image.pixels.size() - 1;
  CHECK(says(error_of(good, "work.jpg", options), "decoding needs"));
}

TEST_CASE("limits of edge and file size are held") {
  DecodeOptions options;
  options.limits.max_edge_px = 28;
  CHECK(says(error_of(file_text("rgb.png"), "edge.png", options), "29x19 pixels; the limit is 28 for each edge"));
  options = {};
  options.limits.max_file_bytes = 100;
  CHECK(says(error_of(file_text("rgb.png"), "size.png", options), "the limit is 100"));
  CHECK(load_image(data_dir + "rgb.png", options).error().code() == ErrorCode::limit);
}

TEST_CASE("alpha is laid on the colour that was asked for") {
  DecodeOptions red;
  red.background = {255, 0, 0};
  const std::string row = std::string("\0", 1) + std::string("\x0a\x14\x1e\x00\x0a\x14\x1e\x80\x0a\x14\x1e\xff", 12);
  const std::string png = test::png_start(3, 1, 8, 6) + test::png_chunk("IDAT", test::deflated(row)) + test::png_end();
  const Image image = decode_image(bytes_of(png), "x.png", red).value();
  CHECK(image.pixels == std::vector<std::uint8_t>{255, 0, 0, 132, 10, 15, 10, 20, 30});
}

TEST_CASE("load_image names the file that is missing") {
  const Result<Image> result = load_image("/no/such/roof.png");
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code() == ErrorCode::not_found);
  CHECK(says(result.error(), "/no/such/roof.png"));
  CHECK(load_image(data_dir + "rgb.png")->width == 29);
}

TEST_CASE("encode_png refuses a picture without pixels") { CHECK_THROWS_AS(encode_png(Image{}), Error); }

}  // namespace tap
