#include "io/npz.h"

#include <algorithm>
#include <cstring>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "base/file.h"

using namespace tap;

namespace {

const std::string folder = TAPETUM_SOURCE_DIR "/tests/data/npz/";

std::string error_of(const Result<Tensor>& result) { return result.ok() ? "(read)" : result.error().message(); }
std::string error_of(const Result<Npz>& result) { return result.ok() ? "(read)" : result.error().message(); }

template <class T>
void check_values(const Npz& npz, std::string_view name, DType type, const Shape& shape, std::vector<T> wanted) {
  CAPTURE(name);
  const Tensor tensor = npz.read(name).value();
  CHECK(tensor.dtype() == type);
  CHECK(tensor.shape() == shape);
  const auto values = tensor.values<T>();
  CHECK(std::vector<T>(values.begin(), values.end()) == wanted);
}

}  // namespace

TEST_CASE("arrays that numpy wrote are read whether stored or deflated") {
  for (const char* file : {"stored.npz", "deflated.npz"}) {
    CAPTURE(file);
    const Npz npz = Npz::open(folder + file).value();
    CHECK(npz.file_name() == file);
    CHECK(npz.names().size() == 11);
    CHECK(npz.has("_vq_vae._embedding"));
    check_values<float>(npz, "f4", DType::f32, {2, 3}, {0, 0.25f, 0.5f, 0.75f, 1, 1.25f});
    check_values<float>(npz, "f8", DType::f32, {2}, {0.5f, -2.25f});
    CHECK(npz.read("f2")->dtype() == DType::f16);
    CHECK(npz.read("f2")->to(DType::f32).data<float>()[1] == -0.25f);
    check_values<std::int32_t>(npz, "i4", DType::i32, {2, 1}, {1, -2});
    check_values<std::int64_t>(npz, "i8", DType::i64, {2}, {std::int64_t{1} << 40, -3});
    check_values<std::uint8_t>(npz, "u1", DType::u8, {3}, {0, 255, 7});
    check_values<std::uint8_t>(npz, "b1", DType::u8, {2}, {1, 0});
    check_values<float>(npz, "scalar", DType::f32, {}, {2.5f});
    CHECK(npz.read("empty")->shape() == Shape{0, 3});
  }
}

TEST_CASE("an array in Fortran order comes in rows") {
  const Tensor tensor = Npz::open(folder + "deflated.npz")->read("fortran").value();
  REQUIRE(tensor.shape() == Shape{2, 3, 4});
  for (Dim i = 0; i < 24; ++i) CHECK(tensor.data<std::int32_t>()[i] == i);
}

TEST_CASE("npy headers of version 2 are read, of version 3 refused, other members passed over") {
  const Npz npz = Npz::open(folder + "versions.npz").value();
  CHECK(npz.names() == std::vector<std::string>{"two", "three"});
  check_values<float>(npz, "two", DType::f32, {3}, {0, 1, 2});
  CHECK(error_of(npz.read("three")) == "versions.npz: three: .npy version 3.0: 1.0 and 2.0 are read");
}

TEST_CASE("what cannot be read is refused with file, member and reason") {
  const Npz npz = Npz::open(folder + "refused.npz").value();
  CHECK(error_of(npz.read("object")) ==
        "refused.npz: object: an array of Python objects is a pickle, which is never read");
  CHECK(error_of(npz.read("big_endian")).starts_with("refused.npz: big_endian: type \">f4\""));
  CHECK(error_of(npz.read("complex")).starts_with("refused.npz: complex: type \"<c16\""));
  CHECK(error_of(npz.read("record")).find("record: header byte") != std::string::npos);
  CHECK(error_of(npz.read("none")) == "refused.npz: array none is missing");
  CHECK(npz.read("none").error().code() == ErrorCode::bad_file);
  CHECK(error_of(Npz::open(folder + "nowhere.npz")).find("nowhere.npz") != std::string::npos);
}

TEST_CASE("damaged archives are refused") {
  const std::string good = read_file(folder + "deflated.npz", 1 << 20).value();
  const auto opened = [](std::string bytes) { return error_of(Npz::parse(std::move(bytes), "a.npz")); };
  CHECK(opened("") == "a.npz: not a ZIP archive, so no .npz file");
  CHECK(opened("\x93NUMPY and more than twenty-two bytes") == "a.npz: not a ZIP archive, so no .npz file");
  for (std::size_t cut = 1; cut < good.size(); cut += 13)
    CHECK(opened(good.substr(0, good.size() - cut)).starts_with("a.npz: "));
  std::string sizes = good;
  sizes.replace(sizes.size() - 10, 4, "\xff\xff\xff\xff", 4);
  CHECK(opened(sizes).find("ZIP64") != std::string::npos);
  // A changed byte anywhere is an error or changes nothing, never a wrong array without a word.
  const Tensor wanted = Npz::parse(good, "a.npz")->read("f4").value();
  for (std::size_t at = 0; at < good.size(); at += 3) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x24);
    const auto npz = Npz::parse(bad, "a.npz");
    if (!npz) continue;
    const auto tensor = npz->read("f4");
    if (tensor.ok()) CHECK(std::ranges::equal(tensor->values<float>(), wanted.values<float>()));
  }
}

