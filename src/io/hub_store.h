// Writing into the hub cache in huggingface_hub's layout, so that the Python library sees what was downloaded:
//   models--ORG--NAME/blobs/<etag>                 the bytes, named by their hash
//   models--ORG--NAME/snapshots/<commit>/<file>    a relative link to a blob
//   models--ORG--NAME/refs/<revision>              the commit
//   .locks/models--ORG--NAME/<etag>.lock           flock(2) while a blob is written
// A blob appears under its name only when its size and hash are right and its bytes are on the disk; until then it is
// <etag>.incomplete, which the next download goes on with. Killed at any moment, nothing wrong is left under a name
// that readers look at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "io/hub.h"

namespace tap {

// What a hub says of a file's content. The etag is its hash: SHA-256 (64 digits) of large files, else the SHA-1 of a
// git blob (40 digits).
struct BlobId {
  std::string etag;
  std::uint64_t bytes = 0;
};

// The etag without quotes and "W/", when it is such a hash; empty otherwise (it becomes a file's name).
std::string blob_etag(std::string_view header);

// Hashes as the length of the etag says.
class BlobHash {
 public:
  explicit BlobHash(const BlobId& blob);
  BlobHash(BlobHash&&) noexcept;
  BlobHash& operator=(BlobHash&&) noexcept;
  ~BlobHash();
  void add(std::span<const std::byte> bytes);
  std::string finish();  // lower-case hexadecimal digits
 private:
  struct State;
  std::unique_ptr<State> state_;
};

// flock(2) on a file that stays, held until the end of the scope.
class FileLock {
 public:
  // Waits (interruptibly) while another process holds it; `waiting` is called once then.
  static Result<FileLock> take(const std::string& path, const std::function<void()>& waiting);
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

// Whether another process holds a lock on a blob of the model right now.
bool is_being_downloaded(const std::string& cache, const HubName& name);

// A blob on its way. All functions throw Error(io) naming the file: the disk is full, the folder not ours.
class PartialBlob {
 public:
  // Opens <folder>/<etag>.incomplete, or begins it; what is there already is hashed.
  PartialBlob(const std::string& folder, BlobId blob);
  PartialBlob(const PartialBlob&) = delete;
  PartialBlob& operator=(const PartialBlob&) = delete;
  ~PartialBlob();

  std::uint64_t bytes() const { return bytes_; }
  void restart();  // with nothing
  void append(std::span<const std::byte> bytes);
  // False when size or hash are wrong: the file is empty again. True: the blob stands under its name.
  bool finish();

 private:
  std::string folder_, path_;
  BlobId blob_;
  BlobHash hash_;
  int fd_ = -1;
  std::uint64_t bytes_ = 0;
};

// The cache's entry of one model.
class HubStore {
 public:
  // Looks only; Error(usage) when the environment names no cache.
  static Result<HubStore> open(const HubEnv& env, const HubName& name);
  // Makes the folders; throws Error(io) that says what to do when the cache cannot be written.
  void prepare() const;

  const std::string& folder() const { return folder_; }
  std::string blobs() const { return folder_ + "/blobs"; }
  std::string snapshot(const std::string& commit) const { return folder_ + "/snapshots/" + commit; }
  bool has_blob(const BlobId& blob) const;
  std::uint64_t partial_bytes(const BlobId& blob) const;  // that an earlier download left
  // Bytes of the file in the commit's snapshot; nullopt when it, or the blob it links to, is not there.
  std::optional<std::uint64_t> file_bytes(const std::string& commit, const std::string& file) const;
  Result<FileLock> lock(const BlobId& blob, const std::function<void()>& waiting) const;
  void link(const std::string& commit, const std::string& file, const BlobId& blob) const;  // throws Error(io)
  void set_revision(const std::string& revision, const std::string& commit) const;          // throws Error(io)
  std::uint64_t free_bytes() const;  // of the file system; all ones when it does not say

 private:
  HubStore(std::string cache, std::string folder) : cache_(std::move(cache)), folder_(std::move(folder)) {}
  std::string locks() const;
  std::string cache_, folder_;
};

// Removes the model's folder; links in it are removed, never followed. Gives the bytes freed. Error(not_found)
// when it is not in the cache, Error(io) when something of it stays or it is being downloaded.
Result<std::uint64_t> remove_model(const HubEnv& env, const HubName& name);
// What remove_model would free; Error(not_found) when the model is not there.
Result<std::uint64_t> model_bytes_on_disk(const HubEnv& env, const HubName& name);

}  // namespace tap
