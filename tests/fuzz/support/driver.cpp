// What libFuzzer calls, for the one target that is linked in.
#include <cstdint>

#include "base/log.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerInitialize(int*, char***);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  tap::log::set_level(tap::log::Level::quiet);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tap::fuzz::targets()->run({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
