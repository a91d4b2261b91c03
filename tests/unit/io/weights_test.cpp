#include "io/weights.h"

#include <cstring>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "support/temp_folder.h"

using namespace tap;
using test::safetensors_bytes;
using test::TempFolder;

namespace {

struct Stored {
  std::string name, dtype;
  std::vector<Dim> shape;
  std::string bytes;
};

std::string file_of(const std::vector<Stored>& tensors) {
  std::string header = "{", data;
  for (const Stored& t : tensors) {
    header += fmt::format("{}\"{}\":{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                          header.size() > 1 ? "," : "", t.name, t.dtype, fmt::join(t.shape, ","), data.size(),
                          data.size() + t.bytes.size());
    data += t.bytes;
  }
  return safetensors_bytes(header + "}", data);
}

Stored f32(const std::string& name, const std::vector<Dim>& shape, float start = 0) {
  Dim n = 1;
  for (const Dim d : shape) n *= d;
  std::string bytes;
  for (Dim i = 0; i < n; ++i) {
    const float value = start + static_cast<float>(i) * 0.5f;
    bytes.append(reinterpret_cast<const char*>(&value), 4);
  }
  return {name, "F32", shape, bytes};
}

Stored bits16(const std::string& name, const std::string& dtype, const std::vector<std::uint16_t>& bits) {
  return {name,
          dtype,
          {static_cast<Dim>(bits.size())},
          std::string(reinterpret_cast<const char*>(bits.data()), bits.size() * 2)};
}

std::string index_of(const std::vector<std::pair<std::string, std::string>>& map, std::uint64_t total = 0) {
  std::string text = "{\"metadata\":{\"total_size\":" + std::to_string(total) + "},\"weight_map\":{";
  for (std::size_t i = 0; i < map.size(); ++i)
    text += fmt::format("{}\"{}\":\"{}\"", i ? "," : "", map[i].first, map[i].second);
  return text + "}}";
}

Error error_of(const TempFolder& folder) {
  try {
    Weights::open(folder.path());
  } catch (const Error& error) {
    CHECK(error.message().find('\n') == std::string::npos);
    return error;
  }
  FAIL("no error");
  return Error(ErrorCode::internal, "");
}

bool contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  MESSAGE(text);
  return false;
}

constexpr const char* first_shard = "model-00001-of-00002.safetensors";
constexpr const char* second_shard = "model-00002-of-00002.safetensors";

}  // namespace

TEST_CASE("weights are found by scoped names and 16-bit floats are widened exactly") {
  const TempFolder folder;
  folder.write("model.safetensors",
               file_of({f32("model.layers.0.norm.weight", {4}, 1),
                        bits16("model.half", "F16", {0x3c00, 0x0001, 0xfc00, 0x7e00, 0x8000, 0xc500}),
                        bits16("model.brain", "BF16", {0x3f80, 0xff80, 0x0001})}));
  const Weights w = Weights::open(folder.path());
  const Weights layer = w / "model.layers" / 0;
  CHECK(layer.has("norm.weight"));
  CHECK_FALSE(layer.has("norm.bias"));
  CHECK((layer / "norm.weight").has(""));
  CHECK(layer.tensor("norm.weight", {4}).data<float>()[3] == 2.5f);
  const Tensor half = w.tensor("model.half", {6});
  CHECK(half.data<float>()[0] == 1.0f);
  CHECK(half.data<float>()[1] == 0x1p-24f);
  CHECK(half.data<float>()[2] == -__builtin_inff());
  CHECK(half.data<float>()[3] != half.data<float>()[3]);
  CHECK(__builtin_signbit(half.data<float>()[4]));
  CHECK(half.data<float>()[5] == -5.0f);
  CHECK(w.tensor("model.brain", {3}).data<float>()[1] == -__builtin_inff());
  CHECK(w.tensor_or_undefined("model.bias", {3}).defined() == false);
  CHECK(w.finish().empty());
  CHECK(w.entries().size() == 3);
  CHECK(w.entries()[1].bytes == 12);
}

TEST_CASE("a tensor of more than one slice is widened whole") {
  const TempFolder folder;
  const std::size_t count = (std::size_t{4} << 20) + 77;
  std::vector<std::uint16_t> bits(count);
  for (std::size_t i = 0; i < count; ++i) bits[i] = static_cast<std::uint16_t>(0x3f80 + i % 127);
  folder.write("model.safetensors", file_of({bits16("w", "BF16", bits)}));
  const Tensor w = Weights::open(folder.path()).tensor("w", {static_cast<Dim>(count)});
  bool same = true;
  for (std::size_t i = 0; i < count; ++i) same = same && w.data<float>()[i] == to_f32(bf16{bits[i]});
  CHECK(same);
}

