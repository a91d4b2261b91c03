#include "io/safetensors.h"

#include <cstring>
#include <functional>

#include <doctest/doctest.h>

#include <sys/resource.h>

#include "base/clock.h"
#include "base/rng.h"
#include "support/temp_folder.h"

using namespace tap;
using test::safetensors_bytes;
using test::TempFolder;

namespace {

// The most memory this process ever held. Sanitizers hold much more: there the answer is 0.
std::size_t peak_bytes() {
#if defined(__SANITIZE_ADDRESS__)
  return 0;
#else
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
#endif
}
constexpr std::size_t allowed_bytes = std::size_t{256} << 20;

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape, std::uint64_t begin,
                  std::uint64_t end) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", name, dtype, shape, begin, end);
}

// The error of a header over `data_bytes` bytes of data.
std::string error_of(const std::string& header, std::uint64_t data_bytes, ErrorCode code = ErrorCode::bad_file) {
  const auto parsed = parse_safetensors_header(header, data_bytes, "model.safetensors");
  if (parsed.ok()) return "(accepted)";
  CHECK(parsed.error().code() == code);
  CHECK(parsed.error().message().starts_with("model.safetensors: "));
  CHECK(parsed.error().message().find('\n') == std::string::npos);
  return parsed.error().message();
}

bool contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  MESSAGE(text);
  return false;
}

}  // namespace

TEST_CASE("a safetensors file gives its tensors in their own dtypes") {
  const TempFolder folder;
  std::string data(4 * 6 + 2 * 2 + 8 + 1, '\0');
  const float floats[6] = {1, -2, 3.5f, 4, 5, 6};
  std::memcpy(data.data(), floats, sizeof floats);
  data[24] = '\x80', data[25] = '\x3f';  // bf16 1.0
  data[28] = 7;
  data[36] = 1;
  folder.write(
      "model.safetensors",
      safetensors_bytes(R"({"__metadata__":{"format":"pt"}, )" + entry("b", "BF16", "2", 24, 28) + "," +
                            entry("a.weight", "F32", "2,3", 0, 24) + ",\n" + entry("n", "I64", "", 28, 36) + "," +
                            entry("flag", "BOOL", "1,1", 36, 37) + "," + entry("none", "F32", "0,4", 37, 37) + "}   ",
                        data));
  const Safetensors file = Safetensors::open(folder / "model.safetensors").value();
  REQUIRE(file.entries().size() == 5);
  CHECK(file.entries()[0].name == "a.weight");  // offset order
  const Tensor a = file.read("a.weight");
  CHECK(a.shape() == Shape{2, 3});
  CHECK(std::memcmp(a.raw(), floats, sizeof floats) == 0);
  CHECK(file.read("b").dtype() == DType::bf16);
  CHECK(to_f32(file.read("b").data<bf16>()[0]) == 1.0f);
  CHECK(file.read("n").data<std::int64_t>()[0] == 7);
  CHECK(file.read("flag").dtype() == DType::u8);
  CHECK(file.read("none").elements() == 0);
  const Tensor row = file.read_rows(*file.find("a.weight"), 1, 2);
  CHECK(row.shape() == Shape{1, 3});
  CHECK(row.data<float>()[0] == 4.0f);
  CHECK_THROWS_AS(file.read("absent"), Error);
  CHECK_THROWS_AS(file.read_rows(*file.find("a.weight"), 1, 3), Error);
  CHECK(file.find("a") == nullptr);
}

TEST_CASE("[B01] a header length of 2^63 or beyond the file is refused before anything is read") {
  const TempFolder folder;
  const auto refused = [&](const std::string& bytes, ErrorCode code) {
    folder.write("model.safetensors", bytes);
    const auto opened = Safetensors::open(folder / "model.safetensors");
    REQUIRE_FALSE(opened.ok());
    CHECK(opened.error().code() == code);
    CHECK(opened.error().item() == "model.safetensors");
    return opened.error().message();
  };
  const std::string tail = "{}" + std::string(30, ' ');
  CHECK(contains(refused(std::string("\0\0\0\0\0\0\0\x80", 8) + tail, ErrorCode::limit),
                 "9223372036854775808 bytes, the limit is 67108864"));
  CHECK(contains(refused(std::string(8, '\xff') + tail, ErrorCode::limit), "18446744073709551615"));
  CHECK(contains(refused(std::string("\x21\0\0\0\0\0\0\0", 8) + tail, ErrorCode::bad_file),
                 "1 bytes of the header are missing"));
  CHECK(contains(refused(std::string(7, '\0'), ErrorCode::bad_file), "too short"));
  CHECK(contains(refused("", ErrorCode::bad_file), "too short"));
  CHECK(contains(refused(std::string(64, '\0'), ErrorCode::bad_file), "does not start with"));
}

