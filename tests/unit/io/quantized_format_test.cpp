// Matrices that files keep quantized, and the writer of such files.
#include <cstring>
#include <filesystem>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "base/file.h"
#include "base/rng.h"
#include "io/new_folder.h"
#include "io/quantized_format.h"
#include "io/safetensors_writer.h"
#include "io/weights.h"
#include "support/temp_folder.h"
#include "tensor/packed_data.h"

using namespace tap;
using test::TempFolder;

namespace {

Tensor random_tensor(Dim rows, Dim width) {
  Rng rng(7);
  Tensor t = Tensor::empty({rows, width});
  for (float* v = t.write<float>(); v != t.write<float>() + t.elements(); ++v)
    *v = static_cast<float>(2 * rng.uniform() - 1);
  return t;
}

const SafetensorNotes notes_of(WeightType type, const std::string& version = "1") {
  return {{"tapetum.quantized", std::string(name(type))}, {"tapetum.quantized_version", version}};
}

// model.safetensors with the matrix `w` quantized and the tensor `plain`; a part whose name ends with `without` is left
// out.
void write_quantized(const TempFolder& folder, const PackedMatrix& matrix, const SafetensorNotes& notes,
                     const std::string& without = "none") {
  std::vector<NewTensor> tensors{{"plain", "F32", {3}, 12}};
  std::vector<Tensor> values{Tensor::full({3}, 0.5f)};
  const auto parts = quantized_parts("w", matrix.type(), matrix.in(), matrix.out());
  const auto rows = parts_of(matrix.quantized_rows(0, matrix.out()));
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].name.ends_with(without)) continue;
    tensors.push_back({parts[i].name, parts[i].dtype, parts[i].shape, static_cast<std::uint64_t>(parts[i].bytes())});
    values.push_back(rows[i]);
  }
  std::filesystem::remove(folder / "model.safetensors");
  SafetensorsWriter writer(folder / "model.safetensors", "model.safetensors", tensors, notes);
  for (std::size_t i = values.size(); i-- > 0;)  // in any order
    writer.write(i, 0, {values[i].raw(), static_cast<std::size_t>(values[i].bytes())});
  writer.finish();
}

bool same_bytes(const PackedMatrix& a, const PackedMatrix& b) {
  const auto same = [](const std::shared_ptr<Storage>& x, const std::shared_ptr<Storage>& y, Dim bytes) {
    return std::memcmp(x->data(), y->data(), static_cast<std::size_t>(bytes)) == 0;
  };
  const Dim panels = ceil_div(a.out(), kernels::panel_outputs);
  return a.type() == b.type() && a.in() == b.in() && a.out() == b.out() &&
         same(a.data().panels, b.data().panels, panels * kernels::panel_bytes(a.data().pack, a.in())) &&
         (a.type() == WeightType::q4 || same(a.data().scales, b.data().scales, panels * kernels::panel_outputs * 8));
}

std::string problem_of(const Weights& w) {
  try {
    w.finish();
    return "none";
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::bad_file);
    return error.message();
  }
}

}  // namespace

TEST_CASE("a written file reads back, its wide types first and its notes with it") {
  const TempFolder folder;
  const PackedMatrix matrix = PackedMatrix::pack(random_tensor(5, 33), WeightType::q4);
  write_quantized(folder, matrix, notes_of(WeightType::q4));
  const Safetensors file = Safetensors::open(folder / "model.safetensors").value();
  CHECK(file.note("tapetum.quantized") == "q4");
  CHECK(file.note("tapetum.other").empty());
  CHECK(quantized_type(file) == WeightType::q4);
  CHECK(file.read("plain").values<float>()[2] == 0.5f);
  CHECK(file.find("w.q4")->shape == std::vector<Dim>{5, 32});
  CHECK(file.find("w.q4_step")->shape == std::vector<Dim>{5, 2});
  CHECK(file.find("plain")->begin % 8 == 0);
  CHECK(file.find("w.q4_least")->begin % 2 == 0);
  CHECK(file.entries().back().name == "w.q4");
}

TEST_CASE("a quantized matrix, its row ranges and its transpose load to the bytes of the source's") {
  for (const WeightType type : {WeightType::q8, WeightType::q4}) {
    const TempFolder folder;
    const Tensor weight = random_tensor(150, 70);
    write_quantized(folder, PackedMatrix::pack(weight, type), notes_of(type));
    const Weights w = Weights::open(folder.path(), {.type = type});
    CHECK(w.stored_type() == type);
    CHECK(w.has("w"));  // networks ask by the matrix's own name
    CHECK(!w.has("v"));
    CHECK(same_bytes(w.matrix("w", 70, 150), PackedMatrix::pack(weight, type)));
    CHECK(same_bytes(w.matrix("w", 70, {37, 121, 150}, type), PackedMatrix::pack(weight.rows(37, 121), type)));
    CHECK(same_bytes(w.matrix_transposed("w", 70, 150, type), PackedMatrix::pack(weight, type)));
    w.tensor("plain", {3});
    CHECK(w.finish().empty());
    const Weights plan = Weights::open(folder.path(), {.type = type, .plan_only = true});
    CHECK(plan.matrix("w", 70, 150).type() == type);
    CHECK(plan.planned_bytes().matrices == PackedMatrix::bytes_for(type, 70, 150));
  }
}

