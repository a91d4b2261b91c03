#include "base/arena.h"

#include <cstring>
#include <limits>

#include <doctest/doctest.h>

#include "base/error.h"

using namespace tap;

TEST_CASE("a freed block is handed out again for any size of its class") {
  Arena arena;
  void* const first = arena.allocate(1000);
  std::memset(first, 1, 1000);
  CHECK(reinterpret_cast<std::uintptr_t>(first) % 64 == 0);
  arena.release(first, 1000);
  void* const again = arena.allocate(1020);  // both are of the class of 1024 bytes
  CHECK(again == first);
  CHECK(arena.stats().system_allocations == 1);
  arena.release(again, 1020);
}

TEST_CASE("every size fits its class and wastes a quarter at most") {
  Arena arena;
  for (std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{255}, std::size_t{256}, std::size_t{257},
                            std::size_t{320}, std::size_t{321}, std::size_t{511}, std::size_t{512}, std::size_t{513},
                            std::size_t{1} << 20, (std::size_t{1} << 20) + 1, (std::size_t{5} << 20) - 1}) {
    const std::size_t before = arena.stats().in_use_bytes;
    void* const block = arena.allocate(bytes);
    std::memset(block, 7, bytes);
    const std::size_t taken = arena.stats().in_use_bytes - before;
    CHECK(taken >= bytes);
    CHECK(taken <= std::max<std::size_t>(256, bytes + bytes / 4));
    arena.release(block, bytes);
    CHECK(arena.stats().in_use_bytes == before);
  }
}

TEST_CASE("the arena counts what is in use and kept and its peak and gives back on trim") {
  Arena arena;
  void* const a = arena.allocate(1024);
  void* const b = arena.allocate(4096);
  CHECK(arena.stats().in_use_bytes == 5120);
  arena.release(a, 1024);
  CHECK(arena.stats().in_use_bytes == 4096);
  CHECK(arena.stats().kept_bytes == 1024);
  arena.release(b, 4096);
  arena.trim();
  CHECK(arena.stats().kept_bytes == 0);
  CHECK(arena.stats().in_use_bytes == 0);
  CHECK(arena.stats().peak_bytes == 5120);
  CHECK(arena.stats().system_allocations == 2);
  arena.release(arena.allocate(1024), 1024);
  CHECK(arena.stats().system_allocations == 3);
}

TEST_CASE("a large kept block serves requests of down to half its size and is kept whole afterwards") {
  Arena arena;
  constexpr std::size_t large = std::size_t{4} << 20;
  void* const first = arena.allocate(large);
  arena.release(first, large);
  CHECK(arena.allocate(large / 2) == first);
  CHECK(arena.stats().in_use_bytes == large);
  CHECK(arena.stats().kept_bytes == 0);
  arena.release(first, large / 2);
  CHECK(arena.stats().kept_bytes == large);
  void* const small = arena.allocate(large / 4);  // half of it would lie idle
  CHECK(small != first);
  CHECK(arena.allocate(large) == first);
  CHECK(arena.stats().system_allocations == 2);
  arena.release(first, large);
  arena.release(small, large / 4);
}

TEST_CASE("what stays takes no larger block") {
  const auto arena = std::make_shared<Arena>();
  constexpr std::size_t large = std::size_t{4} << 20;
  void* const first = arena->allocate(large);
  arena->release(first, large);
  void* second;
  {
    const Arena::ExactFit exact(arena);
    second = arena->allocate(large / 2);
    CHECK(second != first);
  }
  CHECK(arena->allocate(large / 2) == first);
  arena->release(first, large / 2);
  arena->release(second, large / 2);
}

TEST_CASE("the smallest kept block that is large enough is taken") {
  Arena arena;
  constexpr std::size_t mib = std::size_t{1} << 20;
  void* const larger = arena.allocate(7 * mib);
  void* const smaller = arena.allocate(5 * mib);
  arena.release(larger, 7 * mib);
  arena.release(smaller, 5 * mib);
  CHECK(arena.allocate(4 * mib) == smaller);
  CHECK(arena.allocate(4 * mib) == larger);
  arena.release(smaller, 4 * mib);
  arena.release(larger, 4 * mib);
}

TEST_CASE("an allocation that cannot be had is an error with its size and the arena goes on") {
  Arena arena;
  for (const std::size_t bytes : {std::size_t{1} << 60, std::numeric_limits<std::size_t>::max() / 2,
                                  std::numeric_limits<std::size_t>::max() - 10}) {
    try {
      arena.allocate(bytes);
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::out_of_memory);
      CHECK(error.message().starts_with("out of memory: "));
    }
  }
  CHECK(arena.stats().in_use_bytes == 0);
  arena.release(arena.allocate(10), 10);
}

TEST_CASE("[F05] the n-th allocation from now fails and only that one") {
  Arena arena;
  arena.fail_after(2);
  void* const first = arena.allocate(100);
  CHECK_THROWS_AS(arena.allocate(100), Error);
  void* const third = arena.allocate(100);
  arena.release(first, 100);
  arena.release(third, 100);
  CHECK(arena.stats().in_use_bytes == 0);
}
