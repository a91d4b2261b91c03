// A quantized folder of every family: loading it is loading the source in that type, to the bit.
#include "golden.h"

#include <cstring>
#include <fstream>

#include <doctest/doctest.h>

#include "support/temp_folder.h"
#include "tasks/agreement.h"
#include "tasks/quantize.h"

using namespace tap;
using test::TempFolder;

namespace {

constexpr std::array both_types{WeightType::q8, WeightType::q4};

std::unique_ptr<Model> load(const std::string& folder, Dtype dtype = Dtype::automatic, bool weights = true) {
  LoadOptions options;
  options.dtype = dtype;
  options.weights = weights;
  return load_model(folder, options);
}

QuantizedFolder quantized(const std::string& source, const std::string& folder, const QuantizeOptions& options) {
  return quantize(*load(source, *parse_dtype(name(options.type)), false), folder, options);
}

// Logits over a text, and what the tower makes of a picture.
void check_same(const Model& a, const Model& b) {
  CHECK(a.weight_type() == b.weight_type());
  CHECK(a.weights().packed_bytes() == b.weights().packed_bytes());
  for (const GivenText& text : text_windows(a, "text", "A red bird sits on the roof of a house.", 64)) {
    const TokenScores first = score(a, text), second = score(b, text);
    CHECK(first.logprob == second.logprob);
    CHECK(first.likeliest == second.likeliest);
  }
  if (a.network().shape().patch_px < 1) return;
  const auto image = golden::picture(60, 40);
  const Medium medium{image};
  const ImagePlan plan = a.processor().plan(image->width, image->height);
  PictureEncoder first(a, nullptr), second(b, nullptr);
  const Tensor x = first.rows(first.key_of(medium), medium, plan), y = second.rows(second.key_of(medium), medium, plan);
  REQUIRE(x.shape() == y.shape());
  CHECK(std::memcmp(x.raw(), y.raw(), static_cast<std::size_t>(x.bytes())) == 0);
}

std::string load_error(const std::string& folder, Dtype dtype) {
  try {
    load(folder, dtype);
    return "loaded";
  } catch (const Error& error) {
    return error.message();
  }
}

}  // namespace

TEST_CASE("a quantized folder of any family gives the source's numbers in that type, to the bit") {
  for (const golden::Folder& golden : golden::folders())
    for (const WeightType type : both_types) {
      CAPTURE(golden.name);
      CAPTURE(name(type));
      const TempFolder parent;
      // Many files in one of the types.
      const std::uint64_t shard = type == WeightType::q8 ? 4'000'000'000 : 30'000;
      const QuantizedFolder made = quantized(golden.checkpoint, parent / "new", {.type = type, .shard_bytes = shard});
      CHECK((made.files.size() > 1) == (type == WeightType::q4));
      CHECK(made.bytes < made.source_bytes);
      CHECK(!made.matrices.empty());
      for (const QuantizedMatrix& matrix : made.matrices) {
        CHECK(matrix.relative_rms > 0);
        CHECK(matrix.relative_rms < (matrix.type == WeightType::q8 ? 0.02 : 0.15));
      }
      const auto same = load(parent / "new"), wanted = load(golden.checkpoint, *parse_dtype(name(type)));
      check_same(*wanted, *same);
      CHECK(same->stored_type() == type);
      CHECK(load_error(parent / "new", Dtype::f32) ==
            fmt::format("this model's weights are stored in {0}: --dtype f32 is not in them; use auto or {0}, or load "
                        "the model that they were made from",
                        name(type)));
      CHECK_THROWS_WITH_AS(quantized(parent / "new", parent / "again", {.type = type}),
                           doctest::Contains("is quantized to"), Error);
      CHECK(!file_exists(parent / "again"));
    }
}

