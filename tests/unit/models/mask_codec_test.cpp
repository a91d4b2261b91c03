// The mask codec against its golden, and weight files and inputs that it refuses.
#include "models/blocks/mask_codec.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>

#include <doctest/doctest.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "io/json.h"
#include "io/safetensors.h"

using namespace tap;

namespace {

const std::string golden = TAPETUM_SOURCE_DIR "/tests/families/paligemma_masks/";
const std::string weights = golden + "checkpoint/vae-oid.safetensors";

Json manifest() { return parse_json(read_file(golden + "masks.json", 1 << 20).value(), "masks.json").value(); }

Tensor read(const std::string& path, std::string_view tensor) { return Safetensors::open(path)->read(tensor); }

std::vector<int> ints(const Tensor& tensor) {
  std::vector<int> all;
  for (const std::int64_t value : tensor.values<std::int64_t>()) all.push_back(static_cast<int>(value));
  return all;
}

double max_abs(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  double worst = 0;
  for (Dim i = 0; i < a.elements(); ++i) {
    const double apart = std::abs(double{a.data<float>()[i]} - double{b.data<float>()[i]});
    worst = std::isnan(apart) ? INFINITY : std::max(worst, apart);
  }
  return worst;
}

template <class Fn>
std::string error_of(Fn&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.message();
  }
  return "(none)";
}

using Tensors = std::map<std::string, Tensor>;

Tensors golden_weights() {
  Tensors all;
  const Safetensors file = Safetensors::open(weights).value();
  for (const SafetensorEntry& entry : file.entries()) all[entry.name] = file.read(entry.name);
  return all;
}

std::string_view bytes_of(const Tensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.raw()), static_cast<std::size_t>(tensor.bytes())};
}

std::string safetensors_of(const Tensors& tensors) {
  Json header;
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const std::size_t begin = data.size();
    data += bytes_of(tensor);
    const auto dims = tensor.shape().dims();
    header[name] = {{"dtype", tensor.dtype() == DType::f32 ? "F32" : "I32"},
                    {"shape", std::vector<Dim>(dims.begin(), dims.end())},
                    {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text + data;
}

void add(std::string& bytes, std::initializer_list<std::pair<std::size_t, int>> numbers) {
  for (const auto& [number, size] : numbers)
    for (int i = 0; i < size; ++i) bytes += static_cast<char>(number >> (8 * i));
}

// As numpy.savez lays it out: stored members, .npy 1.0.
std::string npz_of(const Tensors& tensors) {
  std::string file, directory;
  for (const auto& [name, tensor] : tensors) {
    std::string shape;
    for (const Dim d : tensor.shape().dims()) shape += fmt::format("{}, ", d);
    const std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}\n", shape);
    std::string array = std::string("\x93NUMPY\x01\x00", 8);
    add(array, {{header.size(), 2}});
    array += header;
    array += bytes_of(tensor);
    const std::string member = name + ".npy";
    std::string sizes;
    add(sizes, {{crc32_z(0, reinterpret_cast<const Bytef*>(array.data()), array.size()), 4},
                {array.size(), 4},
                {array.size(), 4},
                {member.size(), 2},
                {0, 2}});
    const std::size_t begin = file.size();
    add(file, {{0x04034b50, 4}, {20, 2}, {0, 2}, {0, 2}, {0, 4}});
    file += sizes + member + array;
    add(directory, {{0x02014b50, 4}, {20, 2}, {20, 2}, {0, 2}, {0, 2}, {0, 4}});
    directory += sizes;
    add(directory, {{0, 8}, {0, 2}, {begin, 4}});
    directory += member;
  }
  const std::size_t begin = file.size();
  file += directory;
  add(file,
      {{0x06054b50, 4}, {0, 4}, {tensors.size(), 2}, {tensors.size(), 2}, {directory.size(), 4}, {begin, 4}, {0, 2}});
  return file;
}

// A weight file of that name in a fresh folder.
struct WeightFile {
  std::filesystem::path folder = std::filesystem::temp_directory_path() / fmt::format("tapetum-masks-{}", ::getpid());
  std::string path;
  WeightFile(const std::string& name, std::string_view bytes) : path((folder / name).string()) {
    std::filesystem::create_directories(folder);
    write_file_atomic(path, bytes);
  }
  ~WeightFile() { std::filesystem::remove_all(folder); }
  std::string error() const {
    return error_of([&] { MaskCodec::load(path); });
  }
};

}  // namespace

