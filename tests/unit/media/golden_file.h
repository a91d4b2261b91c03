// Tensors of a golden file, for tests: a whole safetensors file held in memory.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "base/file.h"
#include "codec/image.h"
#include "io/json.h"

namespace tap::test {

class GoldenFile {
 public:
  explicit GoldenFile(const std::string& path) {
    Result<std::string> text = read_file(path, std::size_t{64} << 20);
    REQUIRE_MESSAGE(text.ok(), path);
    text_ = std::move(text).value();
    std::uint64_t length = 0;
    std::memcpy(&length, text_.data(), 8);
    header_ = parse_json(std::string_view(text_).substr(8, length), path).value();
    data_ = 8 + length;
  }
  bool has(const std::string& name) const { return header_.contains(name); }
  std::vector<Dim> shape(const std::string& name) const { return header_.at(name).at("shape").get<std::vector<Dim>>(); }
  template <class T>
  std::vector<T> values(const std::string& name) const {
    const auto offsets = header_.at(name).at("data_offsets").get<std::vector<std::size_t>>();
    std::vector<T> out((offsets[1] - offsets[0]) / sizeof(T));
    std::memcpy(out.data(), text_.data() + data_ + offsets[0], out.size() * sizeof(T));
    return out;
  }
  Image image(const std::string& name) const {  // uint8 [height, width, 3]
    Image out(shape(name)[1], shape(name)[0]);
    out.pixels = values<std::uint8_t>(name);
    return out;
  }

 private:
  std::string text_;
  std::size_t data_ = 0;
  Json header_;
};

}  // namespace tap::test
