// The promise of limits: whatever a picture declares, it and its decoder take at most 256 MiB.
#include <fstream>

#include <doctest/doctest.h>

#include "samples.h"

namespace tap {

using namespace test;

#if !defined(TAPETUM_SANITIZED)
namespace {

// A line of /proc/self/status in bytes: "VmRSS" is what is held now, "VmHWM" the most since the peak was forgotten.
std::size_t status_bytes(const std::string& name) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(name + ":")) return std::stoull(line.substr(name.size() + 1)) * 1024;
  return 0;
}

void forget_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace
#endif

TEST_CASE("pictures that just fit take at most 256 MiB with their decoders") {
#if defined(TAPETUM_SANITIZED)
  MESSAGE("not measured: sanitizers hold memory of their own");
#else
  constexpr std::size_t allowed_bytes = std::size_t{256} << 20;
  for (const char* name : {"large.gif", "large.webp", "large.tif", "large.avif", "medium.avif"}) {
    CAPTURE(std::string(name));
    const std::string text = file_text(name);
    forget_peak();
    const std::size_t idle = status_bytes("VmRSS");
    REQUIRE(idle > 0);
    const Result<Image> image = decode_image(bytes_of(text), name);
    REQUIRE_MESSAGE(image.ok(), image.error().message());
    const std::size_t peak = status_bytes("VmHWM");
    CHECK(image->width >= 3900);
    CHECK(peak > idle + image->pixels.size() / 2);  // it was measured at all
    CHECK(peak <= idle + allowed_bytes);
  }
#endif
}

TEST_CASE("a picture that would take more than 256 MiB is refused before it is decoded") {
  DecodeOptions options;
  for (const char* name : {"large.gif", "large.webp", "large.tif", "large.avif"}) {
    CAPTURE(std::string(name));
    options.limits.max_memory_bytes = std::size_t{240} << 20;
    const Error error = error_of(file_text(name), name, options);
    CHECK(error.code() == ErrorCode::limit);
    CHECK(says(error, "decoding needs"));
  }
}

}  // namespace tap
