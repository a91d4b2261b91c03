// The JSON lines that `tapetum batch` writes: each in one write, so that whatever ends the program, only the line being
// written can be torn; and what an earlier run left in the file.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "io/json.h"

namespace tap::cli {

class ResultsFile {
 public:
  // Empty path: stdout. Without `resume` the file must not hold anything yet. With it, whole lines of finished requests
  // stay; torn, damaged and failed ones go (through a temporary file, so that nothing is lost if this is interrupted).
  // Throws Error(usage) when the file holds results and `resume` is false, Error(io) when it cannot be written or
  // another run writes it.
  ResultsFile(const std::string& path, bool resume);
  ~ResultsFile();
  ResultsFile(const ResultsFile&) = delete;
  ResultsFile& operator=(const ResultsFile&) = delete;

  std::size_t kept() const { return done_.size(); }
  // Whether the file has the answer of that request; `foreign`: with another id, so the file is of other requests.
  enum class Has { no, yes, foreign };
  Has has(std::size_t index, const Json& id) const;
  // At once. On failure what was written of the line is taken back, and Error(io) thrown.
  void write(const Json& line);
  void sync();  // to the disk; throws Error(io)

 private:
  void open();
  void keep_good_lines();
  int fd_ = -1;
  std::string path_;
  std::uint64_t size_ = 0;
  bool regular_ = false;
  std::unordered_map<std::size_t, std::size_t> done_;  // index to the hash of its id
};

}  // namespace tap::cli
