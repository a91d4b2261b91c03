// Normalizers of tokenizer.json. Text carries its trust through them, because some added tokens are looked for
// afterwards.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/pretokenize_regex.h"

namespace tap {

struct TrustRun {
  std::size_t end = 0;  // bytes; runs follow one another from 0
  bool trusted = false;
};

struct TracedText {
  std::string text;
  std::vector<TrustRun> runs;  // cover the text; neighbours may be alike
};

struct NormalizeStep {
  enum class Kind { nfc, nfd, nfkc, nfkd, replace_text, replace_regex, prepend, lowercase, strip, strip_accents };
  Kind kind = Kind::nfc;
  std::string pattern, content;
  std::optional<TokenRegex> regex;
  bool left = true, right = true;  // strip
};

// A character made of trusted and other characters is not trusted.
void normalize(const std::vector<NormalizeStep>& steps, TracedText& text);
std::string normalize(const std::vector<NormalizeStep>& steps, std::string_view text);

}  // namespace tap
