// Which matrices a q8 model keeps in bf16, and tables of a type that look-ups do not read.
#include <cstring>
#include <filesystem>

#include <unistd.h>

#include <doctest/doctest.h>

#include "base/file.h"
#include "base/rng.h"
#include "io/quantized_format.h"
#include "io/safetensors_writer.h"
#include "nn/nn.h"
#include "support/temp_folder.h"

using namespace tap;

namespace {

// model.safetensors with one matrix w.weight [64, 256] in a fresh folder.
struct OneMatrix {
  std::filesystem::path folder = std::filesystem::temp_directory_path() / fmt::format("tapetum-linear-{}", ::getpid());
  explicit OneMatrix(std::span<const std::byte> values, const char* dtype = "F32") {
    std::filesystem::create_directories(folder);
    std::string header =
        fmt::format(R"({{"w.weight":{{"dtype":"{}","shape":[64,256],"data_offsets":[0,{}]}}}})", dtype, values.size());
    while (header.size() % 8) header += ' ';
    const std::uint64_t length = header.size();
    std::string bytes(reinterpret_cast<const char*>(&length), sizeof length);
    bytes += header;
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size());
    write_file_atomic((folder / "model.safetensors").string(), bytes);
  }
  ~OneMatrix() { std::filesystem::remove_all(folder); }
};

WeightType kept_as(std::span<const float> values, WeightType wanted) {
  const OneMatrix file(std::as_bytes(values));
  WeightOptions options;
  options.type = wanted;
  const Weights weights = Weights::open(file.folder.string(), options);
  const nn::Linear linear(weights / "w", 256, 64);
  CHECK(weights.packed_bytes() == linear.weight().bytes());  // the pack that was given up is not counted
  return linear.weight().type();
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

TEST_CASE("a table stored in f16 is looked up as f32 and one of integers is refused by name") {
  const Tensor values = Tensor::full({64, 256}, 0.5f);
  const std::vector<TokenId> ids{63};
  for (const WeightType type : {WeightType::bf16, WeightType::q8})
    for (const auto head : {nn::Embedding::Head::separate, nn::Embedding::Head::tied}) {
      const Tensor half = values.to(DType::f16);
      const OneMatrix file({half.raw(), static_cast<std::size_t>(half.bytes())}, "F16");
      WeightOptions options;
      options.type = type;
      const Weights weights = Weights::open(file.folder.string(), options);
      CHECK(nn::Embedding(weights / "w", 64, 256, head)(ids).row(0)[255] == 0.5f);
      weights.finish();
    }
  const Tensor integers = Tensor::zeros({64, 256}, DType::i64);
  const OneMatrix file({integers.raw(), static_cast<std::size_t>(integers.bytes())}, "I64");
  const Weights weights = Weights::open(file.folder.string());
  nn::Embedding(weights / "w", 64, 256);
  CHECK_THROWS_WITH_AS(weights.finish(), "model.safetensors: w.weight: dtype I64, want F32, BF16 or F16", Error);
}

TEST_CASE("of a fused matrix in a quantized file a part that q8 harms is read in its own numbers") {
  Tensor weight = Tensor::empty({192, 256});
  Rng rng(1);
  for (Dim i = 0; i < weight.elements(); ++i)
    weight.write<float>()[i] = static_cast<float>(rng.uniform() + rng.uniform() - 1);
  for (Dim row = 0; row < 64; ++row) weight.row_write(row)[17] = 20;
  std::vector<NewTensor> tensors{{"w.weight", "F32", {192, 256}, 192 * 256 * 4}};
  std::vector<Tensor> values{weight};
  for (const StoredTensor& part : quantized_parts("w.weight", WeightType::q8, 256, 192))
    tensors.push_back({part.name, part.dtype, part.shape, static_cast<std::uint64_t>(part.bytes())});
  for (const Tensor& part : parts_of(PackedMatrix::pack(weight, WeightType::q8).quantized_rows(0, 192)))
    values.push_back(part);
  const auto write = [&](const test::TempFolder& folder, std::size_t count, const SafetensorNotes& notes) {
    SafetensorsWriter file(folder / "model.safetensors", "model.safetensors",
                           {tensors.begin(), tensors.begin() + static_cast<std::ptrdiff_t>(count)}, notes);
    for (std::size_t i = 0; i < count; ++i)
      file.write(i, 0, {values[i].raw(), static_cast<std::size_t>(values[i].bytes())});
    file.finish();
  };
  const test::TempFolder source, stored;
  write(source, 1, {});
  write(stored, 3, {{"tapetum.quantized", "q8"}, {"tapetum.quantized_version", "1"}});
  const Weights a = Weights::open(source.path(), {.type = WeightType::q8});
  const Weights b = Weights::open(stored.path(), {.type = WeightType::q8});
  for (const Dim begin : {0, 64, 128}) {
    const auto part = [&](const Weights& w) { return nn::Linear::part(w / "w", 256, {begin, begin + 64, 192}); };
    const nn::Linear wanted = part(a), got = part(b);
    CHECK(wanted.weight().type() == (begin == 0 ? WeightType::bf16 : WeightType::q8));
    CHECK(got.weight().type() == wanted.weight().type());
    const Tensor x = wanted.weight().unpack(), y = got.weight().unpack();
    CHECK(std::memcmp(x.raw(), y.raw(), static_cast<std::size_t>(x.bytes())) == 0);
  }
  CHECK(b.finish().empty());
}
