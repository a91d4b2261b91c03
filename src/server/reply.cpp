#include "server/reply.h"

#include <algorithm>

#include "base/strings.h"

namespace tap::server {

std::string AnswerText::add(std::string_view piece, bool exact) {
  if (exact) return text += piece, std::string(piece);
  std::string more = unsent + std::string(piece);
  if (text.empty()) more.erase(0, std::min(more.size(), more.find_first_not_of(blanks)));
  const std::size_t end = more.find_last_not_of(blanks) + 1;  // 0: all blank
  unsent = more.substr(end);
  more.resize(end);
  text += more;
  return more;
}

}  // namespace tap::server
