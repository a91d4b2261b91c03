// The header of a safetensors file, as the whole file and as the header alone.
#include <cstring>

#include "fuzz.h"
#include "io/safetensors.h"

namespace {

using namespace tap;

void run(fuzz::Bytes bytes) {
  // The first byte says how much data follows the header: as declared by a whole file, or some number.
  if (bytes.empty()) return;
  std::string_view text = fuzz::text_of(bytes);
  std::uint64_t data_bytes = static_cast<unsigned char>(text.front());
  text.remove_prefix(1);
  if (data_bytes == 0 && text.size() >= 8) {
    std::uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, text.data(), sizeof header_bytes);
    text.remove_prefix(8);
    if (header_bytes > text.size()) return;
    data_bytes = text.size() - header_bytes;
    text = text.substr(0, header_bytes);
  }
  const auto entries = parse_safetensors_header(text, data_bytes, "model.safetensors");
  if (!entries) return fuzz::require_readable(entries.error());
  std::uint64_t at = 0;
  for (const SafetensorEntry& entry : *entries) {
    fuzz::require(entry.begin == at && entry.end >= entry.begin, "tensors lie one behind the other");
    fuzz::require(entry.shape.size() <= max_safetensors_rank, "the rank is limited");
    at = entry.end;
  }
  fuzz::require(at == data_bytes, "tensors cover the data exactly");
}

const fuzz::FuzzTarget target("safetensors", run);

}  // namespace
