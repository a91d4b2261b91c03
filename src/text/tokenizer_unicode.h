// UTF-8 and character classes for the tokenizers. Text given to decode() must be valid UTF-8 (sanitize() makes it so).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tap::uni {

struct Decoded {
  char32_t code;
  unsigned length;  // bytes
};

inline Decoded decode(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[at + i])); };
  const char32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {((first & 0x1F) << 6) | (byte(1) & 0x3F), 2};
  if (first < 0xF0) return {((first & 0x0F) << 12) | ((byte(1) & 0x3F) << 6) | (byte(2) & 0x3F), 3};
  return {((first & 0x07) << 18) | ((byte(1) & 0x3F) << 12) | ((byte(2) & 0x3F) << 6) | (byte(3) & 0x3F), 4};
}

// Start of the character before `at` (at > 0).
inline std::size_t previous(std::string_view text, std::size_t at) {
  do --at;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

void append(std::string& out, char32_t code);

// How the bytes at `at` begin: a whole character (`valid`), a maximal invalid part, or (`cut`) a character that only
// lacks its end.
struct Part {
  unsigned length;
  bool valid, cut;
};
Part next_part(std::string_view bytes, std::size_t at);
bool is_valid_utf8(std::string_view bytes);
// Each maximal invalid part becomes U+FFFD (Unicode 15, section 3.9, "substitution of maximal subparts"; Python's
// errors="replace").
std::string sanitize(std::string_view bytes);

// For messages: in quotes, at most 40 bytes, one line.
std::string quoted(std::string_view bytes);

// Classes of the split rules, as bits.
enum : std::uint8_t {
  letter = 1,         // L
  number = 2,         // N
  space = 4,          // White_Space
  mark = 8,           // M
  upperish = 16,      // Lu Lt Lm Lo M
  lowerish = 32,      // Ll Lm Lo M
  newline = 64,       // CR LF
  punctuation = 128,  // P
};

std::uint8_t wide_classes(char32_t code);
extern const std::array<std::uint8_t, 128> kAsciiClasses;
inline std::uint8_t classes(char32_t code) { return code < 128 ? kAsciiClasses[code] : wide_classes(code); }

bool is_han(char32_t code);           // Script=Han
bool is_word(char32_t code);          // \w: Alphabetic, M, Nd, Pc, Join_Control
bool is_python_space(char32_t code);  // str.isspace

// The byte-to-character table of GPT-2's byte-level BPE, and its inverse (-1: not one of the 256).
char32_t char_of_byte(unsigned char byte);
int byte_of_char(char32_t code);
// The bytes that a byte-level token stands for; false when a character of it is not one of the 256.
bool unmap_bytes(std::string_view token, std::string& bytes);
void map_bytes(std::string_view bytes, std::string& mapped);  // appends

}  // namespace tap::uni
