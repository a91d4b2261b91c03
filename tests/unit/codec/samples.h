// The samples of tests/data/codec (made by tools/goldens/codec_cases.py) and what every decoder is held to.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <zlib.h>

#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "codec/decode.h"
#include "make_png.h"

namespace tap::test {

inline const std::string data_dir = TAPETUM_SOURCE_DIR "/tests/data/codec/";

inline std::string file_text(const std::string& name) {
  Result<std::string> text = read_file(data_dir + name, std::size_t{1} << 22);
  REQUIRE(text.ok());
  return std::move(text).value();
}

// The lowest byte first; zeros behind the number's own bytes.
inline std::string little(std::uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i, value >>= 8) out.push_back(static_cast<char>(value & 0xff));
  return out;
}

inline std::uint32_t crc_of(const Image& image) {
  return static_cast<std::uint32_t>(crc32(0, image.pixels.data(), static_cast<uInt>(image.pixels.size())));
}

struct Case {
  std::string file;
  Dim frame = 0, frames = 1, width = 0, height = 0;
  std::uint32_t white = 0, none = 0;
};

// The rows of cases.txt and frame_cases.txt whose file begins with `prefix` and ends with `suffix`.
inline std::vector<Case> cases(const std::string& prefix = "", const std::string& suffix = "") {
  std::vector<Case> all;
  const auto keep = [&](const Case& c) {
    if (c.file.starts_with(prefix) && c.file.ends_with(suffix)) all.push_back(c);
  };
  std::ifstream single(data_dir + "cases.txt"), several(data_dir + "frame_cases.txt");
  for (Case c; single >> c.file >> c.width >> c.height >> c.white >> c.none;) keep(c);
  for (Case c; several >> c.file >> c.frame >> c.frames >> c.width >> c.height >> c.white >> c.none;) keep(c);
  return all;
}

inline void check_like_pillow(const Case& c) {
  CAPTURE(c.file);
  CAPTURE(c.frame);
  const std::string text = file_text(c.file);
  DecodeOptions options;
  options.frame = c.frame;
  const Result<Image> on_white = decode_image(bytes_of(text), c.file, options);
  REQUIRE_MESSAGE(on_white.ok(), on_white.error().message());
  CHECK(on_white->width == c.width);
  CHECK(on_white->height == c.height);
  CHECK(crc_of(*on_white) == c.white);
  options.background = std::nullopt;
  CHECK(crc_of(decode_image(bytes_of(text), c.file, options).value()) == c.none);
  const ImageInfo info = probe_image(bytes_of(text), c.file).value();
  CHECK(info.frames == c.frames);
  if (c.frame > 0) return;  // the information is that of the first frame
  CHECK(info.upright_width() == c.width);
  CHECK(info.upright_height() == c.height);
}

inline Error error_of(const std::string& bytes, const std::string& what, const DecodeOptions& options = {}) {
  const Result<Image> result = decode_image(bytes_of(bytes), what, options);
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().message().starts_with(what + ": "));
  CHECK(result.error().message().find('\n') == std::string::npos);
  CHECK(result.error().item() == what);
  return result.error();
}

inline bool says(const Error& error, const std::string& part) {
  return error.message().find(part) != std::string::npos;
}

// Either a picture of a sane size or an error that names the input; a crash or a sanitizer report fails by itself.
inline void check_survives(const std::string& bytes, const DecodeOptions& options = {}) {
  const Result<Image> result = decode_image(bytes_of(bytes), "x", options);
  if (result.ok()) {
    CHECK(result->pixels.size() == static_cast<std::size_t>(result->width * result->height * 3));
  } else {
    CHECK(result.error().message().starts_with("x: "));
    CHECK(result.error().message().find('\n') == std::string::npos);
  }
}

// The decoders must not be asked for a picture that a damaged header makes huge: keeps the loops quick.
inline DecodeOptions small_limits() {
  DecodeOptions options;
  options.limits.max_pixels = 1 << 20;
  options.limits.max_work_pixels = 1 << 22;
  return options;
}

// What is written to file descriptor 2 while it lives; decoders are to say nothing there.
class StderrCapture {
 public:
  StderrCapture() : file_(std::tmpfile()), saved_(::dup(2)) {
    REQUIRE(file_ != nullptr);
    std::fflush(stderr);
    ::dup2(::fileno(file_), 2);
  }
  ~StderrCapture() {
    std::fflush(stderr);
    ::dup2(saved_, 2);
    ::close(saved_);
    std::fclose(file_);
  }
  StderrCapture(const StderrCapture&) = delete;
  StderrCapture& operator=(const StderrCapture&) = delete;
  long written() const {
    std::fflush(stderr);
    return static_cast<long>(::lseek(::fileno(file_), 0, SEEK_END));
  }

 private:
  std::FILE* file_;
  int saved_;
};

inline void check_survives_damage(const std::string& name, int rounds, Dim frame = 0) {
  const std::string good = file_text(name);
  DecodeOptions options = small_limits();
  options.frame = frame;
  log::set_level(log::Level::quiet);  // hundreds of lines about damaged data say nothing
  Rng rng(good.size());
  long printed = 0;
  for (int round = 0; round < rounds; ++round) {
    std::string bad = good;
    for (std::uint32_t flips = 1 + rng.next_u32() % 4; flips > 0; --flips)
      bad[rng.next_u32() % (round % 2 ? bad.size() : std::min<std::size_t>(bad.size(), 128))] =
          static_cast<char>(rng.next_u32());
    if (round % 8 == 0) bad.resize(rng.next_u32() % bad.size());
    const StderrCapture capture;
    check_survives(bad, options);
    printed += capture.written();
  }
  CHECK(printed == 0);
  log::set_level(log::Level::normal);
}

}  // namespace tap::test
