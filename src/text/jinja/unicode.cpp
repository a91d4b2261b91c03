// Unicode facts as Python's str methods use them: categories from utf8proc, multi-character case mappings from the
// Unicode Character Database (SpecialCasing.txt, unconditional mappings).
#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "text/jinja/text.h"

namespace tap::jinja {

namespace {

struct Special {
  char32_t code;
  char32_t to[3];
};

constexpr Special special_upper[] = {
    {0x00DF, {0x0053, 0x0053, 0}}, {0x0149, {0x02BC, 0x004E, 0}}, {0x01F0, {0x004A, 0x030C, 0}},
    {0x0390, {0x0399, 0x0308, 0x0301}}, {0x03B0, {0x03A5, 0x0308, 0x0301}}, {0x0587, {0x0535, 0x0552, 0}},
    {0x1E96, {0x0048, 0x0331, 0}}, {0x1E97, {0x0054, 0x0308, 0}}, {0x1E98, {0x0057, 0x030A, 0}},
    {0x1E99, {0x0059, 0x030A, 0}}, {0x1E9A, {0x0041, 0x02BE, 0}}, {0x1F50, {0x03A5, 0x0313, 0}},
    {0x1F52, {0x03A5, 0x0313, 0x0300}}, {0x1F54, {0x03A5, 0x0313, 0x0301}}, {0x1F56, {0x03A5, 0x0313, 0x0342}},
    {0x1F80, {0x1F08, 0x0399, 0}}, {0x1F81, {0x1F09, 0x0399, 0}}, {0x1F82, {0x1F0A, 0x0399, 0}},
    {0x1F83, {0x1F0B, 0x0399, 0}}, {0x1F84, {0x1F0C, 0x0399, 0}}, {0x1F85, {0x1F0D, 0x0399, 0}},
    {0x1F86, {0x1F0E, 0x0399, 0}}, {0x1F87, {0x1F0F, 0x0399, 0}}, {0x1F88, {0x1F08, 0x0399, 0}},
    {0x1F89, {0x1F09, 0x0399, 0}}, {0x1F8A, {0x1F0A, 0x0399, 0}}, {0x1F8B, {0x1F0B, 0x0399, 0}},
    {0x1F8C, {0x1F0C, 0x0399, 0}}, {0x1F8D, {0x1F0D, 0x0399, 0}}, {0x1F8E, {0x1F0E, 0x0399, 0}},
    {0x1F8F, {0x1F0F, 0x0399, 0}}, {0x1F90, {0x1F28, 0x0399, 0}}, {0x1F91, {0x1F29, 0x0399, 0}},
    {0x1F92, {0x1F2A, 0x0399, 0}}, {0x1F93, {0x1F2B, 0x0399, 0}}, {0x1F94, {0x1F2C, 0x0399, 0}},
    {0x1F95, {0x1F2D, 0x0399, 0}}, {0x1F96, {0x1F2E, 0x0399, 0}}, {0x1F97, {0x1F2F, 0x0399, 0}},
    {0x1F98, {0x1F28, 0x0399, 0}}, {0x1F99, {0x1F29, 0x0399, 0}}, {0x1F9A, {0x1F2A, 0x0399, 0}},
    {0x1F9B, {0x1F2B, 0x0399, 0}}, {0x1F9C, {0x1F2C, 0x0399, 0}}, {0x1F9D, {0x1F2D, 0x0399, 0}},
    {0x1F9E, {0x1F2E, 0x0399, 0}}, {0x1F9F, {0x1F2F, 0x0399, 0}}, {0x1FA0, {0x1F68, 0x0399, 0}},
    {0x1FA1, {0x1F69, 0x0399, 0}}, {0x1FA2, {0x1F6A, 0x0399, 0}}, {0x1FA3, {0x1F6B, 0x0399, 0}},
    {0x1FA4, {0x1F6C, 0x0399, 0}}, {0x1FA5, {0x1F6D, 0x0399, 0}}, {0x1FA6, {0x1F6E, 0x0399, 0}},
    {0x1FA7, {0x1F6F, 0x0399, 0}}, {0x1FA8, {0x1F68, 0x0399, 0}}, {0x1FA9, {0x1F69, 0x0399, 0}},
    {0x1FAA, {0x1F6A, 0x0399, 0}}, {0x1FAB, {0x1F6B, 0x0399, 0}}, {0x1FAC, {0x1F6C, 0x0399, 0}},
    {0x1FAD, {0x1F6D, 0x0399, 0}}, {0x1FAE, {0x1F6E, 0x0399, 0}}, {0x1FAF, {0x1F6F, 0x0399, 0}},
    {0x1FB2, {0x1FBA, 0x0399, 0}}, {0x1FB3, {0x0391, 0x0399, 0}}, {0x1FB4, {0x0386, 0x0399, 0}},
    {0x1FB6, {0x0391, 0x0342, 0}}, {0x1FB7, {0x0391, 0x0342, 0x0399}}, {0x1FBC, {0x0391, 0x0399, 0}},
    {0x1FC2, {0x1FCA, 0x0399, 0}}, {0x1FC3, {0x0397, 0x0399, 0}}, {0x1FC4, {0x0389, 0x0399, 0}},
    {0x1FC6, {0x0397, 0x0342, 0}}, {0x1FC7, {0x0397, 0x0342, 0x0399}}, {0x1FCC, {0x0397, 0x0399, 0}},
    {0x1FD2, {0x0399, 0x0308, 0x0300}}, {0x1FD3, {0x0399, 0x0308, 0x0301}}, {0x1FD6, {0x0399, 0x0342, 0}},
    {0x1FD7, {0x0399, 0x0308, 0x0342}}, {0x1FE2, {0x03A5, 0x0308, 0x0300}}, {0x1FE3, {0x03A5, 0x0308, 0x0301}},
    {0x1FE4, {0x03A1, 0x0313, 0}}, {0x1FE6, {0x03A5, 0x0342, 0}}, {0x1FE7, {0x03A5, 0x0308, 0x0342}},
    {0x1FF2, {0x1FFA, 0x0399, 0}}, {0x1FF3, {0x03A9, 0x0399, 0}}, {0x1FF4, {0x038F, 0x0399, 0}},
    {0x1FF6, {0x03A9, 0x0342, 0}}, {0x1FF7, {0x03A9, 0x0342, 0x0399}}, {0x1FFC, {0x03A9, 0x0399, 0}},
    {0xFB00, {0x0046, 0x0046, 0}}, {0xFB01, {0x0046, 0x0049, 0}}, {0xFB02, {0x0046, 0x004C, 0}},
    {0xFB03, {0x0046, 0x0046, 0x0049}}, {0xFB04, {0x0046, 0x0046, 0x004C}}, {0xFB05, {0x0053, 0x0054, 0}},
    {0xFB06, {0x0053, 0x0054, 0}}, {0xFB13, {0x0544, 0x0546, 0}}, {0xFB14, {0x0544, 0x0535, 0}},
    {0xFB15, {0x0544, 0x053B, 0}}, {0xFB16, {0x054E, 0x0546, 0}}, {0xFB17, {0x0544, 0x053D, 0}},
};
constexpr Special special_title[] = {
    {0x00DF, {0x0053, 0x0073, 0}}, {0x0149, {0x02BC, 0x004E, 0}}, {0x01F0, {0x004A, 0x030C, 0}},
    {0x0390, {0x0399, 0x0308, 0x0301}}, {0x03B0, {0x03A5, 0x0308, 0x0301}}, {0x0587, {0x0535, 0x0582, 0}},
    {0x1E96, {0x0048, 0x0331, 0}}, {0x1E97, {0x0054, 0x0308, 0}}, {0x1E98, {0x0057, 0x030A, 0}},
    {0x1E99, {0x0059, 0x030A, 0}}, {0x1E9A, {0x0041, 0x02BE, 0}}, {0x1F50, {0x03A5, 0x0313, 0}},
    {0x1F52, {0x03A5, 0x0313, 0x0300}}, {0x1F54, {0x03A5, 0x0313, 0x0301}}, {0x1F56, {0x03A5, 0x0313, 0x0342}},
    {0x1FB2, {0x1FBA, 0x0345, 0}}, {0x1FB4, {0x0386, 0x0345, 0}}, {0x1FB6, {0x0391, 0x0342, 0}},
    {0x1FB7, {0x0391, 0x0342, 0x0345}}, {0x1FC2, {0x1FCA, 0x0345, 0}}, {0x1FC4, {0x0389, 0x0345, 0}},
    {0x1FC6, {0x0397, 0x0342, 0}}, {0x1FC7, {0x0397, 0x0342, 0x0345}}, {0x1FD2, {0x0399, 0x0308, 0x0300}},
    {0x1FD3, {0x0399, 0x0308, 0x0301}}, {0x1FD6, {0x0399, 0x0342, 0}}, {0x1FD7, {0x0399, 0x0308, 0x0342}},
    {0x1FE2, {0x03A5, 0x0308, 0x0300}}, {0x1FE3, {0x03A5, 0x0308, 0x0301}}, {0x1FE4, {0x03A1, 0x0313, 0}},
    {0x1FE6, {0x03A5, 0x0342, 0}}, {0x1FE7, {0x03A5, 0x0308, 0x0342}}, {0x1FF2, {0x1FFA, 0x0345, 0}},
    {0x1FF4, {0x038F, 0x0345, 0}}, {0x1FF6, {0x03A9, 0x0342, 0}}, {0x1FF7, {0x03A9, 0x0342, 0x0345}},
    {0xFB00, {0x0046, 0x0066, 0}}, {0xFB01, {0x0046, 0x0069, 0}}, {0xFB02, {0x0046, 0x006C, 0}},
    {0xFB03, {0x0046, 0x0066, 0x0069}}, {0xFB04, {0x0046, 0x0066, 0x006C}}, {0xFB05, {0x0053, 0x0074, 0}},
    {0xFB06, {0x0053, 0x0074, 0}}, {0xFB13, {0x0544, 0x0576, 0}}, {0xFB14, {0x0544, 0x0565, 0}},
    {0xFB15, {0x0544, 0x056B, 0}}, {0xFB16, {0x054E, 0x0576, 0}}, {0xFB17, {0x0544, 0x056D, 0}},
};

utf8proc_category_t category(char32_t code) { return utf8proc_category(static_cast<utf8proc_int32_t>(code)); }

template <std::size_t n>
bool append_special(const Special (&table)[n], char32_t code, std::string& out) {
  const auto* found = std::lower_bound(std::begin(table), std::end(table), code,
                                       [](const Special& entry, char32_t wanted) { return entry.code < wanted; });
  if (found == std::end(table) || found->code != code) return false;
  for (const char32_t to : found->to)
    if (to != 0) encode_to(out, to);
  return true;
}

// Unicode's Final_Sigma: a cased letter before, none after, case-ignorable characters skipped.
bool case_ignorable(char32_t code) {
  switch (category(code)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default: break;
  }
  return code == '\'' || code == '.' || code == ':' || code == 0xB7 || code == 0x2018 || code == 0x2019;
}

bool is_final_sigma(std::string_view text, std::size_t at, std::size_t after) {
  bool before_cased = false;
  for (std::size_t i = at; i > 0;) {
    do --i;
    while (i > 0 && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80);
    std::size_t next = i;
    const char32_t code = decode_at(text, next);
    if (case_ignorable(code)) continue;
    before_cased = is_cased(code);
    break;
  }
  if (!before_cased) return false;
  while (after < text.size()) {
    const char32_t code = decode_at(text, after);
    if (case_ignorable(code)) continue;
    return !is_cased(code);
  }
  return true;
}

}  // namespace

bool is_space(char32_t code) {
  return (code >= 9 && code <= 13) || (code >= 0x1C && code <= 0x20) || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F ||
         code == 0x205F || code == 0x3000;
}

bool is_printable(char32_t code) {
  if (code == ' ') return true;
  switch (category(code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
  }
}

bool is_alpha(char32_t code) {
  const auto c = category(code);
  return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT ||
         c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t code) { return category(code) == UTF8PROC_CATEGORY_ND; }

bool is_digit(char32_t code) {
  return is_decimal(code) || code == 0xB2 || code == 0xB3 || code == 0xB9 || code == 0x2070 ||
         (code >= 0x2074 && code <= 0x2079) || (code >= 0x2080 && code <= 0x2089) ||
         (code >= 0x2460 && code <= 0x2468) || (code >= 0x2474 && code <= 0x247C) ||
         (code >= 0x2488 && code <= 0x2490) || code == 0x24EA || (code >= 0x24F5 && code <= 0x24FD) || code == 0x24FF ||
         (code >= 0x2776 && code <= 0x277E) || (code >= 0x2780 && code <= 0x2788) || (code >= 0x278A && code <= 0x2792);
}

bool is_numeric(char32_t code) {
  const auto c = category(code);
  return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

bool is_upper(char32_t code) {
  return category(code) == UTF8PROC_CATEGORY_LU || (code >= 0x2160 && code <= 0x216F) ||
         (code >= 0x24B6 && code <= 0x24CF);
}

bool is_lower(char32_t code) {
  return category(code) == UTF8PROC_CATEGORY_LL || code == 0xAA || code == 0xBA || (code >= 0x2170 && code <= 0x217F) ||
         (code >= 0x24D0 && code <= 0x24E9);
}

bool is_identifier_part(char32_t code) {
  const auto c = category(code);
  return is_alpha(code) || is_decimal(code) || c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC ||
         c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_PC;
}

bool is_title(char32_t code) { return category(code) == UTF8PROC_CATEGORY_LT; }
bool is_cased(char32_t code) { return is_upper(code) || is_lower(code) || is_title(code); }

int decimal_value(char32_t code) {
  if (code >= '0' && code <= '9') return static_cast<int>(code - '0');
  if (code < 0x80 || !is_decimal(code)) return -1;
  // Decimal digits stand in runs of ten that begin at a code whose predecessor is not one of the run.
  if (code >= 0x1D7CE && code <= 0x1D7FF) return static_cast<int>((code - 0x1D7CE) % 10);
  int value = 0;
  while (value < 9 && is_decimal(code - static_cast<char32_t>(value) - 1)) ++value;
  return value;
}

std::string to_upper(std::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  for (std::size_t at = 0; at < utf8.size();) {
    const char32_t code = decode_at(utf8, at);
    if (code < 0x80) out += static_cast<char>(code >= 'a' && code <= 'z' ? code - 32 : code);
    else if (!append_special(special_upper, code, out))
      encode_to(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code))));
  }
  return out;
}

std::string to_lower(std::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  for (std::size_t at = 0; at < utf8.size();) {
    const std::size_t begin = at;
    const char32_t code = decode_at(utf8, at);
    if (code < 0x80) out += static_cast<char>(code >= 'A' && code <= 'Z' ? code + 32 : code);
    else if (code == 0x130) out += "i\xCC\x87";
    else if (code == 0x3A3) encode_to(out, is_final_sigma(utf8, begin, at) ? 0x3C2 : 0x3C3);
    else encode_to(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
  }
  return out;
}

std::string to_casefold(std::string_view utf8) {
  std::string out;
  for (std::size_t at = 0; at < utf8.size();) {
    const char32_t code = decode_at(utf8, at);
    std::string special;
    if (append_special(special_upper, code, special)) out += to_lower(special);
    else
      encode_to(out,
                code == 0x3C2 ? 0x3C3 : static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
  }
  return out;
}

std::string to_title_char(char32_t code) {
  std::string out;
  if (!append_special(special_title, code, out))
    encode_to(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code))));
  return out;
}

}  // namespace tap::jinja
