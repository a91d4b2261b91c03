// What completions and man pages read out of the tables of commands and flags.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/options.h"

namespace tap::cli {

// What stands in a place of the command line.
struct Place {
  enum class Kind { none, words, models, commands, files };
  Kind kind = Kind::none;
  std::vector<std::string> words;  // of Kind::words
};

Place place_of(const Flag& flag);                       // its value; none: a switch, or free text
Place place_of(const Command& command);                 // its first word
std::vector<std::string_view> command_names();          // without the question
std::vector<std::string> options_of(const Flag& flag);  // "-m", "--model"

// Scripts of `tapetum completions SHELL`.
std::string bash_completion();
std::string zsh_completion();
std::string fish_completion();

// A page of section 1 in roff, of `tapetum man [COMMAND]`.
std::string man_page();
std::string man_page(const Command& command);

}  // namespace tap::cli
