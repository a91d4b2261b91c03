// Small things about text that several folders need.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace tap {

inline constexpr std::string_view blanks = " \t\r\n";

// Without the characters of `what` at its ends.
inline std::string_view trimmed(std::string_view text, std::string_view what = blanks) {
  const std::size_t begin = text.find_first_not_of(what);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(what) - begin + 1);
}

// UTF-8: whether a byte begins a character, and how many do.
inline bool starts_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }
inline std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, starts_character));
}

}  // namespace tap
