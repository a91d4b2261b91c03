// Which matrices a q8 model keeps in bf16.
#include <cstring>
#include <filesystem>

#include <unistd.h>

#include <doctest/doctest.h>

#include "base/file.h"
#include "base/rng.h"
#include "nn/nn.h"

using namespace tap;

namespace {

// model.safetensors with one f32 matrix `name`.weight [64, 256] in a fresh folder.
struct OneMatrix {
  std::filesystem::path folder = std::filesystem::temp_directory_path() / fmt::format("tapetum-linear-{}", ::getpid());
  explicit OneMatrix(std::span<const float> values) {
    std::filesystem::create_directories(folder);
    std::string header =
        fmt::format(R"({{"w.weight":{{"dtype":"F32","shape":[64,256],"data_offsets":[0,{}]}}}})", values.size_bytes());
    while (header.size() % 8) header += ' ';
    const std::uint64_t length = header.size();
    std::string bytes(reinterpret_cast<const char*>(&length), sizeof length);
    bytes += header;
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
    write_file_atomic((folder / "model.safetensors").string(), bytes);
  }
  ~OneMatrix() { std::filesystem::remove_all(folder); }
};

WeightType kept_as(std::span<const float> values, WeightType wanted) {
  const OneMatrix file(values);
  WeightOptions options;
  options.type = wanted;
  const Weights weights = Weights::open(file.folder.string(), options);
  return nn::Linear(weights / "w", 256, 64).weight().type();
}

}  // namespace

TEST_CASE("even weights become q8 and a matrix with outliers stays in bf16") {
  std::vector<float> values(64 * 256);
  Rng rng(1);
  for (float& v : values) v = static_cast<float>(rng.uniform() + rng.uniform() + rng.uniform() - 1.5);
  CHECK(kept_as(values, WeightType::q8) == WeightType::q8);
  for (std::size_t row = 0; row < 64; ++row) values[row * 256 + 17] = 20;  // 40 times the others
  CHECK(kept_as(values, WeightType::q8) == WeightType::bf16);
  CHECK(kept_as(values, WeightType::q4) == WeightType::q4);
  CHECK(kept_as(values, WeightType::f32) == WeightType::f32);
  CHECK(kept_as(std::vector<float>(64 * 256, 0.0f), WeightType::q8) == WeightType::q8);
}
