#include "runtime/feature_cache.h"

#include <memory>

#include <openssl/evp.h>

#include "base/error.h"

namespace tap {

namespace {

class Sha256 {
 public:
  Sha256() { ok_ = context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1; }
  void add(const void* data, std::size_t bytes) { ok_ = ok_ && EVP_DigestUpdate(context_.get(), data, bytes) == 1; }
  void add_field(const void* data, std::size_t bytes) {
    const std::uint64_t length = bytes;
    add(&length, sizeof length);
    add(data, bytes);
  }
  PictureKey key() {
    PictureKey key{};
    unsigned length = 0;
    if (!ok_ || EVP_DigestFinal_ex(context_.get(), key.data(), &length) != 1 || length != key.size())
      fail(ErrorCode::internal, "SHA-256 failed");
    return key;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_{EVP_MD_CTX_new(), EVP_MD_CTX_free};
  bool ok_ = false;
};

}  // namespace

PictureKey picture_key(std::string_view model, std::string_view processor_settings, const Image& image) {
  Sha256 sum;
  sum.add_field(model.data(), model.size());
  sum.add_field(processor_settings.data(), processor_settings.size());
  const std::int64_t size[2] = {image.width, image.height};
  sum.add(size, sizeof size);
  sum.add_field(image.pixels.data(), image.pixels.size());
  return sum.key();
}

PictureKey bytes_key(std::string_view bytes) {
  Sha256 sum;
  sum.add(bytes.data(), bytes.size());
  return sum.key();
}

PictureKey owned_key(std::string_view owner, const PictureKey& key) {
  if (owner.empty()) return key;
  Sha256 sum;
  sum.add_field(owner.data(), owner.size());
  sum.add(key.data(), key.size());
  return sum.key();
}

const Tensor* FeatureCache::find(const PictureKey& key) {
  const auto at = entries_.find(key);
  if (at == entries_.end()) return nullptr;
  ages_.splice(ages_.end(), ages_, at->second.age);
  return &at->second.rows;
}

void FeatureCache::drop(const PictureKey& key) {
  const auto at = entries_.find(key);
  if (at == entries_.end()) return;
  bytes_ -= at->second.rows.bytes();
  ages_.erase(at->second.age);
  entries_.erase(at);
}

void FeatureCache::put(const PictureKey& key, Tensor rows) {
  drop(key);
  const Dim bytes = rows.bytes();
  if (bytes > limit_bytes_) return;
  while (bytes_ + bytes > limit_bytes_) {
    const PictureKey oldest = ages_.front();
    drop(oldest);
  }
  std::list<PictureKey> age{key};
  entries_.emplace(key, Entry{std::move(rows), age.begin()});
  ages_.splice(ages_.end(), age);
  bytes_ += bytes;
}

}  // namespace tap
