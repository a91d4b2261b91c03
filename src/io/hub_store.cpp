#include "io/hub_store.h"

#include <array>
#include <cerrno>
#include <filesystem>
#include <limits>

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/exec_context.h"
#include "base/fd.h"
#include "base/file.h"

namespace tap {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t sha1_digits = 40, sha256_digits = 64, read_bytes = std::size_t{1} << 20;
constexpr const char* locks_folder = ".locks";

Error disk_error(const std::string& path, const char* doing, int error_number) {
  return Error(ErrorCode::io, fmt::format("{}: {}: {}", path, doing, reason_of(error_number)), path);
}

bool is_link(const std::string& path) {
  struct stat info;
  return ::lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode);
}

Error cache_error(const std::string& folder, int error_number) {
  return Error(ErrorCode::io,
               fmt::format("{}: cannot write in the hub cache: {}; set HF_HUB_CACHE to a folder of yours", folder,
                           reason_of(error_number)),
               folder);
}

std::optional<Error> make_folders(const std::string& folder) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) return cache_error(folder, failed.value());
  if (::access(folder.c_str(), W_OK | X_OK) != 0) return cache_error(folder, errno);
  return std::nullopt;
}

void sync_folder(const std::string& folder) {  // best effort: not every file system can
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  (void)::fsync(fd);
  ::close(fd);
}

}  // namespace

std::string blob_etag(std::string_view header) {
  if (header.starts_with("W/")) header.remove_prefix(2);
  if (header.size() >= 2 && header.front() == '"' && header.back() == '"') header = header.substr(1, header.size() - 2);
  if (header.size() != sha1_digits && header.size() != sha256_digits) return "";
  if (header.find_first_not_of("0123456789abcdef") != std::string_view::npos) return "";
  return std::string(header);
}

// ------------------------------------------------------------------------------------------------ hash

struct BlobHash::State {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(), EVP_MD_CTX_free};
};

BlobHash::BlobHash(const BlobId& blob) : state_(std::make_unique<State>()) {
  const bool git = blob.etag.size() == sha1_digits;
  if (!state_->context || EVP_DigestInit_ex(state_->context.get(), git ? EVP_sha1() : EVP_sha256(), nullptr) != 1)
    fail(ErrorCode::internal, "{} failed", git ? "SHA-1" : "SHA-256");
  if (!git) return;
  std::string head = fmt::format("blob {}", blob.bytes);  // as git hashes a blob: "blob <size>\0<bytes>"
  head += '\0';
  add(std::as_bytes(std::span(head)));
}

BlobHash::BlobHash(BlobHash&&) noexcept = default;
BlobHash& BlobHash::operator=(BlobHash&&) noexcept = default;
BlobHash::~BlobHash() = default;

void BlobHash::add(std::span<const std::byte> bytes) {
  if (EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()) != 1)
    fail(ErrorCode::internal, "hashing failed");
}

std::string BlobHash::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  if (EVP_DigestFinal_ex(state_->context.get(), digest.data(), &length) != 1)
    fail(ErrorCode::internal, "hashing failed");
  std::string text;
  for (unsigned i = 0; i < length; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

// ------------------------------------------------------------------------------------------------ locks

Result<FileLock> FileLock::take(const std::string& path, const std::function<void()>& waiting) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd < 0) return disk_error(path, "cannot open the lock", errno);
  FileLock lock(fd);
  for (bool said = false; ::flock(fd, LOCK_EX | LOCK_NB) != 0;) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) break;  // a file system without locks: the rename at the end is still atomic
    if (!said && waiting) waiting();
    said = true;
    try {
      ExecContext::current().checkpoint();
    } catch (const Error& error) {
      return error;
    }
    const timespec pause = {0, 100'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return lock;
}

FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

