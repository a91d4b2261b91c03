// The safetensors container (github.com/huggingface/safetensors, "Format"): 8 bytes of header length, a JSON header,
// the data. Everything is checked before anything is read: header ≤ 64 MiB, ≤ 200 000 tensors, unique names, dtype ×
// shape = bytes with checked products, offsets contiguous and exhaustive, the header covering the file exactly.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/dim.h"
#include "base/file.h"
#include "tensor/tensor.h"

namespace tap {

struct SafetensorEntry {
  std::string name, dtype;  // dtype as in the file: "F32", "BF16", "F16", "I64", "I32", "U8", "BOOL", …
  std::vector<Dim> shape;
  std::uint64_t begin = 0, end = 0;  // bytes from the start of the file
};

constexpr std::uint64_t max_safetensors_header_bytes = std::uint64_t{64} << 20;
constexpr std::size_t max_safetensors_tensors = 200'000;
constexpr std::size_t max_safetensors_rank = 16;
constexpr std::size_t max_safetensors_notes = 16;

// What `__metadata__` says under keys that begin with "tapetum.": of anybody else's nothing is kept.
using SafetensorNotes = std::vector<std::pair<std::string, std::string>>;

// The header alone: `header` is the JSON, `data_bytes` what follows it in the file. The entries come in offset order,
// their offsets still counted from the end of the header. Memory is bounded by the header's size: no tree is built.
Result<std::vector<SafetensorEntry>> parse_safetensors_header(std::string_view header, std::uint64_t data_bytes,
                                                              std::string_view what, SafetensorNotes* notes = nullptr);

// The Tensor type of a dtype's name ("BF16"); BOOL is u8, none for those without one (F8_E4M3, F64, …).
std::optional<DType> tensor_dtype(std::string_view dtype);

class Safetensors {
 public:
  static Result<Safetensors> open(const std::string& path);
  const std::vector<SafetensorEntry>& entries() const { return entries_; }  // in offset order
  const SafetensorEntry* find(std::string_view name) const;
  std::string_view note(std::string_view key) const;  // of `__metadata__`; empty when it says nothing
  // The tensor in its own dtype (F32, BF16, F16, I32, I64, U8, BOOL as u8); throws when the dtype has no Tensor type.
  Tensor read(std::string_view name) const;
  // Rows [begin, end) along the first axis, for streaming.
  Tensor read_rows(const SafetensorEntry& entry, Dim begin, Dim end) const;
  // `out` is filled from byte `offset` of the tensor's data; both must lie inside it.
  void read_bytes(const SafetensorEntry& entry, std::uint64_t offset, std::span<std::byte> out) const;
  const std::string& path() const { return file_.path(); }
  const std::string& identity() const { return file_.identity(); }  // File::identity
  std::string_view file_name() const;  // the last part of the path, as errors name it

 private:
  Safetensors(File file, std::vector<SafetensorEntry> entries, SafetensorNotes notes);
  File file_;
  std::vector<SafetensorEntry> entries_;
  SafetensorNotes notes_;
  std::vector<std::uint32_t> by_name_;  // entries sorted by name, for find
};

}  // namespace tap
