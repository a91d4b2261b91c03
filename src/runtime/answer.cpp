#include "runtime/answer.h"

#include <string_view>

namespace tap {

namespace {

std::string without_blank_ends(std::string_view text) {
  constexpr std::string_view blanks = " \n\t\r";
  const std::size_t begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(blanks) - begin + 1));
}

}  // namespace

Answer answer_of(const TokenLoop& loop, std::string text, const Timings& timings, std::string prompt_sent) {
  return {loop.constrained() ? std::move(text) : without_blank_ends(text),
          loop.finish_reason(),
          loop.output(),
          loop.logprobs(),
          timings,
          std::move(prompt_sent)};
}

}  // namespace tap
