// How a folder of `tapetum quantize` keeps a matrix: in rows, as they were rounded when they were packed, so that
// packing them again rounds nothing. docs/quantize.md describes the format for other programs.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/config_reader.h"
#include "io/safetensors.h"
#include "tensor/packed_matrix.h"

namespace tap {

constexpr int quantized_format_version = 1;
constexpr std::string_view quantized_note = "tapetum.quantized", quantized_version_note = "tapetum.quantized_version";
constexpr const char* quantized_config_key = "quantization_config";
constexpr std::string_view quantized_method = "tapetum";

// A tensor as a file keeps it.
struct StoredTensor {
  std::string name, dtype;
  std::vector<Dim> shape;
  Dim bytes() const;
};

// The tensors that hold the matrix `name` [out, in] in q8 or q4, in the order of `rows_of`.
std::vector<StoredTensor> quantized_parts(std::string_view name, WeightType type, Dim in, Dim out);
// What goes into them, in the same order.
std::vector<Tensor> parts_of(const QuantizedRows& rows);

// Numbers of the model that a stored tensor stands for; those that only scale others are none.
Dim parameters_of(std::string_view name, std::span<const Dim> shape, bool quantized);

// The type that a file says its matrices are kept in; nothing for ordinary files. Throws Error(unsupported) naming the
// file for a version or type that is not known here.
std::optional<WeightType> quantized_type(const Safetensors& file);
// The same of config.json, where other methods are nobody's business here.
std::optional<WeightType> quantized_type(const ConfigReader& config);

struct StoredPlace {
  const Safetensors* file;
  const SafetensorEntry* entry;
};
// Packs rows [begin, end) of a matrix from its parts, whose types and shapes have been checked. `slabs`: where it is to
// lie.
PackedMatrix read_quantized(std::span<const StoredPlace> parts, WeightType type, Dim in, Dim begin, Dim end,
                            PackedSlabs* slabs);

}  // namespace tap
