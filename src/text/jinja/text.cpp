#include "text/jinja/text.h"

#include <string.h>  // memmem

#include <algorithm>

namespace tap::jinja {

void Text::append(std::string_view piece, bool trusted) {
  if (piece.empty()) return;
  if (bytes_.empty()) {
    trusted_ = trusted;
  } else if (runs_.empty()) {
    if (trusted != trusted_) runs_ = {{bytes_.size(), trusted_}, {bytes_.size() + piece.size(), trusted}};
  } else if (runs_.back().trusted == trusted) {
    runs_.back().end += piece.size();
  } else {
    runs_.push_back({bytes_.size() + piece.size(), trusted});
  }
  bytes_ += piece;
}

void Text::append(const Text& other, std::size_t begin, std::size_t end) {
  if (&other == this) return append(Text(other), begin, end);
  if (other.runs_.empty()) return append(std::string_view(other.bytes_).substr(begin, end - begin), other.trusted_);
  auto run = std::upper_bound(other.runs_.begin(), other.runs_.end(), begin,
                              [](std::size_t at, const Run& candidate) { return at < candidate.end; });
  for (; run != other.runs_.end() && begin < end; ++run) {
    const std::size_t stop = std::min(end, run->end);
    append(std::string_view(other.bytes_).substr(begin, stop - begin), run->trusted);
    begin = stop;
  }
}

Text Text::slice(std::size_t begin, std::size_t end) const {
  Text out;
  out.markup = markup;
  if (begin < end) out.append(*this, begin, end);
  return out;
}

char32_t decode_at(std::string_view utf8, std::size_t& at) {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(i < utf8.size() ? utf8[i] : 0));
  };
  const char32_t first = byte(at);
  if (first < 0x80) return ++at, first;
  if (first < 0xE0) return at += 2, ((first & 0x1F) << 6) | (byte(at - 1) & 0x3F);
  if (first < 0xF0) return at += 3, ((first & 0x0F) << 12) | ((byte(at - 2) & 0x3F) << 6) | (byte(at - 1) & 0x3F);
  return at += 4,
         ((first & 0x07) << 18) | ((byte(at - 3) & 0x3F) << 12) | ((byte(at - 2) & 0x3F) << 6) | (byte(at - 1) & 0x3F);
}

void encode_to(std::string& out, char32_t code) {
  if ((code >= 0xD800 && code < 0xE000) || code > 0x10FFFF) code = 0xFFFD;
  const auto put = [&](char32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) return put(0xC0 | (code >> 6)), put(0x80 | (code & 0x3F));
  if (code < 0x10000) return put(0xE0 | (code >> 12)), put(0x80 | ((code >> 6) & 0x3F)), put(0x80 | (code & 0x3F));
  put(0xF0 | (code >> 18)), put(0x80 | ((code >> 12) & 0x3F)), put(0x80 | ((code >> 6) & 0x3F)),
      put(0x80 | (code & 0x3F));
}

std::size_t count_chars(std::string_view utf8) {
  return static_cast<std::size_t>(
      std::count_if(utf8.begin(), utf8.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::size_t byte_of_char(std::string_view utf8, std::size_t index) {
  std::size_t at = 0;
  for (; at < utf8.size(); ++at) {
    if ((static_cast<unsigned char>(utf8[at]) & 0xC0) == 0x80) continue;
    if (index-- == 0) return at;
  }
  return at;
}

std::string valid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (std::size_t at = 0; at < bytes.size();) {
    const auto first = static_cast<unsigned char>(bytes[at]);
    if (first < 0x80) {
      out += bytes[at++];
      continue;
    }
    const std::size_t wanted = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    const auto at_or_0 = [&](std::size_t i) { return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0U; };
    // The second byte's range excludes overlong forms, surrogates and codes past U+10FFFF (Unicode, table 3-7).
    const unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    std::size_t good = 1;
    if (first >= 0xC2 && first <= 0xF4 && at_or_0(at + 1) >= low && at_or_0(at + 1) <= high) {
      good = 2;
      while (good < wanted && (at_or_0(at + good) & 0xC0) == 0x80) ++good;
      if (good == wanted) {
        out += bytes.substr(at, wanted);
        at += wanted;
        continue;
      }
    }
    out += "\xEF\xBF\xBD";
    at += good;
  }
  return out;
}

std::size_t find_bytes(std::string_view text, std::string_view needle, std::size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (needle.empty()) return from;
  const void* found = ::memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  return found ? static_cast<std::size_t>(static_cast<const char*>(found) - text.data()) : std::string_view::npos;
}

std::vector<LineSpan> split_lines(std::string_view utf8) {
  std::vector<LineSpan> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < utf8.size();) {
    const std::size_t here = at;
    const char32_t code = decode_at(utf8, at);
    const bool line_break = (code >= 10 && code <= 13) || (code >= 0x1C && code <= 0x1E) || code == 0x85 ||
                            code == 0x2028 || code == 0x2029;
    if (!line_break) continue;
    if (code == '\r' && at < utf8.size() && utf8[at] == '\n') ++at;
    lines.push_back({begin, here, at});
    begin = at;
  }
  if (begin < utf8.size()) lines.push_back({begin, utf8.size(), utf8.size()});
  return lines;
}

Trim trim_space(std::string_view utf8, bool left, bool right) {
  Trim trim{0, utf8.size()};
  while (left && trim.begin < trim.end) {
    std::size_t next = trim.begin;
    if (!is_space(decode_at(utf8, next))) break;
    trim.begin = next;
  }
  while (right && trim.begin < trim.end) {
    std::size_t last = trim.end - 1;
    while (last > trim.begin && (static_cast<unsigned char>(utf8[last]) & 0xC0) == 0x80) --last;
    std::size_t next = last;
    if (!is_space(decode_at(utf8, next))) break;
    trim.end = last;
  }
  return trim;
}

}  // namespace tap::jinja