TEST_CASE("[B02] a header of 60 MiB with a million entries stops at the limit of tensors") {
  std::string header = "{";
  header.reserve(std::size_t{61} << 20);
  for (int i = 0; header.size() < std::size_t{60} << 20; ++i)
    header += fmt::format("{}\"t{:07}\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[{},{}]}}", i ? "," : "", i,
                          i, i + 1);
  header += "}";
  const std::size_t before = peak_bytes();
  CHECK(contains(error_of(header, 1'000'000, ErrorCode::limit), "more than 200000 tensors, the limit"));
  CHECK(peak_bytes() - before < allowed_bytes);
  header.resize((std::size_t{64} << 20) + 1, ' ');
  CHECK(contains(error_of(header, 0, ErrorCode::limit), "the limit is 67108864"));
}

TEST_CASE("[B02] a header of 60 MiB of metadata or numbers is refused or read without a tree") {
  std::string metadata = R"({"__metadata__":{)";
  for (int i = 0; metadata.size() < std::size_t{20} << 20; ++i)
    metadata += fmt::format("{}\"k{}\":\"v\"", i ? "," : "", i);
  std::string shape = "1";
  while (shape.size() < std::size_t{60} << 20) shape += ",1";
  shape = "{" + entry("a", "F32", shape, 0, 4) + "}";
  metadata += "}}";
  const std::size_t before = peak_bytes();
  const auto parsed = parse_safetensors_header(metadata, 0, "model.safetensors");
  REQUIRE(parsed.ok());
  CHECK(parsed->empty());
  CHECK(contains(error_of(shape, 4, ErrorCode::limit), "more than 16 axes"));
  CHECK(peak_bytes() - before < allowed_bytes);
}

TEST_CASE("[B03] offsets that overlap or leave a hole or pass the end are refused by name") {
  const auto two = [&](std::uint64_t a0, std::uint64_t a1, std::uint64_t b0, std::uint64_t b1) {
    return "{" + entry("a", "U8", std::to_string(a1 - a0), a0, a1) + "," +
           entry("b", "U8", std::to_string(b1 - b0), b0, b1) + "}";
  };
  CHECK(error_of(two(0, 8, 8, 16), 16) == "(accepted)");
  CHECK(contains(error_of(two(0, 8, 4, 12), 12), "b: its bytes from 4 overlap the tensor before it, which ends at 8"));
  CHECK(contains(error_of(two(0, 8, 0, 8), 8), "overlap"));
  CHECK(contains(error_of(two(0, 8, 10, 12), 12), "b: a hole of 2 bytes before it"));
  CHECK(contains(error_of(two(4, 8, 8, 12), 12), "a: a hole of 4 bytes before it"));
  CHECK(contains(error_of(two(0, 8, 8, 16), 12),
                 "4 bytes are missing: the header describes 16 bytes of tensors, 12 are there"));
  CHECK(contains(error_of(two(0, 8, 8, 16), 17), "1 bytes after the last tensor belong to none"));
}

