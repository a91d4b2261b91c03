// What people say they want found, as questions that models know: "Detect the bird on the roof" is the thing "bird on
// the roof"; "birds ; window and how many trees" is three wants.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tap {

struct Want {
  enum class Kind { detect, segment, point, count };
  Kind kind = Kind::detect;
  std::string thing;  // lower case, without article and full stop
  bool one = false;   // asked for as one: "the bird"
  bool operator==(const Want&) const = default;
};

// Clauses are parted by ";", things within a clause by ",", "and" and "&". In each clause politeness goes; its verb, or
// `how many`, says the kind, and without any it is `usual`. The same words give the same wants. Throws Error(usage)
// when nothing is left to look for.
std::vector<Want> wants_of(std::string_view words, Want::Kind usual);

// "birds on the roof" and "bird on the roof": the noun is the last word before a preposition. English, by rule and a
// few exceptions; a word that is not known to be plural stays.
std::string singular(std::string_view thing);
std::string plural(std::string_view thing);

}  // namespace tap
