#include "cli/chat_input.h"

#include <cstdlib>
#include <filesystem>

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "base/file.h"

namespace tap::cli {

namespace {

struct Folder {
  std::filesystem::path path;
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "tapetum-history-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()));
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

}  // namespace

TEST_CASE("the history comes back from its file with line ends and backslashes, and only for its owner") {
  const Folder folder;
  const std::string path = (folder.path / "state" / "tapetum" / "history").string();
  const HistoryFile file(path);
  CHECK(file.load().empty());
  const std::vector<std::string> lines = {"one", "a\nb\\n\\", "é"};
  file.append(lines);
  CHECK(file.load() == lines);
  struct stat info;
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0600);
  file.append({"é", "new"});
  CHECK(file.load() == std::vector<std::string>{"one", "a\nb\\n\\", "é", "new"});
}

TEST_CASE("the history keeps the newest thousand lines") {
  const Folder folder;
  const HistoryFile file((folder.path / "history").string());
  std::vector<std::string> lines;
  for (int i = 0; i < 1500; ++i) lines.push_back(std::to_string(i));
  file.append(lines);
  REQUIRE(file.load().size() == 1000);
  CHECK(file.load().front() == "500");
}

TEST_CASE("[F14] a history that cannot be read or written is silently not there") {
  const Folder folder;
  HistoryFile("").append({"x"});
  const HistoryFile folder_itself(folder.path.string());
  folder_itself.append({"x"});
  CHECK(folder_itself.load().empty());
  const HistoryFile below_a_device("/dev/null/tapetum/history");
  below_a_device.append({"x"});
  CHECK(below_a_device.load().empty());
  const std::string odd = (folder.path / "odd").string();
  write_file_atomic(odd, std::string_view("a\xff\0b\n\n\\\nlast", 12));
  const std::vector<std::string> lines = HistoryFile(odd).load();
  REQUIRE(lines.size() == 3);
  CHECK(lines[0] == std::string("a\uFFFD\0b", 6));
  CHECK(lines[2] == "last");
}

}  // namespace tap::cli
