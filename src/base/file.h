// Files: reading whole or by offset with limits, and writing so that a half-written file is never seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace tap {

// The whole regular file (or "-": stdin). Refuses directories, FIFOs, devices and files over `limit_bytes`.
Result<std::string> read_file(const std::string& path, std::size_t limit_bytes);

// A regular file open for positioned reads; the size is taken once, a shorter file later is an error.
class File {
 public:
  static Result<File> open(const std::string& path);
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();
  std::uint64_t size() const { return size_; }
  const std::string& path() const { return path_; }
  // Size, inode and time of the last change: another one means other content, as far as the system can say.
  const std::string& identity() const { return identity_; }
  // Fills `out` from `offset`; throws Error(io | bad_file) naming the file when the bytes are not there.
  void read_at(std::uint64_t offset, std::span<std::byte> out) const;

 private:
  File(int fd, std::uint64_t size, std::string path, std::string identity)
      : fd_(fd), size_(size), path_(std::move(path)), identity_(std::move(identity)) {}
  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::string path_, identity_;
};

// Writes through a temporary file in the same folder, fsync, rename. On failure the old file is untouched, no temporary
// stays, and the Error names the path and the reason.
void write_file_atomic(const std::string& path, std::span<const std::byte> bytes);
void write_file_atomic(const std::string& path, std::string_view text);

// Removes the temporary file of a write in progress; only unlink(2), so a signal handler may call it.
void remove_pending_files() noexcept;

bool file_exists(const std::string& path);
bool is_directory(const std::string& path);
// The names in a folder, at most `limit`, in the system's order; empty when it cannot be read. Unlike the standard
// library's directory iterators, which end the process where memory ends, this throws bad_alloc.
std::vector<std::string> folder_entries(const std::string& path, std::size_t limit);
std::string reason_of(int error_number);  // strerror, thread-safe

}  // namespace tap
