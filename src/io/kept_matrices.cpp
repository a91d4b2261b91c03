#include "io/kept_matrices.h"

#include <fmt/format.h>

namespace tap {

namespace {

// What the packed matrices are made of: the files as the system knows them, and where each tensor lies in them.
std::string source_of(WeightType type, std::span<const Safetensors> files) {
  std::string text{name(type)};
  for (const Safetensors& file : files) {
    text += fmt::format(" | {} {}", file.file_name(), file.identity());
    for (const SafetensorEntry& entry : file.entries())
      text += fmt::format(" {} {} {}", entry.name, entry.dtype, entry.begin);
  }
  return text;
}

}  // namespace

void KeptMatrices::open_cache(const std::string& folder, WeightType type, std::span<const Safetensors> files) {
  cache_.emplace(folder, type, source_of(type, files));
  all_found_ = cache_->read();
  writing_ = !all_found_ && cache_->enabled();
}

std::optional<PackedMatrix> KeptMatrices::find(const std::string& key, WeightType type, Dim in, Dim out) {
  if (!cache_) return std::nullopt;
  auto found = cache_->find(key);
  const bool fits = found && found->in() == in && found->out() == out &&
                    (found->type() == type || (found->type() == WeightType::bf16 && type == WeightType::q8));
  all_found_ = all_found_ && fits;
  if (!fits) return std::nullopt;
  held_.emplace_back(found->shared(), found->bytes());
  return found;
}

PackedMatrix KeptMatrices::keep(PackedMatrix matrix, const std::string& key) {
  held_.emplace_back(matrix.shared(), matrix.bytes());
  if (writing_) to_write_.emplace_back(key, matrix);
  return matrix;
}

void KeptMatrices::finish() {
  if (writing_) {
    std::erase_if(to_write_, [](const auto& entry) { return entry.second.shared().use_count() <= 2; });
    cache_->write(to_write_);
    to_write_.clear();
    writing_ = false;
  }
  cache_.reset();
}

Dim KeptMatrices::bytes() const {
  Dim sum = 0;
  for (const auto& [matrix, bytes] : held_)
    if (!matrix.expired()) sum += bytes;
  return sum;
}

}  // namespace tap
