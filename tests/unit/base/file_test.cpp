#include "base/file.h"

#include <algorithm>
#include <csignal>
#include <cstring>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "support/temp_folder.h"

using namespace tap;
using test::TempFolder;

namespace {

std::size_t files_in(const std::string& folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& file : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

Error error_of_write(const std::string& path, std::string_view text) {
  try {
    write_file_atomic(path, text);
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorCode::internal, "(written)");
}

// While it lives no file of this process may grow beyond `bytes`: a full disk, as write(2) sees it.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit old_{};
  void (*handler_)(int);
};

}  // namespace

TEST_CASE("write_all says how much it wrote, and why not more") {
  const TempFolder folder;
  const std::string text = "eight by";
  const auto bytes = std::as_bytes(std::span(text));
  {
    const Fd file(::open((folder / "file").c_str(), O_WRONLY | O_CREAT, 0600));
    CHECK(write_all(file.get(), {}) == 0);
    CHECK(write_all(file.get(), bytes) == 8);
    CHECK(write_all(file.get(), bytes.first(3)) == 3);
  }
  CHECK(read_file(folder / "file", 100).value() == "eight byeig");
  const Fd full(::open("/dev/full", O_WRONLY));
  CHECK(write_all(full.get(), bytes) == 0);
  CHECK(errno == ENOSPC);
}

TEST_CASE("a file is read whole or refused with its path and the reason") {
  const TempFolder folder;
  folder.write("text", std::string("a\0b", 3));
  CHECK(read_file(folder / "text", 3).value() == std::string("a\0b", 3));
  const auto large = read_file(folder / "text", 2);
  REQUIRE_FALSE(large.ok());
  CHECK(large.error().code() == ErrorCode::limit);
  CHECK(large.error().message() == (folder / "text") + ": 3 bytes, the limit is 2");
  const auto absent = read_file(folder / "absent", 9);
  REQUIRE_FALSE(absent.ok());
  CHECK(absent.error().code() == ErrorCode::not_found);
  CHECK(absent.error().item() == folder / "absent");
  CHECK(read_file(folder.path(), 9).error().message() == folder.path() + ": is a folder, not a file");
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK(read_file(folder / "fifo", 9).error().message() == (folder / "fifo") + ": is not a regular file");
  CHECK(read_file("/dev/zero", 9).error().message() == "/dev/zero: is not a regular file");
  folder.write("sparse", "");
  std::filesystem::resize_file(folder / "sparse", std::uintmax_t{4} << 30);
  CHECK(read_file(folder / "sparse", 1 << 20).error().code() == ErrorCode::limit);
}

TEST_CASE("a folder's entries are its names without the dots and at most as many as wanted") {
  const TempFolder folder;
  for (const char* name : {"a", "b", ".hidden"}) folder.write(name, "x");
  std::vector<std::string> names = folder_entries(folder.path(), 10);
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{".hidden", "a", "b"});
  CHECK(folder_entries(folder.path(), 2).size() == 2);
  CHECK(folder_entries(folder / "none", 10).empty());
  CHECK(folder_entries(folder / "a", 10).empty());
}

TEST_CASE("a file open for positioned reads gives its bytes and never bytes beyond its end") {
  const TempFolder folder;
  folder.write("data", "0123456789");
  File file = File::open(folder / "data").value();
  CHECK(file.size() == 10);
  char four[4];
  file.read_at(6, std::as_writable_bytes(std::span(four)));
  CHECK(std::memcmp(four, "6789", 4) == 0);
  CHECK_THROWS_AS(file.read_at(7, std::as_writable_bytes(std::span(four))), Error);
  CHECK_THROWS_AS(file.read_at(~std::uint64_t{0} - 1, std::as_writable_bytes(std::span(four))), Error);
  CHECK_FALSE(File::open(folder.path()).ok());
  CHECK_FALSE(File::open(folder / "absent").ok());
}

TEST_CASE("[F03] a file that shrinks under an open reader is an error that names it") {
  const TempFolder folder;
  folder.write("data", "0123456789");
  const File file = File::open(folder / "data").value();
  std::filesystem::resize_file(folder / "data", 5);
  char four[4];
  file.read_at(1, std::as_writable_bytes(std::span(four)));
  CHECK_THROWS_WITH_AS(file.read_at(4, std::as_writable_bytes(std::span(four))), doctest::Contains("data"), Error);
}

TEST_CASE("a written file replaces the old one whole and keeps its permissions and links") {
  const TempFolder folder;
  write_file_atomic(folder / "new", "first");
  CHECK(read_file(folder / "new", 99).value() == "first");
  REQUIRE(::chmod((folder / "new").c_str(), 0640) == 0);
  std::filesystem::create_symlink("new", folder / "link");
  write_file_atomic(folder / "link", "second");
  CHECK(read_file(folder / "new", 99).value() == "second");
  CHECK(std::filesystem::is_symlink(folder / "link"));
  struct stat info;
  REQUIRE(::stat((folder / "new").c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0640);
  write_file_atomic(folder / "new", "");
  CHECK(read_file(folder / "new", 99).value().empty());
  CHECK(files_in(folder.path()) == 2);
}

TEST_CASE("[F02] a full disk leaves the old file intact and no temporary file") {
  const TempFolder folder;
  write_file_atomic(folder / "answer.png", "old");
  const std::string large(100'000, 'x');
  Error error(ErrorCode::internal, "");
  Error fresh(ErrorCode::internal, "");
  {
    const FileSizeLimit limit(50'000);
    error = error_of_write(folder / "answer.png", large);
    fresh = error_of_write(folder / "other.png", large);
  }
  CHECK(error.code() == ErrorCode::io);
  CHECK(error.message() == (folder / "answer.png") + ": cannot write: File too large");
  CHECK(error.item() == folder / "answer.png");
  CHECK(fresh.code() == ErrorCode::io);
  CHECK(read_file(folder / "answer.png", 99).value() == "old");
  CHECK(files_in(folder.path()) == 1);
  write_file_atomic(folder / "answer.png", "new");  // and it goes on once there is room
  CHECK(read_file(folder / "answer.png", 99).value() == "new");
}

TEST_CASE("[F02] a device is written to and never replaced by a file") {
  const Error full = error_of_write("/dev/full", "x");
  CHECK(full.code() == ErrorCode::io);
  CHECK(full.message() == "/dev/full: cannot write: No space left on device");
  write_file_atomic("/dev/null", "x");
  CHECK(std::filesystem::is_character_file("/dev/null"));
  CHECK(std::filesystem::is_character_file("/dev/full"));
}

TEST_CASE("a file cannot be written where a folder stands or none does") {
  const TempFolder folder;
  CHECK(error_of_write(folder.path(), "x").message() == folder.path() + ": is a folder, cannot write a file there");
  CHECK(error_of_write(folder / "none/x", "x").message() ==
        (folder / "none/x") + ": cannot write: No such file or directory");
  CHECK(error_of_write(folder / std::string(5000, 'x'), "x").code() == ErrorCode::io);
  CHECK(error_of_write(folder / std::string(250, 'x'), "x").code() ==
        ErrorCode::io);  // its temporary's name is too long
  CHECK(files_in(folder.path()) == 0);
}
