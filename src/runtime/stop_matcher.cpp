#include "runtime/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/tokenizer_unicode.h"

namespace tap {

StopMatcher::StopMatcher(std::vector<std::string> strings) : strings_(std::move(strings)) {
  if (strings_.size() > 64) fail(ErrorCode::usage, "stop: {} strings, at most 64", strings_.size());
  for (const std::string& s : strings_) {
    if (s.empty() || s.size() > 4096) fail(ErrorCode::usage, "stop: a string of {} bytes, must be 1 to 4096", s.size());
    // Half a character would be found within a whole one, and cut it.
    if (!uni::is_valid_utf8(s)) fail(ErrorCode::usage, "stop: {} is not valid UTF-8", uni::quoted(s));
  }
}

std::string StopMatcher::push(std::string_view piece) {
  if (stopped_) return {};
  held_ += piece;
  std::size_t first = std::string::npos;
  for (const std::string& s : strings_)
    if (const std::size_t at = held_.find(s); at < first) first = at, matched_ = s;
  if (first != std::string::npos) {
    stopped_ = true;
    held_.resize(first);
    return std::exchange(held_, {});
  }
  std::size_t keep = 0;  // longest end of the text that begins a stop string
  for (const std::string& s : strings_)
    for (std::size_t n = std::min(s.size() - 1, held_.size()); n > keep; --n)
      if (std::string_view(held_).substr(held_.size() - n) == std::string_view(s).substr(0, n)) keep = n;
  std::string safe = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return safe;
}

std::string StopMatcher::finish() { return std::exchange(held_, {}); }

}  // namespace tap
