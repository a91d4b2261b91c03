// Writes a model's folder anew with its matrices quantized: what loading the source in that type would pack, kept in
// rows (io/quantized_format.h). One piece of a matrix is in memory at a time, whatever the model's size.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/model.h"

namespace tap {

struct QuantizeOptions {
  WeightType type = WeightType::q8;           // or q4
  bool replace = false;                       // a folder that was written so before may be there already
  std::uint64_t shard_bytes = 4'000'000'000;  // of tensors in one file; one tensor is never cut
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};  // bytes of the source read
};

struct QuantizedMatrix {
  std::string name;                  // of the source's tensor
  WeightType type = WeightType::q8;  // of q4 a vision tower's are q8
  Dim out = 0, in = 0;
  double relative_rms = 0;  // of its weights' error, relative to theirs; NaN where a weight is not finite
};

struct QuantizedFolder {
  std::string folder;
  std::vector<QuantizedMatrix> matrices;      // in the order of the source's files
  std::vector<std::string> exact;             // matrices that the engine never quantizes, or that q8 would harm
  std::vector<std::string> files;             // of weights
  std::uint64_t source_bytes = 0, bytes = 0;  // of weights
};

// `source`: opened without weights. Throws Error: a source that is quantized already, a folder that cannot be written
// or is there. After an Error nothing is left behind.
QuantizedFolder quantize(const Model& source, const std::string& folder, const QuantizeOptions& options);

}  // namespace tap
