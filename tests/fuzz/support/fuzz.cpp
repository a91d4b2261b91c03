#include "fuzz.h"

#include <cstdio>
#include <cstdlib>

namespace tap::fuzz {

namespace {
const FuzzTarget* first = nullptr;
}  // namespace

FuzzTarget::FuzzTarget(std::string_view target_name, void (*function)(Bytes))
    : name(target_name), run(function), next(first) {
  first = this;
}

const FuzzTarget* targets() { return first; }

void require(bool kept, std::string_view promise) {
  if (kept) return;
  std::fprintf(stderr, "broken promise: %.*s\n", static_cast<int>(promise.size()), promise.data());
  std::abort();
}

void require_readable(const Error& error) {
  require(!error.message().empty(), "an error has a message");
  require(error.message().size() < 64 * 1024, "a message is short");
}

}  // namespace tap::fuzz
