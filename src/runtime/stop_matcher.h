// Stop strings over text that arrives in pieces: holds back what may still become one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tap {

class StopMatcher {
 public:
  // Throws Error(usage) for an empty string, more than 64 of them, or one over 4096 bytes.
  explicit StopMatcher(std::vector<std::string> strings);
  // Text that is safe to show. Once a stop string is complete, `stopped()` is true and neither it nor anything after is
  // given out.
  std::string push(std::string_view piece);
  std::string finish();  // what was held back and did not become one
  bool stopped() const { return stopped_; }
  const std::string& matched() const { return matched_; }

 private:
  std::vector<std::string> strings_;
  std::string held_, matched_;
  bool stopped_ = false;
};

}  // namespace tap
