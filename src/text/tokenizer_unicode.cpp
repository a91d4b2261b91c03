#include "text/tokenizer_unicode.h"

#include <algorithm>
#include <cstring>

#include <utf8proc.h>

namespace tap::uni {

void append(std::string& out, char32_t code) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

Part next_part(std::string_view bytes, std::size_t at) {
  const auto first = static_cast<unsigned char>(bytes[at]);
  if (first < 0x80) return {1, true, false};
  if (first < 0xC2 || first > 0xF4) return {1, false, false};
  const unsigned length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and codes past U+10FFFF (Unicode table 3-7).
  unsigned low = 0x80, high = 0xBF;
  if (first == 0xE0) low = 0xA0;
  if (first == 0xED) high = 0x9F;
  if (first == 0xF0) low = 0x90;
  if (first == 0xF4) high = 0x8F;
  for (unsigned i = 1; i < length; ++i, low = 0x80, high = 0xBF) {
    if (at + i >= bytes.size()) return {i, false, true};
    const auto byte = static_cast<unsigned char>(bytes[at + i]);
    if (byte < low || byte > high) return {i, false, false};
  }
  return {length, true, false};
}

namespace {

// Bytes below 0x80 at the start, eight at a time.
std::size_t ascii_run(std::string_view bytes, std::size_t at) {
  while (at + 8 <= bytes.size()) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + at, 8);
    if (word & 0x8080808080808080u) break;
    at += 8;
  }
  while (at < bytes.size() && static_cast<unsigned char>(bytes[at]) < 0x80) ++at;
  return at;
}

}  // namespace

bool is_valid_utf8(std::string_view bytes) {
  for (std::size_t at = ascii_run(bytes, 0); at < bytes.size(); at = ascii_run(bytes, at)) {
    const Part part = next_part(bytes, at);
    if (!part.valid) return false;
    at += part.length;
  }
  return true;
}

std::string sanitize(std::string_view bytes) {
  if (is_valid_utf8(bytes)) return std::string(bytes);
  std::string out;
  out.reserve(bytes.size() + 16);
  for (std::size_t at = 0; at < bytes.size();) {
    const Part part = next_part(bytes, at);
    if (part.valid) out.append(bytes, at, part.length);
    else out += "\xEF\xBF\xBD";
    at += part.length;
  }
  return out;
}

std::string quoted(std::string_view bytes) {
  const std::string text = sanitize(bytes.substr(0, 40));
  std::string out = "\"";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) out += '?';
    else out += c;
  }
  return out + (bytes.size() > 40 ? "...\"" : "\"");
}

std::uint8_t wide_classes(char32_t code) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT: return letter | upperish;
    case UTF8PROC_CATEGORY_LL: return letter | lowerish;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return letter | upperish | lowerish;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return mark | upperish | lowerish;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return number;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return space;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return punctuation;
    default: return code == 0x85 ? space : 0;
  }
}

const std::array<std::uint8_t, 128> kAsciiClasses = [] {
  std::array<std::uint8_t, 128> table{};
  for (unsigned c = 0; c < 128; ++c) {
    std::uint8_t bits = 0;
    if (c >= 'A' && c <= 'Z') bits = letter | upperish;
    else if (c >= 'a' && c <= 'z') bits = letter | lowerish;
    else if (c >= '0' && c <= '9') bits = number;
    else if (c == ' ' || (c >= 9 && c <= 13)) bits = space;
    else if (c > 32 && c < 127 && std::strchr("$+<=>^`|~", static_cast<int>(c)) == nullptr) bits = punctuation;
    if (c == '\r' || c == '\n') bits |= newline;
    table[c] = bits;
  }
  return table;
}();

bool is_han(char32_t code) {
  // Scripts.txt of Unicode 15.1, Script=Han.
  static constexpr std::array<std::array<char32_t, 2>, 22> kRanges{{
      {0x2E80, 0x2E99},   {0x2E9B, 0x2EF3},   {0x2F00, 0x2FD5},   {0x3005, 0x3005},   {0x3007, 0x3007},
      {0x3021, 0x3029},   {0x3038, 0x303B},   {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFA6D},
      {0xFA70, 0xFAD9},   {0x16FE2, 0x16FE3}, {0x16FF0, 0x16FF1}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B739},
      {0x2B740, 0x2B81D}, {0x2B820, 0x2CEA1}, {0x2CEB0, 0x2EBE0}, {0x2EBF0, 0x2EE5D}, {0x2F800, 0x2FA1D},
      {0x30000, 0x3134A}, {0x31350, 0x323AF},
  }};
  if (code < 0x2E80) return false;
  for (const auto& [first, last] : kRanges)
    if (code <= last) return code >= first;
  return false;
}

bool is_word(char32_t code) {
  if (code < 128) return (kAsciiClasses[code] & (letter | number)) != 0 || code == '_';
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  if (category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_PC)
    return true;
  if (code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9)) return true;  // joiners; circled letters
  return (wide_classes(code) & (letter | mark)) != 0;
}

bool is_python_space(char32_t code) { return (classes(code) & space) != 0 || (code >= 0x1C && code <= 0x1F); }

namespace {

bool stands_for_itself(unsigned byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
}

struct ByteTables {
  std::array<char32_t, 256> to_char{};
  std::array<std::int16_t, 324> to_byte{};  // 256 + 68 bytes that do not stand for themselves
  ByteTables() {
    to_byte.fill(-1);
    char32_t extra = 256;
    for (unsigned byte = 0; byte < 256; ++byte) {
      to_char[byte] = stands_for_itself(byte) ? byte : extra++;
      to_byte[to_char[byte]] = static_cast<std::int16_t>(byte);
    }
  }
};

const ByteTables& byte_tables() {
  static const ByteTables tables;
  return tables;
}

}  // namespace

char32_t char_of_byte(unsigned char byte) { return byte_tables().to_char[byte]; }

int byte_of_char(char32_t code) { return code < 324 ? byte_tables().to_byte[code] : -1; }

bool unmap_bytes(std::string_view token, std::string& bytes) {
  bytes.clear();
  for (std::size_t at = 0; at < token.size();) {
    const auto [code, length] = decode(token, at);
    const int byte = byte_of_char(code);
    if (byte < 0) return false;
    bytes.push_back(static_cast<char>(static_cast<unsigned char>(byte)));
    at += length;
  }
  return true;
}

void map_bytes(std::string_view bytes, std::string& mapped) {
  for (const char c : bytes) append(mapped, char_of_byte(static_cast<unsigned char>(c)));
}

}  // namespace tap::uni