TEST_CASE("the mask codec decodes as its golden") {
  const MaskCodec codec = MaskCodec::load(weights);
  const Tensor codes = read(golden + "decode.safetensors", "codes"),
               wanted = read(golden + "decode.safetensors", "masks");
  const double tolerance = manifest()["max_abs_tolerance"].get<double>();
  CHECK(tolerance == 2e-4);
  CHECK(codec.codebook_size() == 128);
  const Tensor masks = codec.decode(ints(codes));
  CHECK(max_abs(masks, wanted) <= tolerance);
  CHECK(max_abs(masks, wanted) <= 2e-6);  // the masks differ by hundredths only: the tolerance alone says little
  // More than are decoded at once, each as alone.
  std::vector<int> many;
  for (int i = 0; i < 4; ++i)
    for (const int code : ints(codes)) many.push_back(code);
  const Tensor all = codec.decode(many);
  REQUIRE(all.dim(0) == 12);
  for (Dim i = 0; i < 12; i += 3) CHECK(max_abs(all.rows(i, i + 3), wanted) <= 2e-6);
  CHECK(codec.decode({}).shape() == Shape{0, 64, 64});
}

TEST_CASE("the mask codec encodes as its golden") {
  const MaskCodec codec = MaskCodec::load(weights);
  REQUIRE(codec.can_encode());
  const Tensor masks = read(golden + "encode.safetensors", "masks");
  const std::vector<int> wanted = ints(read(golden + "encode.safetensors", "codes"));
  CHECK(codec.encode(masks) == wanted);
  Tensor many = Tensor::empty({9, 64, 64});  // more than are encoded at once
  for (Dim i = 0; i < 9; ++i) std::copy_n(masks.data<float>(), 64 * 64, many.write<float>() + i * 64 * 64);
  const std::vector<int> codes = codec.encode(many);
  REQUIRE(codes.size() == 9 * 16);
  CHECK(std::equal(wanted.begin(), wanted.end(), codes.end() - 16));
}

TEST_CASE("a mask named by words is pasted as its golden") {
  const Json all = manifest();
  const Json& one = all["cases"][2];
  REQUIRE(one["name"] == "paste");
  const auto text = one["text"].get<std::string>();
  std::vector<int> locations, codes;
  for (std::size_t at = 0; (at = text.find('<', at)) != std::string::npos; ++at)
    (text.compare(at, 4, "<loc") == 0 ? locations : codes).push_back(std::stoi(text.substr(at + 4)));
  REQUIRE(locations.size() == 4);
  REQUIRE(codes.size() == 16);
  const Dim height = one["height"].get<Dim>(), width = one["width"].get<Dim>();
  const MaskBox box = mask_box({locations[0], locations[1], locations[2], locations[3]}, height, width);
  const std::vector<int> wanted_box = ints(read(golden + "paste.safetensors", "box_yxyx"));
  CHECK(box == MaskBox{wanted_box[0], wanted_box[1], wanted_box[2], wanted_box[3]});
  const Tensor mask = paste_mask(MaskCodec::load(weights).decode(codes).reshape({64, 64}), box, height, width);
  const Tensor wanted = read(golden + "paste.safetensors", "mask");
  REQUIRE(mask.shape() == wanted.shape());
  CHECK(std::ranges::equal(mask.values<std::uint8_t>(), wanted.values<std::uint8_t>()));
}