TEST_CASE("members that are not as the directory says are refused by name") {
  const std::string deflated = read_file(folder + "deflated.npz", 1 << 20).value(),
                    stored = read_file(folder + "stored.npz", 1 << 20).value();
  // The archive with a number of its first member's directory entry changed.
  const auto changed = [](std::string bytes, std::size_t offset, const auto& change) {
    const std::size_t entry = bytes.find("PK\x01\x02");
    REQUIRE(entry != std::string::npos);
    std::uint32_t number;
    std::memcpy(&number, bytes.data() + entry + offset, sizeof number);
    number = change(number);
    std::memcpy(bytes.data() + entry + offset, &number, sizeof number);
    return bytes;
  };
  const std::string first = Npz::parse(stored, "a.npz")->names().front();
  const auto opened = [](std::string bytes) { return error_of(Npz::parse(std::move(bytes), "a.npz")); };
  const auto read = [&](std::string bytes) { return error_of(Npz::parse(std::move(bytes), "a.npz")->read(first)); };
  const auto more = [](std::uint32_t n) { return n + 1; };
  const auto less = [](std::uint32_t n) { return n - 1; };
  constexpr std::size_t method = 10, packed = 20, unpacked = 24, begin = 42;

  CHECK(read(changed(deflated, unpacked, less)) ==
        fmt::format("a.npz: {}: its compressed bytes are damaged; get the file again", first));
  CHECK(read(changed(deflated, unpacked, more)) ==
        fmt::format("a.npz: {}: its bytes do not match their checksum; get the file again", first));
  CHECK(read(changed(deflated, packed, less)).starts_with(fmt::format("a.npz: {}: its ", first)));
  CHECK(opened(changed(deflated, packed, [](std::uint32_t) { return 1u << 30; })) ==
        fmt::format("a.npz: {}.npy: its bytes run past the archive's directory", first));
  CHECK(opened(changed(deflated, unpacked, [](std::uint32_t) { return 0xfffffffeu; })) ==
        fmt::format("a.npz: {}.npy: unpacked, the arrays hold more than 1073741824 bytes, the limit", first));
  CHECK(opened(changed(stored, unpacked, more)) ==
        fmt::format("a.npz: {}.npy: is stored in another number of bytes than it has", first));
  CHECK(opened(changed(stored, begin, more)) ==
        fmt::format("a.npz: {}.npy: its header is not where the directory says", first));
  // bzip2, LZMA, Zstandard, and one that nobody has
  for (const std::uint32_t other : {12u, 14u, 93u, 250u})
    CHECK(opened(changed(stored, method, [&](std::uint32_t n) { return (n & 0xffff0000u) | other; })) ==
          fmt::format("a.npz: {}.npy: ZIP method {}: 0 (stored) and 8 (deflated) are read", first, other));
  CHECK(opened(stored.substr(0, stored.size() / 2)) ==
        "a.npz: the archive's directory is missing: cut short? get the file again");
}

TEST_CASE("limits hold before anything is unpacked") {
  const std::string good = read_file(folder + "deflated.npz", 1 << 20).value();
  const auto opened = [&](const NpzLimits& limits) { return error_of(Npz::parse(good, "a.npz", limits)); };
  CHECK(opened({.file_bytes = 100}).find("the limit is 100") != std::string::npos);
  CHECK(opened({.unpacked_bytes = 1000}).find("more than 1000 bytes, the limit") != std::string::npos);
  CHECK(opened({.members = 3}) == "a.npz: 11 members, the limit is 3");
}

TEST_CASE("a header that contradicts its data or itself is refused") {
  const Npz npz = Npz::open(folder + "refused.npz").value();
  const auto says = [&](std::string_view name, std::string_view text) {
    CAPTURE(name);
    const std::string error = error_of(npz.read(name));
    CAPTURE(error);
    CHECK(error.find(text) != std::string::npos);
  };
  says("too_few", "<f4 of shape [3, 3], but 24 bytes of data");
  says("huge", "but 24 bytes of data");
  says("beyond", "a size over 2^63-1");
  says("twice", "descr stands twice");
  says("no_shape", "shape is missing");
  says("axes", "more than 6 axes, the limit");
  says("negative", "want a size");
  says("text", "no .npy array");
}
