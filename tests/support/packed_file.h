// A small file as the packed cache writes them, with a few bytes that belong to no matrix.
#pragma once

#include <algorithm>
#include <fstream>
#include <string>

#include "io/packed_files.h"

namespace tap::test {

inline std::string packed_file_bytes(const std::string& model_folder, const std::string& type) {
  using namespace packed_format;
  const std::string data(100, 'x');
  const std::string header =
      to_json_line({{"model", model_folder}, {"type", type}, {"source", "layout"}, {"entries", Json::array()}});
  Prologue start{};
  std::copy(magic.begin(), magic.end(), start.magic);
  start.header_bytes = header.size();
  start.data_begin = sizeof start + header.size();
  start.data_bytes = data.size();
  start.header_sum = sum_of(header.data(), header.size());
  const std::uint64_t sum = sum_of(data.data(), data.size());
  return std::string(reinterpret_cast<const char*>(&start), sizeof start) + header + data +
         std::string(reinterpret_cast<const char*>(&sum), sizeof sum);
}

// In the folder that the environment names; gives its path.
inline std::string write_packed_file(const std::string& model_folder, WeightType type) {
  const std::string path = packed_path(model_folder, type);
  std::ofstream(path, std::ios::binary) << packed_file_bytes(model_folder, std::string(name(type)));
  return path;
}

}  // namespace tap::test
