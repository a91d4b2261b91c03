// One fuzz target per parser of outside bytes. A target is one file tests/fuzz/NAME.cpp with one FuzzTarget; beside it
// may stand NAME.seeds (patterns of files to begin with, from the repository's root, one a line), NAME.dict (words for
// libFuzzer) and corpus/NAME/ (small inputs, past crashes among them). libFuzzer drives the file as the program
// fuzz_NAME, the unit tests run its corpus.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "base/error.h"

namespace tap::fuzz {

using Bytes = std::span<const std::byte>;

struct FuzzTarget {
  // `run` returns for any bytes whatever: an exception that leaves it is a finding, as is a failed `require`.
  FuzzTarget(std::string_view name, void (*run)(Bytes));
  std::string_view name;
  void (*run)(Bytes);
  const FuzzTarget* next;  // of all targets that are linked in
};

const FuzzTarget* targets();

// Ends the process when a promise of the parser is broken.
void require(bool kept, std::string_view promise);

// An error that a user may read has a message, and a short one.
void require_readable(const Error& error);

inline std::string_view text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

}  // namespace tap::fuzz