// Every value of the golden's mask is above 0. This one lies on both sides; Pillow resized it, up and down
// (tools/goldens/mask_paste.py).
TEST_CASE("a mask is resized as floats before it is cut at 0") {
  const std::string file = TAPETUM_SOURCE_DIR "/tests/data/mask_paste/pillow.safetensors";
  for (const std::string name : {"wide", "small"}) {
    CAPTURE(name);
    const Tensor wanted = read(file, name);
    const std::vector<int> box = ints(read(file, name + "_box"));
    const Tensor mask = paste_mask(read(file, "mask"), {box[0], box[1], box[2], box[3]}, wanted.dim(0), wanted.dim(1));
    REQUIRE(mask.shape() == wanted.shape());
    CHECK(std::ranges::equal(mask.values<std::uint8_t>(), wanted.values<std::uint8_t>()));
  }
}

TEST_CASE("boxes without a pixel leave the canvas empty and boxes outside it are refused") {
  const Tensor inside = Tensor::full({64, 64}, 1);
  const auto pixels = [&](const MaskBox& box) {
    const Tensor mask = paste_mask(inside, box, 10, 20);
    return std::ranges::count(mask.values<std::uint8_t>(), 1);
  };
  CHECK(mask_box({0, 0, 1023, 1023}, 10, 20) == MaskBox{0, 0, 10, 20});
  CHECK(pixels({0, 0, 10, 20}) == 200);
  CHECK(pixels({4, 4, 5, 5}) == 1);
  CHECK(pixels({4, 4, 4, 9}) == 0);
  CHECK(pixels({6, 4, 4, 9}) == 0);
  CHECK(std::ranges::count(paste_mask(Tensor::full({64, 64}, NAN), {0, 0, 10, 20}, 10, 20).values<std::uint8_t>(), 1) ==
        0);
  CHECK(error_of([&] {
          paste_mask(inside, {0, 0, 11, 20}, 10, 20);
        }) == "mask box y 0 to 11, x 0 to 20: must lie in the picture of 20x10 pixels");
  CHECK(error_of([&] { paste_mask(inside, {-1, 0, 5, 20}, 10, 20); }).starts_with("mask box y -1 to 5"));
  CHECK(error_of([&] {
          paste_mask(Tensor::full({1, 64, 64}, 1), {0, 0, 5, 5}, 10, 20);
        }) == "paste_mask: mask is [1, 64, 64], must be [64, 64]");
  CHECK(error_of([] { mask_box({0, 0, 1024, 5}, 10, 20); }) == "location 1024: must be from 0 to 1023");
  CHECK(error_of([] { mask_box({0, -1, 5, 5}, 10, 20); }) == "location -1: must be from 0 to 1023");
}

TEST_CASE("mask codes that are too few or outside the codebook are refused") {
  const MaskCodec codec = MaskCodec::load(weights);
  const auto error = [&](const std::vector<int>& codes) { return error_of([&] { codec.decode(codes); }); };
  CHECK(error(std::vector<int>(15, 1)) == "mask codes: 15, must be a multiple of 16");
  CHECK(error(std::vector<int>(17, 1)) == "mask codes: 17, must be a multiple of 16");
  std::vector<int> codes(16, 1);
  for (const int bad : {-1, 128, 1 << 30}) {
    codes[15] = bad;
    CHECK(error(codes) == fmt::format("mask code {}: must be from 0 to 127", bad));
  }
  CHECK(error_of([&] { codec.encode(Tensor::full({64, 64}, 0)); }) == "masks of shape [64, 64]: must be [n, 64, 64]");
  Tensor mask = Tensor::full({1, 64, 64}, 0);
  for (const float bad : {NAN, INFINITY}) {
    mask.write<float>()[70] = bad;
    CHECK(error_of([&] { codec.encode(mask); }) == "masks hold a value that is no finite number");
  }
}

TEST_CASE("an npz of the same weights gives the same bits") {
  const WeightFile file("vae-oid.npz", npz_of(golden_weights()));
  const std::vector<int> codes = ints(read(golden + "decode.safetensors", "codes"));
  const Tensor a = MaskCodec::load(file.path).decode(codes), b = MaskCodec::load(weights).decode(codes);
  CHECK(std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(b.bytes())) == 0);
}

