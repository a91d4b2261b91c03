// Lines of a file or a pipe, one at a time: what is in memory is one line, whatever the file's size.
#pragma once

#include <cstddef>
#include <string>

namespace tap::cli {

class LineReader {
 public:
  enum class Got { line, too_long, later, end };

  // "-": stdin. Throws Error when it cannot be opened or is a folder.
  LineReader(std::string path, std::size_t limit_bytes);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // The next line without its end into `line`. `too_long`: one over the limit was skipped. `wait` false: `later` when
  // nothing can be read at once. Throws Error(io), or Error(cancelled) while waiting.
  Got next(std::string& line, bool wait = true);
  std::size_t number() const { return number_; }  // of the newest line, from 1
  bool ended() const { return ended_; }           // the newest line had a line end
  const std::string& name() const { return name_; }

 private:
  Got give(std::size_t end, std::string& line);
  bool read_more(bool wait);
  int fd_;
  std::string name_;
  std::size_t limit_bytes_, begin_ = 0, scanned_ = 0, number_ = 0;
  std::string buffer_;
  bool at_end_ = false, skipping_ = false, ended_ = true;
};

}  // namespace tap::cli
