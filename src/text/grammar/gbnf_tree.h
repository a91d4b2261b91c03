// Reading GBNF: the syntax tree of its rules. Knows no automata.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/grammar/automaton.h"

namespace tap::grammar {

struct Gbnf {
  enum class Kind : std::uint8_t { literal, chars, concat, alternate, repeat, rule };
  struct Node {
    Kind kind;
    std::vector<std::uint32_t> parts = {};  // nodes
    std::string text = {};                  // literal
    CodeSet set = {};                       // chars
    std::uint32_t least = 0, most = 0;      // repeat; kNoMost: any number
    std::uint32_t rule = 0;
  };
  struct RuleText {
    std::string name;
    std::size_t line;    // where it stands, or where it was first used
    bool given = false;  // it has a body
    std::uint32_t body = 0;
  };
  std::vector<Node> nodes;
  std::vector<RuleText> rules;  // all of them given; 0 is root
};

// Throws Error naming the line.
Gbnf parse_gbnf(std::string_view text, const Budget& budget);

}  // namespace tap::grammar
