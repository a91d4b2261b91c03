#include "cli/results_file.h"

#include <cerrno>
#include <functional>
#include <optional>
#include <span>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/line_reader.h"
#include "cli/output.h"

namespace tap::cli {

namespace {

constexpr std::size_t result_limit_bytes = std::size_t{64} << 20;

std::size_t hash_of(const Json& id) { return std::hash<std::string>()(to_json_line(id)); }

[[noreturn]] void refuse(const std::string& path, std::string_view doing, int error_number) {
  throw Error(ErrorCode::io, fmt::format("{}: {}: {}", path, doing, reason_of(error_number)), path);
}

void write_whole(int fd, std::string_view text, const std::string& path) {
  // A line is finished even when Ctrl-C was pressed.
  if (write_all(fd, std::as_bytes(std::span(text))) < text.size()) refuse(path, "cannot write", errno);
}

struct GoodLine {
  std::size_t index;
  std::size_t id_hash;
};

std::optional<GoodLine> good_line(const std::string& text) {
  const auto line = parse_json(text, "result", {.bytes = result_limit_bytes});
  if (!line.ok() || !line->is_object() || line->contains("error") || !line->contains("text")) return std::nullopt;
  const auto index = line->find("index");
  if (index == line->end() || !index->is_number_unsigned()) return std::nullopt;
  return GoodLine{index->get<std::size_t>(), hash_of(line->value("id", Json(nullptr)))};
}

// A temporary file that goes unless it is renamed.
class Draft {
 public:
  explicit Draft(std::string path) : path_(std::move(path)) {
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd_ < 0) refuse(path_, "cannot write", errno);
  }
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  ~Draft() {
    if (fd_ >= 0) ::close(fd_);
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  void add(const std::string& line) {
    buffer_ += line;
    buffer_ += '\n';
    if (buffer_.size() > (1 << 20)) flush();
  }
  void replace(const std::string& target, mode_t mode) {
    flush();
    (void)::fchmod(fd_, mode);  // best effort: the old file's permissions
    if (::fsync(fd_) != 0 && errno != EINVAL) refuse(path_, "cannot write", errno);
    if (::rename(path_.c_str(), target.c_str()) != 0) refuse(target, "cannot replace it", errno);
    path_.clear();
  }

 private:
  void flush() {
    write_whole(fd_, buffer_, path_);
    buffer_.clear();
  }
  std::string path_, buffer_;
  int fd_ = -1;
};

}  // namespace

ResultsFile::ResultsFile(const std::string& path, bool resume) : path_(path) {
  if (path_.empty()) return;
  open();
  struct stat info;
  if (::fstat(fd_, &info) != 0) refuse(path_, "cannot read", errno);
  regular_ = S_ISREG(info.st_mode);
  size_ = static_cast<std::uint64_t>(info.st_size);
  if (!regular_ || size_ == 0) return;
  if (!resume)
    throw Error(ErrorCode::usage,
                fmt::format("{}: holds something already: --resume goes on with it, or name another file", path_),
                path_);
  keep_good_lines();
}

ResultsFile::~ResultsFile() {
  if (fd_ < 0) return;
  (void)::fsync(fd_);
  ::close(fd_);
}

void ResultsFile::open() {
  if (is_directory(path_)) throw Error(ErrorCode::io, fmt::format("{}: is a folder, cannot write there", path_), path_);
  fd_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) refuse(path_, "cannot write", errno);
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    throw Error(ErrorCode::io, fmt::format("{}: another run is writing it", path_), path_);
}

void ResultsFile::keep_good_lines() {
  std::size_t dropped = 0;
  const auto each = [&](auto&& fn) {
    LineReader lines(path_, result_limit_bytes);
    std::string line;
    for (auto got = lines.next(line); got != LineReader::Got::end; got = lines.next(line))
      fn(got == LineReader::Got::line && lines.ended() ? good_line(line) : std::nullopt, line);
  };
  each([&](const std::optional<GoodLine>& good, const std::string&) {
    if (!good || !done_.emplace(good->index, good->id_hash).second) ++dropped;
  });
  if (dropped == 0) return;
  log::info("{}: {} lines are kept, {} torn or failed ones are done again", path_, done_.size(), dropped);
  struct stat info;
  if (::fstat(fd_, &info) != 0) refuse(path_, "cannot read", errno);
  Draft draft(fmt::format("{}.tmp-{}", path_, ::getpid()));
  done_.clear();
  each([&](const std::optional<GoodLine>& good, const std::string& line) {
    if (good && done_.emplace(good->index, good->id_hash).second) draft.add(line);
  });
  draft.replace(path_, info.st_mode & 07777);
  ::close(fd_);
  open();
  if (::fstat(fd_, &info) != 0) refuse(path_, "cannot read", errno);
  size_ = static_cast<std::uint64_t>(info.st_size);
}

ResultsFile::Has ResultsFile::has(std::size_t index, const Json& id) const {
  const auto at = done_.find(index);
  if (at == done_.end()) return Has::no;
  return at->second == hash_of(id) ? Has::yes : Has::foreign;
}

void ResultsFile::write(const Json& line) {
  if (fd_ < 0) return write_json(line);
  const std::string text = to_json_line(line) + "\n";
  try {
    write_whole(fd_, text, path_);
  } catch (const Error&) {
    if (regular_) (void)!::ftruncate(fd_, static_cast<off_t>(size_));  // a full disk: no torn line
    throw;
  }
  size_ += text.size();
}

void ResultsFile::sync() {
  if (fd_ >= 0 && ::fsync(fd_) != 0 && errno != EINVAL && errno != EROFS) refuse(path_, "cannot write", errno);
}

}  // namespace tap::cli