bool is_being_downloaded(const std::string& cache, const HubName& name) {
  std::error_code failed;
  for (fs::directory_iterator at(cache + "/" + locks_folder + "/" + name.folder(), failed), end; !failed && at != end;
       at.increment(failed)) {
    const int fd = ::open(at->path().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) continue;
    const bool held = ::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    ::close(fd);
    if (held) return true;
  }
  return false;
}

// ------------------------------------------------------------------------------------------------ a blob on its way

PartialBlob::PartialBlob(const std::string& folder, BlobId blob)
    : folder_(folder), path_(folder + "/" + blob.etag + ".incomplete"), blob_(std::move(blob)), hash_(blob_) {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
  if (fd_ < 0) throw disk_error(path_, "cannot write", errno);
  struct stat info;
  if (::fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(std::exchange(fd_, -1));
    throw Error(ErrorCode::io, fmt::format("{}: is not a regular file", path_), path_);
  }
  try {
    if (static_cast<std::uint64_t>(info.st_size) > blob_.bytes) restart();
    std::string buffer(read_bytes, '\0');
    for (ssize_t n; (n = ::read(fd_, buffer.data(), buffer.size())) != 0;) {
      ExecContext::current().checkpoint();
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw disk_error(path_, "cannot read", errno);
      hash_.add(std::as_bytes(std::span(buffer.data(), static_cast<std::size_t>(n))));
      bytes_ += static_cast<std::uint64_t>(n);
    }
  } catch (...) {
    ::close(std::exchange(fd_, -1));
    throw;
  }
}

PartialBlob::~PartialBlob() {
  if (fd_ >= 0) ::close(fd_);
}

void PartialBlob::restart() {
  if (::ftruncate(fd_, 0) != 0 || ::lseek(fd_, 0, SEEK_SET) != 0) throw disk_error(path_, "cannot write", errno);
  hash_ = BlobHash(blob_);
  bytes_ = 0;
}

void PartialBlob::append(std::span<const std::byte> bytes) {
  const std::size_t written = write_all(fd_, bytes);
  const int problem = errno;
  hash_.add(bytes.first(written));
  bytes_ += written;
  if (written < bytes.size())
    throw Error(ErrorCode::io,
                fmt::format("{}: cannot write: {}; {} bytes are kept, the same command goes on from there", path_,
                            reason_of(problem), bytes_),
                path_);
}

bool PartialBlob::finish() {
  if (bytes_ != blob_.bytes || hash_.finish() != blob_.etag) {
    restart();
    return false;
  }
  if (::fsync(fd_) != 0 && errno != EINVAL) throw disk_error(path_, "cannot write", errno);
  if (::rename(path_.c_str(), (folder_ + "/" + blob_.etag).c_str()) != 0)
    throw disk_error(path_, "cannot rename the finished file", errno);
  sync_folder(folder_);
  return true;
}

// ------------------------------------------------------------------------------------------------ one model

Result<HubStore> HubStore::open(const HubEnv& env, const HubName& name) {
  const std::string cache = env.cache_folder();
  if (cache.empty())
    return Error(ErrorCode::usage, "there is no hub cache: set HF_HUB_CACHE, HF_HOME or HOME", "HF_HUB_CACHE");
  return HubStore(cache, cache + "/" + name.folder());
}

void HubStore::prepare() const {
  const std::string parts[] = {blobs(), folder_ + "/snapshots", folder_ + "/refs"};
  for (const std::string& part : {folder_, parts[0], parts[1], parts[2]})
    if (is_link(part))
      throw Error(ErrorCode::io, fmt::format("{}: is a link: nothing is written through it", part), part);
  for (const std::string& part : {parts[0], parts[1], parts[2], locks()})
    if (auto error = make_folders(part)) throw *std::move(error);
}

std::string HubStore::locks() const { return cache_ + "/" + locks_folder + folder_.substr(cache_.size()); }

