// Pictures already encoded: SHA-256 of (model, processor settings, width, height, pixels) to feature rows. Least
// recently used go first.
#pragma once

#include <array>
#include <list>
#include <map>
#include <string_view>

#include "codec/image.h"
#include "tensor/tensor.h"

namespace tap {

using PictureKey = std::array<std::uint8_t, 32>;

// Every field is preceded by its length, so that no two inputs run together.
PictureKey picture_key(std::string_view model, std::string_view processor_settings, const Image& image);

PictureKey bytes_key(std::string_view bytes);  // SHA-256 of them
PictureKey owned_key(std::string_view owner, const PictureKey& key);  // of what no other owner shares; "": the key itself

constexpr Dim feature_cache_bytes = Dim{256} << 20;

class FeatureCache {
 public:
  explicit FeatureCache(Dim limit_bytes = feature_cache_bytes) : limit_bytes_(limit_bytes) {}
  const Tensor* find(const PictureKey& key);  // [rows, d], or null; marks it as used
  void put(const PictureKey& key, Tensor rows);
  Dim bytes() const { return bytes_; }
  Dim size() const { return static_cast<Dim>(entries_.size()); }

 private:
  struct Entry {
    Tensor rows;
    std::list<PictureKey>::iterator age;
  };
  void drop(const PictureKey& key);
  Dim limit_bytes_, bytes_ = 0;
  std::list<PictureKey> ages_;  // oldest first
  std::map<PictureKey, Entry> entries_;
};

}  // namespace tap
