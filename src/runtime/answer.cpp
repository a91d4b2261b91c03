#include "runtime/answer.h"

namespace tap {

std::string without_blank_ends(std::string_view text) {
  constexpr std::string_view blanks = " \n\t\r";
  const std::size_t begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(blanks) - begin + 1));
}

}  // namespace tap
