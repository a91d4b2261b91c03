#include "io/packed_files.h"

#include <cstdlib>
#include <filesystem>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "support/packed_file.h"
#include "support/temp_folder.h"

using namespace tap;
using test::TempFolder;
using State = PackedFile::State;

namespace {

struct CacheFolder {
  TempFolder folder;
  CacheFolder() { ::setenv("TAPETUM_PACKED_CACHE", folder.path().c_str(), 1); }
  ~CacheFolder() { ::unsetenv("TAPETUM_PACKED_CACHE"); }
};

void set_used(const std::string& path, std::time_t seconds) {
  const timespec times[] = {{seconds, 0}, {seconds, 0}};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
}

pid_t ended_process() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

}  // namespace

TEST_CASE("files of the packed cache say their model, type, size and last use, the newest first") {
  const CacheFolder kept;
  const std::string hub = "/hub/models--acme--tiny/snapshots/0123abc";
  set_used(test::write_packed_file("/models/own", WeightType::q8), 1'000);
  const std::string newest = test::write_packed_file(hub, WeightType::q4);
  set_used(newest, 2'000);
  const auto files = packed_files();
  REQUIRE(files.size() == 2);
  CHECK(files[0].path == newest);
  CHECK(files[0].model() == "acme/tiny");
  CHECK(files[0].folder == hub);
  CHECK(files[0].type == "q4");
  CHECK(files[0].used.tv_sec == 2'000);
  CHECK(files[0].bytes == std::filesystem::file_size(newest));
  CHECK(files[0].state == State::whole);
  CHECK(files[1].model() == "/models/own");
  CHECK(files[1].type == "q8");
}

TEST_CASE("a damaged file of the packed cache is listed as that, and foreign files are not ours") {
  const CacheFolder kept;
  const std::string bytes = test::packed_file_bytes("/models/own", "q8");
  const std::string ours = "own-0123456789abcdef.packed";
  for (const std::string& damaged :
       {std::string(), std::string("text"), std::string(1000, '\0'), bytes.substr(0, bytes.size() - 1),
        bytes.substr(0, 70), "X" + bytes.substr(1), bytes.substr(0, 60) + "X" + bytes.substr(61)}) {
    kept.folder.write(ours, damaged);
    const auto files = packed_files();
    REQUIRE(files.size() == 1);
    CHECK(files[0].state == State::damaged);
    CHECK(files[0].model() == ours);
  }
  for (const char* name :
       {"notes.txt", "photo.packed", "own-0123456789ABCDEF.packed", "own-0123456789abcdef.packed.x",
        "own-0123456789abcdef.packed.0", "own-0123456789abcdef.packed.12.5", "0123456789abcdef.packed"})
    kept.folder.write(name, bytes);
  std::filesystem::create_directory(kept.folder / "folder-0123456789abcdef.packed");
  std::filesystem::create_symlink(kept.folder / "notes.txt", kept.folder / "link-0123456789abcdef.packed");
  REQUIRE(::mkfifo((kept.folder / "fifo-0123456789abcdef.packed").c_str(), 0600) == 0);
  const auto files = packed_files();
  REQUIRE(files.size() == 1);
  CHECK(remove_packed_files(files) == files[0].bytes);
  CHECK(packed_files().empty());
  CHECK(remove_packed_files(files) == 0);  // gone already
  CHECK(folder_entries(kept.folder.path(), 100).size() == 10);
}

TEST_CASE("what a living process writes stays, what a dead one left goes") {
  const CacheFolder kept;
  const std::string living = fmt::format("own-0123456789abcdef.packed.{}", ::getpid());
  const std::string dead = fmt::format("own-0123456789abcdef.packed.{}", ended_process());
  kept.folder.write(living, "begun");
  kept.folder.write(dead, "begun");
  const auto files = packed_files();
  REQUIRE(files.size() == 2);
  for (const PackedFile& file : files)
    CHECK(file.state == (file.path == kept.folder / living ? State::being_written : State::left_over));
  CHECK(remove_packed_files(files) == 5);
  CHECK(folder_entries(kept.folder.path(), 100) == std::vector{living});
}

TEST_CASE("a folder's file is the same from wherever it is named, and off keeps none") {
  const CacheFolder kept;
  const std::string here = std::filesystem::current_path();
  CHECK(plain_folder("model/") == here + "/model");
  CHECK(plain_folder("./x/../model") == here + "/model");
  CHECK(plain_folder("/a//b/") == "/a/b");
  CHECK(plain_folder("/") == "/");
  CHECK(plain_folder("") == "");
  ::setenv("TAPETUM_PACKED_CACHE", "off", 1);
  CHECK(packed_files().empty());
  CHECK(packed_path("/a", WeightType::q8).empty());
  ::setenv("TAPETUM_PACKED_CACHE", (kept.folder / "none").c_str(), 1);
  CHECK(packed_files().empty());
}