namespace {

// A copy of Qwen2.5-VL's checkpoint whose tensor with this ending has another value in column 1 of rows [0, rows).
std::string patched(const TempFolder& parent, const std::string& ending, Dim rows, float value, std::string& tensor) {
  std::filesystem::copy(golden::root + "/qwen2_5_vl/checkpoint", parent / "source");
  std::string file;
  for (const auto& entry : Weights::open(parent / "source").entries())
    if (entry.name.ends_with(ending)) tensor = entry.name, file = entry.file;
  REQUIRE(!tensor.empty());
  const Safetensors before = Safetensors::open(parent / "source/" + file).value();
  const SafetensorEntry& entry = *before.find(tensor);
  Tensor values = before.read(tensor);
  REQUIRE(values.dtype() == DType::f32);
  for (Dim row = 0; row < rows; ++row) values.row_write(row)[1] = value;
  std::fstream out(parent / "source/" + file, std::ios::in | std::ios::out | std::ios::binary);
  out.seekp(static_cast<std::streamoff>(entry.begin));
  out.write(reinterpret_cast<const char*>(values.raw()), values.bytes());
  return parent / "source";
}

}  // namespace

TEST_CASE("a matrix that q8 would harm stays as it is, and is not rounded when it is loaded") {
  const TempFolder parent;
  std::string name;
  const std::string source = patched(parent, "merger.mlp.0.weight", 128, 3000, name);
  const QuantizedFolder made = quantized(source, parent / "new", {.type = WeightType::q8});
  CHECK(std::ranges::count(made.exact, name) == 1);
  const Safetensors after = Safetensors::open(parent / "new/model.safetensors").value();
  CHECK(after.find(name));
  CHECK(!after.find(name + ".q8"));
  check_same(*load(source, Dtype::q8), *load(parent / "new"));
}

TEST_CASE("weights and config.json that do not belong together are refused") {
  const TempFolder parent;
  const std::string source = golden::root + "/smolvlm/checkpoint";
  quantized(source, parent / "new", {.type = WeightType::q8});
  std::filesystem::copy_file(source + "/config.json", parent / "new/config.json",
                             std::filesystem::copy_options::overwrite_existing);
  CHECK(load_error(parent / "new", Dtype::automatic) ==
        "config.json: quantization_config says no quantized weights, the safetensors hold q8; the files do not belong "
        "together");
}

TEST_CASE("only a quantized folder is replaced") {
  const TempFolder parent;
  const std::string source = golden::root + "/smolvlm/checkpoint";
  parent.write("other/notes.txt", "mine");
  CHECK_THROWS_WITH_AS(quantized(source, parent / "other", {.type = WeightType::q8}),
                       doctest::Contains("--force replaces it"), Error);
  CHECK_THROWS_WITH_AS(quantized(source, parent / "other", {.type = WeightType::q8, .replace = true}),
                       doctest::Contains("holds something else than a quantized model"), Error);
  quantized(source, parent / "new", {.type = WeightType::q8});
  quantized(source, parent / "new", {.type = WeightType::q4, .replace = true});
  CHECK(load(parent / "new", Dtype::automatic, false)->weight_type() == WeightType::q4);
  CHECK(folder_entries(parent.path(), 10).size() == 2);
}

TEST_CASE("a model agrees with itself at every token") {
  const auto model = load(golden::root + "/smolvlm/checkpoint", Dtype::f32);
  const auto windows = text_windows(*model, "text", "A bird, a house and a tree; nothing more to say of it.", 8);
  REQUIRE(windows.size() > 1);
  std::vector<TokenScores> scores;
  std::size_t tokens = 0;
  for (const GivenText& window : windows) {
    CHECK(window.prepared.prompt.rows() <= 8);
    scores.push_back(score(*model, window));
    CHECK(scores.back().logprob.size() == static_cast<std::size_t>(window.answer));
    tokens += scores.back().logprob.size();
  }
  CHECK(top1_agreement(scores, scores) == 1);
  CHECK(perplexity(scores) > 1);
  CHECK(std::isnan(perplexity({})));
  // What it answers is what it finds likeliest.
  const GivenText given = answered(*model, "picture", Conversation().user("What is it?", {golden::picture(60, 40)}), 5);
  const TokenScores own = score(*model, given);
  REQUIRE(own.likeliest.size() == static_cast<std::size_t>(given.answer));
  for (std::size_t i = 0; i < own.likeliest.size(); ++i)
    CHECK(own.likeliest[i] == given.prepared.prompt.ids[given.prepared.prompt.ids.size() - own.likeliest.size() + i]);
}
