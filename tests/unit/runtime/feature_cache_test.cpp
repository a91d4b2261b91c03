#include "runtime/feature_cache.h"

#include <doctest/doctest.h>

using namespace tap;

namespace {

Image grey(Dim width, Dim height, std::uint8_t level = 100) {
  Image image(width, height);
  std::fill(image.pixels.begin(), image.pixels.end(), level);
  return image;
}

}  // namespace

TEST_CASE("pictures of the same bytes but another shape have other keys") {
  CHECK(picture_key("m", "s", grey(30, 150)) != picture_key("m", "s", grey(150, 30)));
  CHECK(picture_key("m", "s", grey(30, 150)) == picture_key("m", "s", grey(30, 150)));
  CHECK(picture_key("m", "s", grey(4, 4)) != picture_key("m", "s", grey(4, 4, 101)));
}

TEST_CASE("model and processor settings are part of the key and do not run together") {
  const Image image = grey(2, 2);
  CHECK(picture_key("a", "s", image) != picture_key("b", "s", image));
  CHECK(picture_key("a", "s", image) != picture_key("a", "t", image));
  CHECK(picture_key("ab", "c", image) != picture_key("a", "bc", image));
}

TEST_CASE("the least recently used picture goes first") {
  FeatureCache cache(2 * 4 * 8);  // two entries of eight floats
  const auto key = [](std::uint8_t i) { return PictureKey{i}; };
  cache.put(key(1), Tensor::full({1, 8}, 1));
  cache.put(key(2), Tensor::full({1, 8}, 2));
  REQUIRE(cache.find(key(1)));
  cache.put(key(3), Tensor::full({1, 8}, 3));
  CHECK(cache.find(key(2)) == nullptr);
  REQUIRE(cache.find(key(1)));
  CHECK(cache.find(key(1))->data<float>()[0] == 1);
  CHECK(cache.find(key(3)) != nullptr);
  CHECK(cache.bytes() == 64);
  cache.put(key(3), Tensor::full({1, 8}, 4));  // again: replaced, not counted twice
  CHECK(cache.bytes() == 64);
  cache.put(key(9), Tensor::full({3, 8}, 4));  // larger than the whole cache: not kept, nothing lost
  CHECK(cache.size() == 2);
}
