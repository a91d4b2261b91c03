// Template source to tokens, with trim_blocks, lstrip_blocks and the whitespace signs already applied.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tap::jinja {

enum class TokenType : std::uint8_t {
  data,
  variable_begin,
  variable_end,
  block_begin,
  block_end,
  name,
  string,
  integer,
  real,
  op,
  end
};

struct Token {
  TokenType type;
  int line;
  std::string text;  // data, name, string (unescaped), operator
  std::int64_t integer = 0;
  double real = 0;
};

// Throws SyntaxFailure.
struct SyntaxFailure {
  int line;
  std::string message;
};
std::vector<Token> tokenize(std::string_view source);

}  // namespace tap::jinja
