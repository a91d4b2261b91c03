#include <cstring>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "base/file.h"
#include "base/rng.h"
#include "io/safetensors.h"
#include "io/weights.h"
#include "support/temp_folder.h"

using namespace tap;
using test::safetensors_bytes;
using test::TempFolder;

namespace {

// One tensor `w` of `shape` with values that bf16 and f16 hold exactly, stored as `dtype`.
std::string file_of(const std::string& dtype, const std::vector<Dim>& shape) {
  Dim elements = 1;
  for (const Dim d : shape) elements *= d;
  const std::size_t bytes_each = dtype == "F32" ? 4 : 2;
  std::string data(static_cast<std::size_t>(elements) * bytes_each, '\0');
  Rng rng(3);
  for (std::size_t i = 0; i < static_cast<std::size_t>(elements); ++i) {
    const std::uint32_t draw = rng.next_u32();
    const auto sign = static_cast<std::uint16_t>((draw >> 31) << 15);
    const auto mantissa = static_cast<std::uint16_t>(draw & 15u);  // 1 + m/16, times 2^-4
    const auto brain = static_cast<std::uint16_t>(sign | (123u << 7) | (mantissa << 3));
    const auto half = static_cast<std::uint16_t>(sign | (11u << 10) | (mantissa << 6));
    const float value = to_f32(bf16{brain});
    char* const to = data.data() + i * bytes_each;
    if (dtype == "F32") std::memcpy(to, &value, 4);
    else std::memcpy(to, dtype == "F16" ? &half : &brain, 2);
  }
  return safetensors_bytes(fmt::format(R"({{"w":{{"dtype":"{}","shape":[{}],"data_offsets":[0,{}]}}}})", dtype,
                                       fmt::join(shape, ","), data.size()),
                           data);
}

bool same_values(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(a.bytes())) == 0;
}

}  // namespace

TEST_CASE("a matrix streamed in slices equals the tensor whatever it is stored as") {
  for (const char* dtype : {"F32", "BF16", "F16"}) {
    const TempFolder folder;
    folder.write("model.safetensors", file_of(dtype, {1100, 4000}));  // two slices at least
    const Weights w = Weights::open(folder.path());
    const Tensor whole = w.tensor("w", {1100, 4000});
    for (const WeightType type : {WeightType::f32, WeightType::bf16}) {
      const PackedMatrix packed = w.matrix("w", 4000, 1100, type);
      CHECK(packed.in() == 4000);
      CHECK(packed.out() == 1100);
      CHECK_MESSAGE(same_values(packed.unpack(), whole), dtype);
      CHECK(w.packed_bytes() == packed.bytes());  // the one of the other type is gone
    }
    CHECK(w.packed_bytes() == 0);
  }
}

TEST_CASE("a matrix quantised in slices equals one quantised at once") {
  const TempFolder folder;
  folder.write("model.safetensors", file_of("BF16", {1100, 4000}));
  const Weights w = Weights::open(folder.path(), {.type = WeightType::q8});
  const Tensor whole = w.tensor("w", {1100, 4000});
  CHECK(w.matrix("w", 4000, 1100).type() == WeightType::q8);
  for (const WeightType type : {WeightType::q8, WeightType::q4})
    CHECK(same_values(w.matrix("w", 4000, 1100, type).unpack(), PackedMatrix::pack(whole, type).unpack()));
}

TEST_CASE("a convolution's weight is a matrix of its flattened tail") {
  const TempFolder folder;
  folder.write("model.safetensors", file_of("BF16", {8, 3, 4, 4}));
  const Weights w = Weights::open(folder.path());
  CHECK(same_values(w.matrix("w", 48, 8).unpack(), w.tensor("w", {8, 3, 4, 4}).reshape({8, 48})));
  CHECK(w.finish().empty());
  w.matrix("w", 47, 8);
  w.matrix("absent", 16, 2);
  CHECK_THROWS_WITH_AS(w.finish(),
                       "model.safetensors: w: shape [8, 3, 4, 4], config wants [8, 47]; "
                       "model.safetensors: absent: missing, config wants [2, 16]",
                       Error);
}

TEST_CASE("[F03] a file that is cut while a matrix is read gives an error that names it") {
  const TempFolder folder;
  folder.write("model.safetensors", file_of("BF16", {64, 64}));
  const Weights w = Weights::open(folder.path());
  std::filesystem::resize_file(folder / "model.safetensors",
                               std::filesystem::file_size(folder / "model.safetensors") - 2);
  CHECK_THROWS_WITH_AS(w.matrix("w", 64, 64), doctest::Contains("model.safetensors"), Error);
}

TEST_CASE("reading a matrix holds the packed weights and one slice") {
  const TempFolder folder;
  folder.write("model.safetensors", file_of("BF16", {4096, 4096}));  // 32 MiB
  ExecContext context(1);
  const ExecContext::Scope scope(context);
  const PackedMatrix packed = Weights::open(folder.path()).matrix("w", 4096, 4096, WeightType::bf16);
  CHECK(context.arena()->stats().peak_bytes <= static_cast<std::size_t>(packed.bytes()) + (std::size_t{11} << 20));
}