TEST_CASE("a weight file of a decoder alone decodes and says that it cannot encode") {
  Tensors tensors = golden_weights();
  std::erase_if(tensors, [](const auto& item) { return item.first.starts_with("encoder."); });
  const WeightFile file("vae.safetensors", safetensors_of(tensors));
  const MaskCodec codec = MaskCodec::load(file.path);
  CHECK_FALSE(codec.can_encode());
  CHECK(codec.decode(std::vector<int>(16, 0)).dim(0) == 1);
  CHECK(error_of([&] {
          codec.encode(Tensor::full({1, 64, 64}, 0));
        }) == "this mask codec has a decoder only, it cannot encode masks");
}

TEST_CASE("a weight file without a tensor is refused with file and tensor") {
  for (const auto& [name, tensor] : golden_weights()) {
    CAPTURE(name);
    if (name == "encoder.0.weight") continue;  // tells a decoder alone
    Tensors tensors = golden_weights();
    tensors.erase(name);
    CHECK(WeightFile("vae.safetensors", safetensors_of(tensors)).error() ==
          fmt::format("vae.safetensors: tensor {} is missing", name));
    CHECK(WeightFile("vae.npz", npz_of(tensors)).error() == fmt::format("vae.npz: array {} is missing", name));
  }
}

TEST_CASE("a tensor of another shape or type is refused with file and tensor") {
  const auto error = [](const std::string& name, const Tensor& tensor, const char* file = "vae.safetensors") {
    Tensors tensors = golden_weights();
    REQUIRE(tensors.contains(name));
    tensors[name] = tensor;
    return WeightFile(file, std::string_view(file).ends_with("npz") ? npz_of(tensors) : safetensors_of(tensors))
        .error();
  };
  CHECK(error("_vq_vae._embedding", Tensor::full({128}, 0)) ==
        "vae.safetensors: _vq_vae._embedding: shape [128], must be [any, any]");
  CHECK(error("_vq_vae._embedding", Tensor::full({0, 32}, 0)) ==
        "vae.safetensors: _vq_vae._embedding: shape [0, 32], must be [any, any]");
  CHECK(error("decoder.0.weight", Tensor::full({16, 31, 1, 1}, 0)) ==
        "vae.safetensors: decoder.0.weight: shape [16, 31, 1, 1], must be [any, 32, 1, 1]");
  CHECK(error("decoder.2.net.0.weight", Tensor::full({16, 16, 1, 1}, 0), "vae.npz") ==
        "vae.npz: decoder.2.net.0.weight: shape [16, 16, 1, 1], must be [16, 16, 3, 3]");
  CHECK(error("decoder.4.bias", Tensor::full({15}, 0), "vae.npz") ==
        "vae.npz: decoder.4.bias: shape [15], must be [16]");
  CHECK(error("decoder.12.weight", Tensor::full({2, 2, 1, 1}, 0)) ==
        "vae.safetensors: decoder.12.weight: shape [2, 2, 1, 1], must be [1, 2, 1, 1]");
  CHECK(error("encoder.10.weight", Tensor::full({31, 16, 1, 1}, 0)) ==
        "vae.safetensors: encoder.10.weight: shape [31, 16, 1, 1], must be [32, 16, 1, 1]");
  CHECK(error("decoder.0.bias", Tensor::zeros({16}, DType::i32)) == "vae.safetensors: decoder.0.bias: holds no floats");
}

TEST_CASE("what is no weight file of masks is refused by name") {
  CHECK(WeightFile("vae.bin", "x").error() == "vae.bin: a mask decoder is an .npz or .safetensors file");
  CHECK(WeightFile("vae.npz", "x").error() == "vae.npz: not a ZIP archive, so no .npz file");
  CHECK(WeightFile("vae.safetensors", "x").error().find("vae.safetensors") != std::string::npos);
  const std::string whole = npz_of(golden_weights());
  CHECK(WeightFile("vae.npz", std::string_view(whole).substr(0, whole.size() / 2)).error() ==
        "vae.npz: the archive's directory is missing: cut short? get the file again");
  CHECK(error_of([] { MaskCodec::load("/nowhere/vae.npz"); }).find("vae.npz") != std::string::npos);
}