bool HubStore::has_blob(const BlobId& blob) const {
  struct stat info;
  return ::lstat((blobs() + "/" + blob.etag).c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
         static_cast<std::uint64_t>(info.st_size) == blob.bytes;
}

std::uint64_t HubStore::partial_bytes(const BlobId& blob) const {
  struct stat info;
  if (::lstat((blobs() + "/" + blob.etag + ".incomplete").c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return 0;
  const auto bytes = static_cast<std::uint64_t>(info.st_size);
  return bytes > blob.bytes ? 0 : bytes;  // longer than it should be: begun anew
}

std::optional<std::uint64_t> HubStore::file_bytes(const std::string& commit, const std::string& file) const {
  struct stat info;
  if (::stat((snapshot(commit) + "/" + file).c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  return static_cast<std::uint64_t>(info.st_size);
}

Result<FileLock> HubStore::lock(const BlobId& blob, const std::function<void()>& waiting) const {
  return FileLock::take(locks() + "/" + blob.etag + ".lock", waiting);
}

void HubStore::link(const std::string& commit, const std::string& file, const BlobId& blob) const {
  if (auto error = make_folders(snapshot(commit))) throw *std::move(error);
  const std::string path = snapshot(commit) + "/" + file, target = "../../blobs/" + blob.etag;
  for (int attempt = 0; ::symlink(target.c_str(), path.c_str()) != 0; ++attempt) {
    if (errno != EEXIST || attempt == 2) throw disk_error(path, "cannot make the link", errno);
    std::error_code failed;
    if (fs::read_symlink(path, failed) == target) return;
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw disk_error(path, "cannot replace", errno);
  }
}

void HubStore::set_revision(const std::string& revision, const std::string& commit) const {
  const std::string path = folder_ + "/refs/" + revision;
  if (const auto now = read_file(path, 256); now.ok() && *now == commit) return;
  if (auto error = make_folders(path.substr(0, path.rfind('/')))) throw *std::move(error);
  if (is_link(path)) ::unlink(path.c_str());  // a link would be written through
  write_file_atomic(path, commit);
}

std::uint64_t HubStore::free_bytes() const {
  struct statvfs info;
  if (::statvfs(folder_.c_str(), &info) != 0 || info.f_blocks == 0) return std::numeric_limits<std::uint64_t>::max();
  return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

// ------------------------------------------------------------------------------------------------ removing

Result<std::uint64_t> model_bytes_on_disk(const HubEnv& env, const HubName& name) {
  const std::string cache = env.cache_folder(), folder = cache + "/" + name.folder();
  std::error_code failed;
  if (cache.empty() || !fs::exists(fs::symlink_status(folder, failed)))
    return Error(ErrorCode::not_found,
                 fmt::format("{}: is not in the hub cache{}", name.repo(), cache.empty() ? "" : " " + cache),
                 name.repo());
  std::uint64_t bytes = 0;
  if (is_link(folder)) return bytes;  // only the link would go
  for (fs::recursive_directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed)) {
    struct stat info;
    if (::lstat(at->path().c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 1)
      bytes += static_cast<std::uint64_t>(info.st_size);
  }
  return bytes;
}

Result<std::uint64_t> remove_model(const HubEnv& env, const HubName& name) {
  const auto bytes = model_bytes_on_disk(env, name);
  if (!bytes.ok()) return bytes;
  const std::string cache = env.cache_folder(), folder = cache + "/" + name.folder();
  if (is_being_downloaded(cache, name))
    return Error(ErrorCode::io, fmt::format("{}: another process is downloading it; try again later", name.repo()),
                 name.repo());
  std::error_code failed;
  if (is_link(folder)) {
    fs::remove(folder, failed);
  } else {
    // What names the model goes first: a removal that is cut short leaves no model that looks whole.
    for (const char* part : {"/refs", "/snapshots", ""})
      if (!failed) fs::remove_all(folder + part, failed);
  }
  if (failed) return disk_error(folder, "cannot be removed", failed.value());
  return bytes;
}

}  // namespace tap
