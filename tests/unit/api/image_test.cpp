#include <tapetum/image.h>

#include <algorithm>
#include <filesystem>

#include <doctest/doctest.h>

namespace {

template <class Fn>
std::string code_of(Fn fn) {
  try {
    fn();
  } catch (const tap::Error& error) {
    return std::string(name(error.code()));
  }
  return "none";
}

}  // namespace

TEST_CASE("pixels in are pixels out") {
  const std::vector<std::uint8_t> rgb{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const tap::Image image = tap::Image::from_rgb(2, 2, rgb);
  CHECK(image.width() == 2);
  CHECK(image.height() == 2);
  CHECK(std::ranges::equal(image.rgb(), rgb));
  const tap::Image copy = image;
  CHECK(copy.rgb().data() == image.rgb().data());
}

TEST_CASE("a picture survives PNG in memory and in a file") {
  const std::vector<std::uint8_t> rgb{255, 0, 0, 0, 255, 0, 0, 0, 255};
  const tap::Image image = tap::Image::from_rgb(3, 1, rgb);
  CHECK(std::ranges::equal(tap::Image::decode(image.png()).rgb(), rgb));
  const auto path = std::filesystem::temp_directory_path() / "tapetum_image_test.png";
  image.save(path.string());
  CHECK(std::ranges::equal(tap::Image::load(path.string()).rgb(), rgb));
  std::filesystem::remove(path);
}

TEST_CASE("sizes that do not fit the bytes are refused") {
  const std::vector<std::uint8_t> rgb(12);
  CHECK(code_of([&] { tap::Image::from_rgb(2, 3, rgb); }) == "usage");
  CHECK(code_of([&] { tap::Image::from_rgb(0, 3, {}); }) == "usage");
  CHECK(code_of([&] { tap::Image::from_rgb(-2, -2, rgb); }) == "usage");
  CHECK(code_of([&] { tap::Image::from_rgb(INT64_MAX, INT64_MAX, rgb); }) == "limit");
  CHECK(code_of([&] { tap::Image::from_rgb(60000, 60000, rgb); }) == "limit");
}

TEST_CASE("what is no picture is an error with its kind") {
  CHECK(code_of([] { tap::Image::load("/nowhere/at/all.png"); }) == "not_found");
  CHECK(code_of([] { tap::Image::load("-"); }) == "not_found");
  CHECK(code_of([] { tap::Image::load("/"); }) != "none");
  CHECK(code_of([] { tap::Image::decode({}); }) == "bad_file");
  const std::string text = "no picture at all";
  CHECK(code_of([&] { tap::Image::decode(std::as_bytes(std::span(text)), "note.txt"); }) == "bad_file");
  CHECK(code_of([] { tap::Image::from_rgb(1, 1, std::vector<std::uint8_t>(3)).save("/nowhere/at/all.png"); }) == "io");
}

TEST_CASE("transparent pixels lie on the colour asked for") {
  const std::string path = TAPETUM_SOURCE_DIR "/tests/data/codec/interlaced_rgba.png";
  const tap::Image white = tap::Image::load(path), stored = tap::Image::load(path, {.background = std::nullopt});
  CHECK_FALSE(std::ranges::equal(white.rgb(), stored.rgb()));
}

TEST_CASE("any frame of an animation can be looked at") {
  const std::string path = TAPETUM_SOURCE_DIR "/tests/data/codec/movie.gif";
  const tap::Image first = tap::Image::load(path), second = tap::Image::load(path, {.frame = 1});
  CHECK(first.width() == second.width());
  CHECK_FALSE(std::ranges::equal(first.rgb(), second.rgb()));
  CHECK(code_of([&] { tap::Image::load(path, {.frame = 100000}); }) != "none");
  CHECK(code_of([&] { tap::Image::load(path, {.frame = -1}); }) != "none");
}
