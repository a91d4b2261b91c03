// The packed matrices that Weights hands out: their way from and to the packed cache, and what they hold in memory.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/packed_cache.h"
#include "io/safetensors.h"

namespace tap {

class KeptMatrices {
 public:
  // From now on matrices come from the cache when it has them, else go there in `finish`. `folder` and `files` are the
  // model's.
  void open_cache(const std::string& folder, WeightType type, std::span<const Safetensors> files);
  // What the cache holds under `key`, if it is such a matrix. One that q8 harms was kept in bf16.
  std::optional<PackedMatrix> find(const std::string& key, WeightType type, Dim in, Dim out);
  PackedMatrix keep(PackedMatrix matrix, const std::string& key);  // one that `find` did not give
  // Once the model is built: what it holds is written, what it gave up is not.
  void finish();

  bool all_found() const { return all_found_; }  // everything asked for so far was in the cache
  Dim bytes() const;                             // of those that are still held

 private:
  // One that its owner gave up (packed again in another type) no longer counts.
  std::vector<std::pair<std::weak_ptr<const void>, Dim>> held_;
  std::optional<PackedCache> cache_;
  std::vector<std::pair<std::string, PackedMatrix>> to_write_;
  bool writing_ = false, all_found_ = false;
};

}  // namespace tap
