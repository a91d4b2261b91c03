// The inputs that found something once, and a few that show what a parser reads, in the ordinary builds.
#include <algorithm>
#include <filesystem>
#include <vector>

#include <doctest/doctest.h>

#include "base/file.h"
#include "fuzz.h"

TEST_CASE("every fuzz target keeps its promises for its committed inputs") {
  namespace fs = std::filesystem;
  const fs::path corpus = fs::path(TAPETUM_SOURCE_DIR) / "tests/fuzz/corpus";
  std::vector<std::string> names;
  for (const tap::fuzz::FuzzTarget* target = tap::fuzz::targets(); target; target = target->next) {
    CAPTURE(target->name);
    names.emplace_back(target->name);
    target->run({});
    std::size_t inputs = 0;
    for (const fs::directory_entry& entry : fs::directory_iterator(corpus / target->name)) {
      CAPTURE(entry.path().string());
      CHECK(entry.file_size() <= 64 * 1024);
      const std::string text = tap::read_file(entry.path().string(), 1 << 20).value();
      target->run(std::as_bytes(std::span(text.data(), text.size())));
      ++inputs;
    }
    CHECK(inputs > 0);
  }
  REQUIRE(names.size() >= 6);
  for (const fs::directory_entry& entry : fs::directory_iterator(corpus))  // a folder without a target is a slip
    CHECK(std::find(names.begin(), names.end(), entry.path().filename().string()) != names.end());
}
