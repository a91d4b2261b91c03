// The files of a model's weights: one, or the shards that an index lists, with an error that says what to do for every
// folder that has neither.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "io/safetensors.h"

namespace tap {

constexpr const char* weight_index_name = "model.safetensors.index.json";

// Throws Error naming the file. Index and shards agree both ways; headers only are read.
std::vector<Safetensors> open_weight_files(const std::string& folder);

Error weight_file_error(const std::string& file, const std::string& problem);  // bad_file: "FILE: PROBLEM"

}  // namespace tap
