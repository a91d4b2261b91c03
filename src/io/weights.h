// A model's tensors by their published names. `w / "layers" / i` scopes names; missing, unused and misshapen tensors
// are collected and come in one error. Matrices are packed while they are read, so the memory peak is the packed
// weights plus one slice.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/dim.h"
#include "tensor/packed_matrix.h"
#include "tensor/tensor.h"

namespace tap {

struct WeightOptions {
  WeightType type = WeightType::bf16;  // of matrices that ask for packing
  // On-disk alternatives: a name is looked up as given, then with each `from` prefix replaced by `to`.
  std::vector<std::pair<std::string, std::string>> prefix_map{};
  bool packed_cache = false;  // io/packed_cache.h: read packed matrices from there, and keep them there
  // Nothing but the headers is read: tensors and matrices have shapes and no numbers, and `planned_bytes` counts what
  // they would hold. A network made of them says what it is and must not compute.
  bool plan_only = false;
};

// A table whose rows are read from its file when they are asked for: of an embedding, an answer needs a few.
class StoredRows {
 public:
  bool defined() const { return file_ != nullptr; }
  Dim rows() const { return rows_; }
  Dim width() const { return width_; }
  // Row `row` as f32 (bf16 and f16 are widened). Throws Error(io | bad_file) when the file no longer has it.
  void read(Dim row, float* out) const;

 private:
  friend class Weights;
  std::shared_ptr<const void> owner_;  // of the files
  const class Safetensors* file_ = nullptr;
  const struct SafetensorEntry* entry_ = nullptr;
  Dim rows_ = 0, width_ = 0;
  DType type_ = DType::f32;
};

class Weights {
 public:
  Weights() = default;  // nothing: only to be assigned to
  // Opens model.safetensors or the shards of model.safetensors.index.json; reads headers only. Throws Error naming the
  // file when they are damaged, absent, pickles (.bin, .pt: with the conversion hint), GGUF, or an adapter only.
  static Weights open(const std::string& folder, const WeightOptions& options = {});

  Weights operator/(std::string_view scope) const;
  Weights operator/(Dim index) const;

  bool has(std::string_view name) const;
  // The tensor as f32 (bf16 and f16 are widened). Wrong shape or absence is remembered for `finish` and zeros of the
  // wanted shape come back, so that one error can list everything.
  Tensor tensor(std::string_view name, const Shape& shape) const;
  Tensor tensor_or_undefined(std::string_view name, const Shape& shape) const;  // absent is fine
  StoredRows stored_rows(std::string_view name, Dim rows, Dim width) const;     // undefined when it cannot be had
  // `name` of shape [out, in] (or any shape whose first axis is out and the rest multiply to in), packed as the options
  // say.
  PackedMatrix matrix(std::string_view name, Dim in, Dim out) const;
  PackedMatrix matrix(std::string_view name, Dim in, Dim out, WeightType type) const;
  // Rows [begin, end) of such a matrix with `rows` of them: one of several layers that are stored in one tensor.
  struct RowRange {
    Dim begin, end, rows;
  };
  PackedMatrix matrix(std::string_view name, Dim in, const RowRange& range, WeightType type) const;
  // The same of a matrix that is stored as [in, out].
  PackedMatrix matrix_transposed(std::string_view name, Dim in, Dim out, WeightType type) const;

  // Call after the model is built: throws one Error with all missing and misshapen tensors (first 8, then a count);
  // tensors that nobody asked for are returned (and logged at -v).
  std::vector<std::string> finish() const;

  struct Entry {
    std::string name, file;
    std::string dtype;  // as in the file: "BF16"
    std::vector<Dim> shape;
    std::uint64_t bytes = 0;
  };
  std::vector<Entry> entries() const;  // all tensors, in file order: for `tapetum show`
  Dim packed_bytes() const;            // of the packed matrices that are still held
  bool plan_only() const;
  struct PlannedBytes {
    Dim matrices = 0, tensors = 0;  // packed matrices; tables, gains and biases
    Dim blocks = 0;                 // both, as the arena's blocks round them up
  };
  PlannedBytes planned_bytes() const;  // of a plan: what has been asked for so far
  // What a plan's network asked of the files' tensors, by their names there: for a writer that keeps the same
  // otherwise.
  struct AskedMatrix {
    std::string name;
    Dim in = 0;
    RowRange range{};
    WeightType type = WeightType::bf16;
    bool transposed = false;  // stored as [in, out]
    bool measured = false;    // stays in bf16 where q8 would harm it
  };
  const std::vector<AskedMatrix>& asked_matrices() const;
  bool asked_as_tensor(std::string_view name) const;  // in its own numbers
  void mark_measured() const;                         // of the matrix asked for last
  // Bytes of a tensor of the files, by its name there, from `offset` on.
  void read_bytes(const Entry& entry, std::uint64_t offset, std::span<std::byte> out) const;
  // The type that the files keep their matrices in already (io/quantized_format.h): no other can be asked for.
  std::optional<WeightType> stored_type() const;
  WeightType type() const;
  // The same tensors for a vision tower: where matrices are q4, its own are q8. Its rows are many, so that 4 bits would
  // save a little memory and cost time and accuracy.
  Weights seeing() const;
  // Whether every matrix so far came from the packed cache. What q8 harms was found out when it was written, so that a
  // matrix asked for in q8 may come in bf16.
  bool from_cache() const;
  void set_type(WeightType type);  // of matrices from now on: for a choice that depends on what the files hold
  std::string full_name(std::string_view name) const;  // `name` behind the scopes, as the model asks for it

 private:
  Tensor tensor_as(std::string_view name, const Shape& shape, bool optional) const;
  struct Shared;
  std::shared_ptr<Shared> shared_;
  std::string prefix_;
  bool seeing_ = false;
};

}  // namespace tap