TEST_CASE("missing and misshapen tensors come in one error and unused ones are listed") {
  const TempFolder folder;
  folder.write("model.safetensors", file_of({f32("layers.3.self_attn.k_proj.weight", {320, 2}),
                                             f32("extra", {1}),
                                             {"ids", "I64", {1}, std::string(8, '\0')}}));
  {
    const Weights w = Weights::open(folder.path());
    CHECK(w.finish() == std::vector<std::string>{"layers.3.self_attn.k_proj.weight", "extra", "ids"});
  }
  const Weights w = Weights::open(folder.path());
  CHECK(w.tensor("layers.3.self_attn.k_proj.weight", {192, 2}).shape() ==
        Shape{192, 2});  // zeros, so that building goes on
  CHECK(w.tensor("norm.weight", {8}).data<float>()[7] == 0.0f);
  CHECK(w.tensor("ids", {1}).defined());
  CHECK(w.tensor_or_undefined("extra", {2}).defined());
  try {
    w.finish();
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(error.item() == "layers.3.self_attn.k_proj.weight");
    CHECK(error.message() ==
          "model.safetensors: layers.3.self_attn.k_proj.weight: shape [320, 2], config wants [192, 2]; "
          "model.safetensors: norm.weight: missing, config wants [8]; "
          "model.safetensors: ids: dtype I64, want F32, BF16 or F16; "
          "model.safetensors: extra: shape [1], config wants [2]");
  }
}

TEST_CASE("a config that fits no file stops early instead of collecting for ever") {
  const TempFolder folder;
  folder.write("model.safetensors", file_of({f32("a", {1})}));
  const Weights w = Weights::open(folder.path());
  std::string message;
  try {
    for (Dim layer = 0; layer < 2147483647; ++layer) w.tensor(fmt::format("layers.{}.weight", layer), {4});
  } catch (const Error& error) {
    message = error.message();
  }
  CHECK(contains(message, "layers.7.weight: missing, config wants [4]; and 992 more"));
  const Weights wide = Weights::open(folder.path());
  CHECK_THROWS_WITH_AS(wide.tensor("embed", {2147483647, 960}),
                       "model.safetensors: embed: missing, config wants [2147483647, 960]", Error);
}

TEST_CASE("a name is looked up as given and then through the prefix map") {
  const TempFolder folder;
  folder.write("model.safetensors",
               file_of({f32("model.language_model.norm.weight", {2}, 5), f32("model.text_model.other", {1})}));
  const Weights w = Weights::open(folder.path(), {.prefix_map = {{"model.text_model.", "model.language_model."}}});
  CHECK((w / "model.text_model").tensor("norm.weight", {2}).data<float>()[0] == 5.0f);
  CHECK((w / "model.text_model").has("other"));
  CHECK(w.finish() == std::vector<std::string>{"model.text_model.other"});
}

TEST_CASE("a sharded checkpoint reads like a single one") {
  const TempFolder folder;
  folder.write(first_shard, file_of({f32("a", {2}, 1)}));
  folder.write(second_shard, file_of({f32("b", {3}, 2)}));
  folder.write("model.safetensors.index.json", index_of({{"b", second_shard}, {"a", first_shard}}, 20));
  const Weights w = Weights::open(folder.path());
  CHECK(w.tensor("a", {2}).data<float>()[1] == 1.5f);
  CHECK(w.tensor("b", {3}).data<float>()[2] == 3.0f);
  CHECK(w.finish().empty());
}

TEST_CASE("[B04] an absent shard is named with the bytes missing") {
  const TempFolder folder;
  folder.write(first_shard, file_of({f32("a", {2})}));
  folder.write("model.safetensors.index.json",
               index_of({{"a", first_shard}, {"b", second_shard}, {"c", second_shard}}, 32));
  const Error error = error_of(folder);
  CHECK(error.code() == ErrorCode::bad_file);
  CHECK(error.item() == second_shard);
  CHECK(
      contains(error.message(),
               "model-00002-of-00002.safetensors: is not there, but model.safetensors.index.json lists 2 tensors in it "
               "(1 of 2 shards missing, 24 bytes of 32)"));
}

TEST_CASE("[B04] a shard cut at 99 percent is named with the bytes missing") {
  const TempFolder folder;
  const std::string whole = file_of({f32("b", {250})});
  folder.write(first_shard, file_of({f32("a", {2})}));
  folder.write(second_shard, whole.substr(0, whole.size() * 99 / 100));
  folder.write("model.safetensors.index.json", index_of({{"a", first_shard}, {"b", second_shard}}));
  const Error error = error_of(folder);
  CHECK(error.item() == second_shard);
  CHECK(contains(error.message(),
                 fmt::format("{}: {} bytes are missing", second_shard, whole.size() - whole.size() * 99 / 100)));
}

