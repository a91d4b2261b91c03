#include "text/cardinal.h"

#include <array>
#include <string_view>

namespace tap {

std::string cardinal(Dim n) {
  static constexpr std::array<std::string_view, 20> small{
      "zero", "one",    "two",    "three",    "four",     "five",    "six",     "seven",     "eight",    "nine",
      "ten",  "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
  static constexpr std::array<std::string_view, 10> tens{"",      "",      "twenty",  "thirty", "forty",
                                                         "fifty", "sixty", "seventy", "eighty", "ninety"};
  const auto word = [](const auto& words, Dim i) { return std::string(words[static_cast<std::size_t>(i)]); };
  if (n < 20) return word(small, n);
  if (n < 100) return word(tens, n / 10) + (n % 10 ? "-" + word(small, n % 10) : "");
  if (n < 1000) return word(small, n / 100) + " hundred" + (n % 100 ? " and " + cardinal(n % 100) : "");
  return std::to_string(n);
}

}  // namespace tap
