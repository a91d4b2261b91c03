#include "base/parallel.h"

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <vector>

#include <doctest/doctest.h>

using namespace tap;

TEST_CASE("chunks cover every row once and depend on count and grain alone") {
  for (const Dim count : {0, 1, 7, 64, 1000}) {
    for (const Dim grain : {0, 1, 3, 64, 5000}) {
      std::set<std::pair<Dim, Dim>> chunks_of_one;
      for (const int threads : {1, 2, 5}) {
        ExecContext context(threads);
        const ExecContext::Scope scope(context);
        std::vector<std::atomic<int>> seen(static_cast<std::size_t>(count));
        std::set<std::pair<Dim, Dim>> chunks;
        std::mutex mutex;
        parallel_rows(count, grain, [&](Rows rows) {
          for (Dim i = rows.begin; i < rows.end; ++i) ++seen[static_cast<std::size_t>(i)];
          const std::lock_guard lock(mutex);
          chunks.emplace(rows.begin, rows.end);
        });
        for (const auto& times : seen) REQUIRE(times == 1);
        if (threads == 1) chunks_of_one = chunks;
        REQUIRE(chunks == chunks_of_one);
      }
    }
  }
}

TEST_CASE("the first exception of a chunk comes out and the next call works") {
  for (const int threads : {1, 4}) {
    ExecContext context(threads);
    const ExecContext::Scope scope(context);
    CHECK_THROWS_WITH_AS(parallel_rows(100, 1,
                                       [](Rows rows) {
                                         if (rows.begin == 37) throw std::runtime_error("row 37");
                                       }),
                         "row 37", std::runtime_error);
    std::atomic<int> rows{0};
    parallel_rows(10, 3, [&](Rows r) { rows += static_cast<int>(r.size()); });
    CHECK(rows == 10);
  }
}

TEST_CASE("a parallel call inside a parallel call runs in its own thread") {
  ExecContext context(3);
  const ExecContext::Scope scope(context);
  std::atomic<int> total{0};
  parallel_rows(8, 1,
                [&](Rows) { parallel_rows(10, 4, [&](Rows inner) { total += static_cast<int>(inner.size()); }); });
  CHECK(total == 80);
}

TEST_CASE("every chunk runs in the caller's context whichever thread it is on") {
  ExecContext context(4);
  const ExecContext::Scope scope(context);
  std::atomic<int> elsewhere{0};
  parallel_rows(400, 1, [&](Rows) { elsewhere += &ExecContext::current() != &context; });
  CHECK(elsewhere == 0);
  CHECK(&ExecContext::current() == &context);
}
