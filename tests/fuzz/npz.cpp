// An .npz archive: its directory, and every array in it.
#include "fuzz.h"
#include "io/npz.h"

namespace {

using namespace tap;

void run(fuzz::Bytes bytes) {
  const NpzLimits limits{.file_bytes = 1 << 18, .unpacked_bytes = 1 << 20, .members = 100};
  const auto npz = Npz::parse(std::string(fuzz::text_of(bytes)), "codec.npz", limits);
  if (!npz) return fuzz::require_readable(npz.error());
  std::size_t total = 0;
  for (const std::string& name : npz->names()) {
    fuzz::require(npz->has(name), "a name that is listed is there");
    const auto tensor = npz->read(name);
    if (!tensor) {
      fuzz::require_readable(tensor.error());
      continue;
    }
    total += static_cast<std::size_t>(tensor->bytes());
  }
  fuzz::require(total <= limits.unpacked_bytes, "arrays stay within the limit");
}

const fuzz::FuzzTarget target("npz", run);

}  // namespace
