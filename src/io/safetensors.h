// The safetensors container (github.com/huggingface/safetensors, "Format"): 8 bytes of header length, a JSON header, the data.
// Everything is checked before anything is read: header ≤ 64 MiB, ≤ 200 000 tensors, unique names, dtype × shape = bytes with
// checked products, offsets contiguous and exhaustive, the header covering the file exactly.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/dim.h"
#include "base/file.h"
#include "tensor/tensor.h"

namespace tap {

struct SafetensorEntry {
  std::string name, dtype;       // dtype as in the file: "F32", "BF16", "F16", "I64", "I32", "U8", "BOOL", …
  std::vector<Dim> shape;
  std::uint64_t begin = 0, end = 0;   // bytes from the start of the file
};

// The header alone: `header` is the JSON, `data_bytes` what follows it in the file.
Result<std::vector<SafetensorEntry>> parse_safetensors_header(std::string_view header, std::uint64_t data_bytes, std::string_view what);

class Safetensors {
 public:
  static Result<Safetensors> open(const std::string& path);
  const std::vector<SafetensorEntry>& entries() const { return entries_; }   // in offset order
  const SafetensorEntry* find(std::string_view name) const;
  // The tensor in its own dtype (F32, BF16, F16, I32, I64, U8, BOOL as u8); throws when the dtype has no Tensor type.
  Tensor read(std::string_view name) const;
  // Rows [begin, end) along the first axis, for streaming.
  Tensor read_rows(const SafetensorEntry& entry, Dim begin, Dim end) const;
  const std::string& path() const { return file_.path(); }

 private:
  Safetensors(File file, std::vector<SafetensorEntry> entries);
  File file_;
  std::vector<SafetensorEntry> entries_;
  std::unordered_map<std::string, std::size_t> index_;
};

}  // namespace tap
