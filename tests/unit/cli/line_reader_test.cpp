// Lines of files, whatever their ends and sizes.
#include "cli/line_reader.h"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "base/error.h"
#include "support/temp_folder.h"

using namespace tap;
using namespace tap::cli;

namespace {

struct Lines {
  std::vector<std::string> texts;  // "…" for one that is too long
  bool ended = true;
};

Lines lines_of(const std::string& text, std::size_t limit) {
  const test::TempFolder folder;
  folder.write("lines", text);
  Lines lines;
  LineReader reader(folder / "lines", limit);
  std::string line;
  for (auto got = reader.next(line); got != LineReader::Got::end; got = reader.next(line)) {
    lines.texts.push_back(got == LineReader::Got::too_long ? "…" : line);
    lines.ended = reader.ended();
    CHECK(reader.number() == lines.texts.size());
  }
  return lines;
}

}  // namespace

TEST_CASE("a file is its lines and the last needs no end") {
  CHECK(lines_of("", 10).texts.empty());
  CHECK(lines_of("a\n\nbc\n", 10).texts == std::vector<std::string>{"a", "", "bc"});
  const Lines torn = lines_of("a\nbc", 10);
  CHECK(torn.texts == std::vector<std::string>{"a", "bc"});
  CHECK_FALSE(torn.ended);
}

TEST_CASE("a line over the limit is skipped and the next one read") {
  const std::string most(100, 'x'), over(101, 'x'), far(300000, 'x');
  for (const std::string& end : {std::string("\n"), std::string()}) {
    CHECK(lines_of(most + "\n" + over + "\nb\n" + most + end, 100).texts ==
          std::vector<std::string>{most, "…", "b", most});
    CHECK(lines_of(far + "\nb\n" + far + end, 100).texts == std::vector<std::string>{"…", "b", "…"});
  }
}

TEST_CASE("a folder and a missing file are refused by name") {
  CHECK_THROWS_WITH_AS(LineReader("/tmp", 10), "/tmp: is a folder, not a file", Error);
  CHECK_THROWS_AS(LineReader("/tmp/no/such/file", 10), Error);
}