TEST_CASE("[B03] dtype times shape must equal the bytes and no product may overflow") {
  CHECK(contains(error_of("{" + entry("w", "F32", "2,3", 0, 20) + "}", 20),
                 "w: F32 of shape [2, 3] takes 24 bytes, data_offsets [0, 20] say otherwise"));
  CHECK(contains(error_of("{" + entry("w", "F32", "2", 8, 0) + "}", 8), "say otherwise"));
  CHECK(contains(error_of("{" + entry("w", "F32", "4294967296,4294967296", 0, 0) + "}", 0),
                 "w: shape [4294967296, 4294967296] overflows"));
  CHECK(contains(error_of("{" + entry("w", "F32", "0,4611686018427387904,4611686018427387904", 0, 0) + "}", 0),
                 "overflows"));
  CHECK(contains(error_of("{" + entry("w", "F32", "4611686018427387905", 0, 4) + "}", 4), "overflows"));
  CHECK(contains(error_of("{" + entry("w", "U8", "18446744073709551616", 0, 0) + "}", 0, ErrorCode::limit),
                 "w: shape holds a number over 2^63-1"));
  CHECK(contains(error_of("{" + entry("w", "U8", "-1", 0, 0) + "}", 0), "non-negative integers"));
  CHECK(contains(error_of("{" + entry("w", "U8", "1.0", 0, 1) + "}", 1), "non-negative integers"));
  CHECK(contains(error_of("{" + entry("w", "U8", "1e0", 0, 1) + "}", 1), "non-negative integers"));
  CHECK(contains(error_of("{" + entry("w", "U8", "01", 0, 1) + "}", 1), "non-negative integers"));
  CHECK(contains(error_of("{" + entry("w", "Q9", "1", 0, 1) + "}", 1, ErrorCode::unsupported),
                 "w: dtype \"Q9\" is not known"));
  CHECK(error_of("{" + entry("w", "F4", "3", 0, 2) + "}", 2) ==
        "(accepted)");  // four-bit numbers, rounded up to whole bytes
}

