#include "media/helper_starter.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <latch>
#include <thread>

#include <doctest/doctest.h>

#include "base/file.h"
#include "media/picture_bytes.h"

using namespace tap;

namespace {

struct Outcome {
  Image image;
  std::string error;
  bool operator==(const Outcome&) const = default;
};

template <class Fn>
Outcome outcome_of(Fn&& decode) {
  try {
    return {decode(), {}};
  } catch (const Error& error) {
    return {{}, fmt::format("{}: {}", name(error.code()), error.message())};
  }
}

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

[[maybe_unused]] std::vector<std::string> test_pictures() {
  std::vector<std::string> paths;
  for (const char* folder : {"/data/samples", "/tests/data/codec"})
    for (const auto& entry : std::filesystem::recursive_directory_iterator(std::string(TAPETUM_SOURCE_DIR) + folder))
      if (entry.is_regular_file()) paths.push_back(entry.path().string());
  std::ranges::sort(paths);
  return paths;
}

// The helpers among this process's children.
[[maybe_unused]] std::vector<pid_t> helpers() {
  std::vector<pid_t> pids;
  for (const auto& process : std::filesystem::directory_iterator("/proc")) {
    std::ifstream stat(process.path() / "stat");
    pid_t pid = 0, parent = 0;
    std::string program, state;
    if (stat >> pid >> program >> state >> parent && parent == ::getpid() && program == "(tapetum-media)")
      pids.push_back(pid);
  }
  return pids;
}

#ifdef TAPETUM_TEST_HELPER
const bool found = [] { return ::setenv("TAPETUM_MEDIA", TAPETUM_TEST_HELPER, 0) == 0; }();
#endif

}  // namespace

#ifdef TAPETUM_TEST_HELPER
void check_same(std::size_t part, std::size_t parts, std::size_t least_pictures) {
  HelperStarter starter;
  REQUIRE(found);
  REQUIRE(starter.usable());
  std::size_t pictures = 0;
  const std::vector<std::string> paths = test_pictures();
  for (std::size_t i = part; i < paths.size(); i += parts) {
    CAPTURE(paths[i]);
    const std::string bytes = read_file(paths[i], std::size_t{64} << 20).value();
    const Outcome here = outcome_of([&] { return decode_picture(bytes_of(bytes), "picture"); });
    const Outcome there = outcome_of([&] { return starter.picture(bytes_of(bytes), "picture"); });
    CHECK(here.error == there.error);
    CHECK(here.image == there.image);
    pictures += here.error.empty();
  }
  CHECK(pictures >= least_pictures);
}

TEST_CASE("a picture has the same pixels, or the same error, in a helper and in this process: first quarter") {
  check_same(0, 4, 20);
}
TEST_CASE("a picture has the same pixels, or the same error, in a helper and in this process: second quarter") {
  check_same(1, 4, 20);
}
TEST_CASE("a picture has the same pixels, or the same error, in a helper and in this process: third quarter") {
  check_same(2, 4, 20);
}
TEST_CASE("a picture has the same pixels, or the same error, in a helper and in this process: last quarter") {
  check_same(3, 4, 20);
}

TEST_CASE("many threads get their own pictures, also when the helper that forks others is killed; none is left") {
  HelperStarter starter;
  REQUIRE(found);
  REQUIRE(starter.usable());
  REQUIRE(helpers().size() == 1);
  REQUIRE(::kill(helpers().front(), SIGKILL) == 0);
  std::vector<std::thread> threads;
  std::vector<Outcome> got(4);
  std::latch all(4);  // helpers end with the thread that has started the one that forks them
  for (std::size_t i = 0; i < got.size(); ++i)
    threads.emplace_back([&, i] {
      const std::string bytes = "P6 1 1 255 " + std::string(3, static_cast<char>('a' + i));
      for (int n = 0; n < 8; ++n) got[i] = outcome_of([&] { return starter.picture(bytes_of(bytes), "dot"); });
      all.arrive_and_wait();
    });
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < got.size(); ++i) {
    CHECK(got[i].error == "");
    CHECK(got[i].image.pixels == std::vector<std::uint8_t>(3, static_cast<std::uint8_t>('a' + i)));
  }
  CHECK(helpers().size() == 1);
}

#ifndef TAPETUM_SANITIZED
TEST_CASE("a helper that was forked is in its sandbox") {
  HelperStarter starter;
  REQUIRE(found);
  REQUIRE(starter.usable());
  const std::vector<pid_t> before = helpers();
  const std::string bytes = "P6 1 1 255 abc";
  HelperProcess helper = starter.take(bytes_of(bytes), "dot");
  CHECK(helper.picture(media_protocol::Ask::picture, 0).pixels.size() == 3);
  std::vector<pid_t> others = helpers();
  std::erase(others, before.at(0));
  REQUIRE(others.size() == 1);
  const std::string status = read_file(fmt::format("/proc/{}/status", others[0]), 1 << 16).value();
  CHECK(status.find("Seccomp:\t2") != std::string::npos);
  CHECK(status.find("NoNewPrivs:\t1") != std::string::npos);
}
#endif

#endif

TEST_CASE("without a helper pictures are decoded in this process") {
  const char* before = std::getenv("TAPETUM_MEDIA");
  const std::string program = before ? before : "";
  ::setenv("TAPETUM_MEDIA", "/nowhere/tapetum-media", 1);
  {
    HelperStarter starter;
    CHECK_FALSE(starter.usable());
    const std::string bytes = "P6 1 1 255 abc";
    CHECK(starter.picture(bytes_of(bytes), "dot").pixels == std::vector<std::uint8_t>{'a', 'b', 'c'});
  }
  before ? ::setenv("TAPETUM_MEDIA", program.c_str(), 1) : ::unsetenv("TAPETUM_MEDIA");
}