TEST_CASE("[B04] index and shards must agree both ways") {
  const TempFolder folder;
  folder.write(first_shard, file_of({f32("a", {2})}));
  folder.write(second_shard, file_of({f32("b", {2})}));
  const auto with_index = [&](const std::string& index) {
    folder.write("model.safetensors.index.json", index);
    return error_of(folder).message();
  };
  CHECK(contains(with_index(index_of({{"a", first_shard}, {"b", second_shard}, {"c", second_shard}})),
                 "model-00002-of-00002.safetensors: c is not in it"));
  CHECK(contains(with_index(index_of({{"a", first_shard}, {"b", first_shard}})),
                 "model-00001-of-00002.safetensors: b is not in it"));
  folder.write(second_shard, file_of({f32("b", {2}), f32("z", {3})}));
  CHECK(contains(with_index(index_of({{"a", first_shard}, {"b", second_shard}})),
                 "model-00002-of-00002.safetensors: z is in it (12 bytes)"));
  CHECK(contains(with_index(index_of({{"a", "../" + std::string(first_shard)}})), "weight_map.a is \"../model"));
  CHECK(contains(with_index(index_of({{"a", "pytorch_model.bin"}})), "want the name of a .safetensors file"));
  CHECK(contains(with_index("{}"), "weight_map is missing"));
  CHECK(contains(with_index("[1]"), "weight_map is missing"));
  CHECK(contains(with_index("{\"weight_map\":{}}"), "weight_map is missing, or empty"));
  CHECK(contains(with_index("{"), "model.safetensors.index.json: not valid JSON"));
}

TEST_CASE("a folder without safetensors says what it holds and what to do") {
  const TempFolder folder;
  CHECK(error_of(folder).code() == ErrorCode::not_found);
  CHECK(contains(error_of(folder).message(), "no model.safetensors and no model.safetensors.index.json"));
  folder.write("x-q4.gguf", "GGUF");
  CHECK(contains(error_of(folder).message(), "only x-q4.gguf: GGUF files cannot be read yet"));
  folder.write("pytorch_model.bin", "x");
  CHECK(error_of(folder).code() == ErrorCode::unsupported);
  CHECK(contains(error_of(folder).message(), "only pytorch_model.bin: pickles are never read"));
  CHECK(contains(error_of(folder).message(), "save_file"));
  folder.write("adapter_model.safetensors", "x");
  folder.write("adapter_config.json", R"({"base_model_name_or_path": "org/base"})");
  CHECK(contains(error_of(folder).message(),
                 "adapter_model.safetensors is only an adapter; load its base model org/base"));
  CHECK_THROWS_WITH_AS(Weights::open(folder / "nowhere"), doctest::Contains("there is no such folder"), Error);
  CHECK_THROWS_WITH_AS(Weights::open(folder / "x-q4.gguf"), doctest::Contains("is not a folder"), Error);
}

TEST_CASE("[B10] a link in a snapshot that leads out of its model's folder is refused by name") {
  const TempFolder cache;
  namespace fs = std::filesystem;
  cache.write("secret/model.safetensors", file_of({f32("a", {2})}));
  cache.write("models--org--good/blobs/abc", file_of({f32("a", {2}, 3)}));
  fs::create_directories(cache / "models--org--good/snapshots/1");
  fs::create_symlink("../../blobs/abc", cache / "models--org--good/snapshots/1/model.safetensors");
  CHECK(Weights::open(cache / "models--org--good/snapshots/1").tensor("a", {2}).data<float>()[0] == 3.0f);

  fs::create_directories(cache / "models--org--evil/snapshots/1");
  fs::create_symlink("../../../secret/model.safetensors", cache / "models--org--evil/snapshots/1/model.safetensors");
  CHECK_THROWS_WITH_AS(
      Weights::open(cache / "models--org--evil/snapshots/1"),
      doctest::Contains(
          "models--org--evil/snapshots/1/model.safetensors: is a link that leads out of its model's folder"),
      Error);
  fs::create_directories(cache / "elsewhere");
  fs::create_directory_symlink(cache / "models--org--evil/snapshots/1", cache / "elsewhere/named");
  CHECK_THROWS_WITH_AS(Weights::open(cache / "elsewhere/named"), doctest::Contains("leads out"), Error);

  fs::create_symlink(cache / "secret/model.safetensors",
                     cache / "elsewhere/model.safetensors");  // a plain folder: the user's own link
  CHECK(Weights::open(cache / "elsewhere").has("a"));
}
