#include "io/new_folder.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <filesystem>

#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

namespace tap {

namespace {

[[noreturn]] void refuse(const std::string& path, const char* doing, int error_number) {
  throw Error(ErrorCode::io, fmt::format("{}: {}: {}", path, doing, reason_of(error_number)), path);
}

}  // namespace

NewFolder::NewFolder(const std::string& path, bool replace) : path_(path), replace_(replace) {
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  if (path_.empty()) throw Error(ErrorCode::usage, "the name of the folder to write is empty", path);
  char resolved[PATH_MAX];
  if (::realpath(path_.c_str(), resolved)) path_ = resolved;  // a link keeps leading to the folder
  if (file_exists(path_) && !is_directory(path_))
    throw Error(ErrorCode::bad_input, fmt::format("{}: is a file, a folder is to be written there", path), path);
  if (!replace && !folder_entries(path_, 1).empty())
    throw Error(ErrorCode::bad_input, fmt::format("{}: is there already and not empty; --force replaces it", path),
                path);
  temporary_ = fmt::format("{}.tmp-{}", path_, ::getpid());
  std::error_code ignored;
  std::filesystem::remove_all(temporary_, ignored);  // of a process that was killed and had our number
  if (::mkdir(temporary_.c_str(), 0777) != 0) refuse(path, "cannot be made", errno);
}

NewFolder::~NewFolder() {
  std::error_code ignored;
  if (!published_) std::filesystem::remove_all(temporary_, ignored);
}

void NewFolder::publish() {
  std::string old;
  if (replace_ && !folder_entries(path_, 1).empty()) {  // a folder with something in it cannot be renamed over
    old = fmt::format("{}.old-{}", path_, ::getpid());
    if (::rename(path_.c_str(), old.c_str()) != 0) refuse(path_, "cannot be moved out of the way", errno);
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int reason = errno;
    if (!old.empty()) (void)::rename(old.c_str(), path_.c_str());
    refuse(path_, "cannot rename the finished folder", reason);
  }
  published_ = true;
  std::error_code ignored;
  if (!old.empty()) std::filesystem::remove_all(old, ignored);
}

}  // namespace tap