TEST_CASE("a safetensors header with a doubled or unknown or missing key is refused") {
  CHECK(contains(error_of("{" + entry("w", "U8", "1", 0, 1) + "," + entry("w", "U8", "1", 1, 2) + "}", 2),
                 "w stands twice"));
  CHECK(contains(error_of("{" + entry("w", "U8", "1", 0, 1) + "," + entry("\\u0077", "U8", "1", 1, 2) + "}", 2),
                 "w stands twice"));
  CHECK(contains(error_of(R"({"w":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
                 "w: dtype stands twice"));
  CHECK(contains(error_of(R"({"w":{"dtype":"U8","shape":[1]}})", 1), "w: data_offsets is missing"));
  CHECK(
      contains(error_of(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", 1), "w: unknown key \"x\""));
  CHECK(contains(error_of(R"({"__metadata__":{"a":"b"},"__metadata__":{}})", 0), "__metadata__ stands twice"));
  CHECK(contains(error_of(R"({"__metadata__":{"a":1}})", 0), "want a string"));
  CHECK(contains(error_of(R"({"w":1})", 0), "want the description of a tensor"));
  CHECK(contains(error_of("{}x", 0), "header byte 2: want the end of the header"));
  CHECK(contains(error_of("{\"a\xff\":", 0), "the header ends"));
  CHECK(contains(error_of("{" + entry("a\xff", "U8", "1", 0, 1) + "}", 1), "not valid UTF-8"));
  CHECK(contains(error_of(R"({"\ud800":1})", 0), "surrogate"));
  CHECK(contains(error_of(R"({"\udc00\ud800":1})", 0), "surrogate"));
  CHECK(contains(error_of("{\"a\nb\":1}", 0), "the end of a string"));
  CHECK(error_of("{}", 0) == "(accepted)");
}

TEST_CASE("an escaped tensor name is decoded") {
  const auto parsed =
      parse_safetensors_header("{" + entry("a\\/\\u00e9\\ud83d\\ude00\\n", "U8", "1", 0, 1) + "}", 1, "x");
  REQUIRE(parsed.ok());
  CHECK((*parsed)[0].name == "a/\xc3\xa9\xf0\x9f\x98\x80\n");
}

TEST_CASE("[B10] a pickle or archive or GGUF or LFS pointer named model.safetensors is called what it is") {
  const TempFolder folder;
  const auto refused = [&](const std::string& bytes) {
    folder.write("model.safetensors", bytes);
    const auto opened = Safetensors::open(folder / "model.safetensors");
    REQUIRE_FALSE(opened.ok());
    CHECK(opened.error().code() == ErrorCode::bad_file);
    return opened.error().message();
  };
  CHECK(contains(
      refused(std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15) + std::string(100, 'x')),
      "model.safetensors: is a Python pickle"));
  CHECK(contains(refused(std::string("PK\x03\x04\x00\x00\x08\x08", 8) + std::string(100, '\0')), "is a ZIP archive"));
  CHECK(contains(refused(std::string("PK\x03\x04\x00\x00\x00\x00", 8) + std::string(100, '\0')), "is a ZIP archive"));
  CHECK(contains(refused("GGUF" + std::string(100, '\0')), "is a GGUF file"));
  CHECK(contains(refused("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), "Git LFS pointer"));
  CHECK(contains(refused("<!DOCTYPE html><html><body>Access denied</body></html>"), "is a web page"));
}

TEST_CASE("[F03] a safetensors file that shrinks after it was opened gives an error and no zeros") {
  const TempFolder folder;
  folder.write("model.safetensors", safetensors_bytes("{" + entry("w", "U8", "64", 0, 64) + "}", std::string(64, 'w')));
  const Safetensors file = Safetensors::open(folder / "model.safetensors").value();
  CHECK(file.read("w").data<std::uint8_t>()[63] == 'w');
  std::filesystem::resize_file(folder / "model.safetensors",
                               std::filesystem::file_size(folder / "model.safetensors") - 1);
  CHECK_THROWS_WITH_AS(file.read("w"), doctest::Contains("model.safetensors"), Error);
}

TEST_CASE("[B04] a safetensors file cut at any byte is refused") {
  const TempFolder folder;
  const std::string whole = safetensors_bytes(
      "{" + entry("a", "F32", "2,3", 0, 24) + "," + entry("b", "BF16", "4", 24, 32) + "}", std::string(32, 'd'));
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    folder.write("model.safetensors", whole.substr(0, bytes));
    const auto opened = Safetensors::open(folder / "model.safetensors");
    REQUIRE_FALSE(opened.ok());
    REQUIRE(opened.error().code() == ErrorCode::bad_file);
  }
}

// A second of random damage: parse or refuse, never crash; what is accepted must keep its promises.
TEST_CASE("a damaged safetensors header is parsed or refused with every promise kept") {
  const std::string good = R"({"__metadata__":{"format":"pt"},)" + entry("model.layers.0.w", "F32", "2,3", 0, 24) +
                           "," + entry("b", "BF16", "2,2", 24, 32) + "," + entry("c\\u0041", "U8", "0", 32, 32) + "," +
                           entry("d", "I64", "", 32, 40) + "}";
  constexpr std::string_view pieces[] = {"{",
                                         "}",
                                         "[",
                                         "]",
                                         ",",
                                         ":",
                                         "\"",
                                         "\\",
                                         "\\u",
                                         "0",
                                         "9223372036854775807",
                                         "18446744073709551615",
                                         "-",
                                         ".",
                                         "e9",
                                         "dtype",
                                         "shape",
                                         "data_offsets",
                                         "F32",
                                         "\x00",
                                         "\xff",
                                         "\n",
                                         "__metadata__",
                                         "null"};
  Rng rng(7);
  const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(rng.next_u32() % n); };
  const Stopwatch watch;
  int accepted = 0, refused = 0;
  while (watch.ms() < 1000) {
    std::string header = good;
    for (std::size_t change = 0, changes = 1 + pick(4); change < changes; ++change) {
      if (header.empty()) break;
      const std::size_t at = pick(header.size());
      switch (pick(5)) {
        case 0: header[at] = static_cast<char>(rng.next_u32()); break;
        case 1: header.erase(at, 1 + pick(20)); break;
        case 2: header.insert(at, pieces[pick(std::size(pieces))]); break;
        case 3: header.insert(at, header.substr(pick(header.size()), pick(60))); break;
        default: header.resize(std::max<std::size_t>(1, at)); break;
      }
    }
    const auto parsed = parse_safetensors_header(header, 40, "x");
    if (!parsed.ok()) {
      ++refused;
      REQUIRE(parsed.error().message().size() < 600);
      continue;
    }
    ++accepted;
    std::uint64_t end = 0;
    for (const SafetensorEntry& e : *parsed) {
      REQUIRE(e.begin == end);
      REQUIRE(e.end >= e.begin);
      end = e.end;
    }
    REQUIRE(end == 40);
  }
  CHECK(accepted > 0);
  CHECK(refused > 1000);
}