TEST_CASE("a large matrix is read in slices") {
  const TempFolder folder;
  const Tensor weight = random_tensor(3000, 4000);
  write_quantized(folder, PackedMatrix::pack(weight, WeightType::q8), notes_of(WeightType::q8));
  const Weights w = Weights::open(folder.path(), {.type = WeightType::q8});
  CHECK(same_bytes(w.matrix("w", 4000, 3000), PackedMatrix::pack(weight, WeightType::q8)));
}

TEST_CASE("parts that are missing or misshapen are named with their file") {
  const TempFolder folder;
  const PackedMatrix q8 = PackedMatrix::pack(random_tensor(10, 40), WeightType::q8);
  write_quantized(folder, q8, notes_of(WeightType::q8), ".q8_scale");
  Weights w = Weights::open(folder.path(), {.type = WeightType::q8});
  w.matrix("w", 40, 10);
  CHECK(problem_of(w) == "model.safetensors: w.q8_scale: missing, want F32 [10]");
  write_quantized(folder, q8, notes_of(WeightType::q8));
  w = Weights::open(folder.path(), {.type = WeightType::q8});
  w.matrix("w", 41, 10);
  CHECK(problem_of(w) == "model.safetensors: w.q8: I8 [10, 40], want I8 [10, 41]");
  w = Weights::open(folder.path(), {.type = WeightType::q8});
  w.matrix("absent", 40, 10);
  CHECK(problem_of(w).starts_with("model.safetensors: absent.q8: missing, want I8 [10, 40]; "));
  w = Weights::open(folder.path());
  w.matrix("w", 40, 10, WeightType::bf16);  // its own numbers are not there
  CHECK(problem_of(w) == "model.safetensors: w: missing, config wants [10, 40]");
}

TEST_CASE("a version or type of the format that is not known is refused by file") {
  const TempFolder folder;
  const PackedMatrix q8 = PackedMatrix::pack(random_tensor(10, 40), WeightType::q8);
  write_quantized(folder, q8, notes_of(WeightType::q8, "2"));
  CHECK_THROWS_WITH_AS(Weights::open(folder.path()),
                       "model.safetensors: quantized as \"q8\" in version \"2\" of the format; this tapetum reads q8 "
                       "and q4 in version 1",
                       Error);
  write_quantized(folder, q8, {{"tapetum.quantized", "q3\n"}, {"tapetum.quantized_version", "1"}});
  CHECK_THROWS_WITH_AS(Weights::open(folder.path()), doctest::Contains("model.safetensors: quantized as \"q3"), Error);
}

TEST_CASE("config.json names the method; those of others are not ours") {
  const auto type_of = [](const char* text) { return quantized_type(ConfigReader(Json::parse(text), "config.json")); };
  CHECK(type_of(R"({"quantization_config":{"quant_method":"tapetum","dtype":"q4","version":1}})") == WeightType::q4);
  CHECK(!type_of("{}"));
  CHECK(!type_of(R"({"quantization_config":{"quant_method":"gptq","bits":4}})"));
  CHECK(!type_of(R"({"quantization_config":null})"));
  CHECK_THROWS_WITH_AS(type_of(R"({"quantization_config":{"quant_method":"tapetum","dtype":"q3","version":1}})"),
                       doctest::Contains("config.json: quantization_config.dtype is \"q3\""), Error);
  CHECK_THROWS_WITH_AS(type_of(R"({"quantization_config":{"quant_method":"tapetum","dtype":"q4","version":7}})"),
                       "config.json: quantization_config.version is 7: this tapetum reads version 1", Error);
}

TEST_CASE("[B02] notes of tapetum in a header are limited in number") {
  std::string header = R"({"__metadata__":{"format":"pt")";
  for (int i = 0; i < 17; ++i) header += fmt::format(",\"tapetum.{}\":\"x\"", i);
  const auto parsed = parse_safetensors_header(header + "}}", 0, "x");
  REQUIRE(!parsed.ok());
  CHECK(parsed.error().message() == "x: more than 16 notes of tapetum, the limit");
}

TEST_CASE("a new folder appears whole or not at all") {
  const TempFolder parent;
  const auto names = [&] { return folder_entries(parent.path(), 10); };
  {
    const NewFolder folder(parent / "a", false);
    write_file_atomic(folder.place() + "/file", std::string_view("x"));
    CHECK(!file_exists(parent / "a"));
  }
  CHECK(names().empty());
  const auto publish = [&](const std::string& path, bool replace, const char* file) {
    NewFolder folder(path, replace);
    write_file_atomic(folder.place() + "/" + file, std::string_view("x"));
    folder.publish();
  };
  std::filesystem::create_directory(parent / "a");
  publish(parent / "a/", false, "first");  // an empty folder is taken
  CHECK_THROWS_WITH_AS(publish(parent / "a", false, "second"), doctest::Contains("is there already and not empty"),
                       Error);
  publish(parent / "a", true, "second");
  CHECK(folder_entries(parent / "a", 10) == std::vector<std::string>{"second"});
  CHECK(names() == std::vector<std::string>{"a"});
  CHECK_THROWS_WITH_AS(publish(parent / "a/second", true, "x"), doctest::Contains("is a file"), Error);
  CHECK_THROWS_WITH_AS(publish(parent / "b/c", false, "x"), doctest::Contains("cannot be made: No such file"), Error);
}
