// Packed weights kept on disk, so that the second start reads what the first one packed: one file for a model
// and a type, in <cache>/tapetum/packed (XDG_CACHE_HOME, else ~/.cache). It is a copy that may be deleted at any time:
// anything that is wrong with a file (another version, other sources, a damaged part) means that it is not used, and is
// written anew. TAPETUM_PACKED_CACHE names another folder, or is "off".
//
// The files themselves: io/packed_files.h.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tensor/packed_matrix.h"

namespace tap {

class PackedCache {
 public:
  // Smaller ones pack faster than a file is worth.
  static constexpr Dim least_bytes = Dim{32} << 20;
  // All files together; those used longest ago go first.
  static constexpr std::uint64_t most_bytes_kept = std::uint64_t{64} << 30;

  // Of the model in `folder`; `source`: what the weights are made of, files and settings. Nothing is read.
  PackedCache(const std::string& folder, WeightType type, std::string_view source);

  bool enabled() const { return !path_.empty(); }
  const std::string& path() const { return path_; }
  // Reads the whole file into huge pages, with all threads. False when there is none that fits `source`.
  bool read();
  // Of what was read. The matrices share one block of memory.
  std::optional<PackedMatrix> find(const std::string& key) const;
  // Writes the file when it would be worth it; what fails is logged and otherwise does not matter.
  void write(const std::vector<std::pair<std::string, PackedMatrix>>& matrices) const;

 private:
  std::string folder_, path_, source_;
  WeightType type_;
  std::map<std::string, PackedMatrix> held_;
};

}  // namespace tap
