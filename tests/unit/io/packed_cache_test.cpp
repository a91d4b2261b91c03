#include "io/packed_cache.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <sys/wait.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "base/rng.h"
#include "support/temp_folder.h"

using namespace tap;
using test::TempFolder;

namespace {

Tensor noise(Dim rows, Dim width) {
  Tensor values = Tensor::empty({rows, width});
  Rng rng(5);
  for (float& value : std::span(values.write<float>(), static_cast<std::size_t>(values.elements())))
    value = static_cast<float>(static_cast<std::int32_t>(rng.next_u32())) * 1e-9f;
  return values;
}

// Large enough to be kept, small enough to be quick.
std::vector<std::pair<std::string, PackedMatrix>> matrices() {
  const Tensor values = noise(4740, 2080);
  return {{"a", PackedMatrix::pack(values, WeightType::bf16)},
          {"b 0 64", PackedMatrix::pack(values, WeightType::q8)},
          {"c", PackedMatrix::pack(values, WeightType::q4)},
          {"d", PackedMatrix::pack(noise(3, 5), WeightType::q8)}};
}

struct CacheFolder {
  TempFolder folder;
  CacheFolder() { ::setenv("TAPETUM_PACKED_CACHE", folder.path().c_str(), 1); }
  ~CacheFolder() { ::unsetenv("TAPETUM_PACKED_CACHE"); }
};

void check_same(const PackedMatrix& a, const PackedMatrix& b) {
  REQUIRE(a.type() == b.type());
  const Tensor x = a.unpack(), y = b.unpack();
  REQUIRE(x.shape() == y.shape());
  CHECK(std::memcmp(x.raw(), y.raw(), static_cast<std::size_t>(x.bytes())) == 0);
}

void change_byte(const std::string& path, std::streamoff at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(at);
  const char byte = static_cast<char>(file.get());
  file.seekp(at);
  file.put(static_cast<char>(byte ^ 1));
}

}  // namespace

TEST_CASE("packed matrices come back from the cache to the bit, for the same sources only") {
  const CacheFolder kept;
  const auto written = matrices();
  PackedCache cache("/models/some", WeightType::q8, "sources");
  CHECK(!cache.read());
  cache.write(written);

  PackedCache again("/models/some", WeightType::q8, "sources");
  REQUIRE(again.read());
  for (const auto& [key, matrix] : written) {
    const auto found = again.find(key);
    REQUIRE(found);
    check_same(*found, matrix);
  }
  CHECK(!again.find("e"));
  CHECK(!PackedCache("/models/some", WeightType::q8, "other sources").read());
  CHECK(!PackedCache("/models/some", WeightType::q4, "sources").read());
}

TEST_CASE("a cached file that is damaged, cut or foreign is not used") {
  const CacheFolder kept;
  PackedCache("model", WeightType::q8, "sources").write(matrices());
  const std::string path = PackedCache("model", WeightType::q8, "sources").path();
  const auto size = static_cast<std::streamoff>(std::filesystem::file_size(path));
  const auto refused = [&] { return !PackedCache("model", WeightType::q8, "sources").read(); };
  for (const std::streamoff at : {std::streamoff{0}, std::streamoff{20}, std::streamoff{60}, size / 2, size - 1}) {
    change_byte(path, at);
    CHECK(refused());
    change_byte(path, at);
  }
  CHECK(!refused());
  std::filesystem::resize_file(path, static_cast<std::uintmax_t>(size - 1));
  CHECK(refused());
  std::filesystem::resize_file(path, 10);
  CHECK(refused());
  std::ofstream(path, std::ios::trunc)
      << "something else, and longer than a header would be, so that it is read as one";
  CHECK(refused());
}

TEST_CASE("writing to the cache removes what killed writers left there") {
  const CacheFolder kept;
  const pid_t ended = ::fork();
  if (ended == 0) ::_exit(0);
  ::waitpid(ended, nullptr, 0);
  const std::string left = fmt::format("other-0123456789abcdef.packed.{}", ended);
  const std::string living = fmt::format("other-0123456789abcdef.packed.{}", ::getpid());
  const std::string foreign = fmt::format("other.packed.{}", ended);
  for (const std::string& name : {left, living, foreign}) kept.folder.write(name, "begun");
  const PackedCache cache("model", WeightType::q8, "sources");
  cache.write(matrices());
  CHECK(std::filesystem::exists(cache.path()));
  CHECK(!std::filesystem::exists(kept.folder / left));
  CHECK(std::filesystem::exists(kept.folder / living));
  CHECK(std::filesystem::exists(kept.folder / foreign));
}

TEST_CASE("small models are not cached, and the cache can be switched off") {
  const CacheFolder kept;
  const std::vector<std::pair<std::string, PackedMatrix>> small{
      {"a", PackedMatrix::pack(noise(64, 64), WeightType::q8)}};
  PackedCache("small", WeightType::q8, "sources").write(small);
  CHECK(std::filesystem::is_empty(kept.folder.path()));
  ::setenv("TAPETUM_PACKED_CACHE", "off", 1);
  PackedCache off("model", WeightType::q8, "sources");
  CHECK(!off.enabled());
  CHECK(!off.read());
  off.write(matrices());
  ::setenv("TAPETUM_PACKED_CACHE", "/proc/nowhere", 1);
  PackedCache("model", WeightType::q8, "sources").write(matrices());  // cannot be written: no error
}

TEST_CASE("slabs hold what was planned of them") {
  for (const std::size_t bytes : {std::size_t{100}, std::size_t{300'000}, std::size_t{20} << 20}) {
    ExecContext context(1);
    const ExecContext::Scope scope(context);
    PackedSlabs slabs, planned;
    std::vector<std::shared_ptr<Storage>> taken;
    std::size_t blocks = 0;
    for (int i = 0; i < 9; ++i) {
      taken.push_back(slabs.take(bytes));
      if (const std::size_t block = planned.plan(bytes)) blocks += Arena::block_bytes(block);
      CHECK(reinterpret_cast<std::uintptr_t>(taken.back()->data()) % 64 == 0);
      std::memset(taken.back()->data(), i, bytes);
    }
    for (std::size_t i = 0; i < taken.size(); ++i) CHECK(taken[i]->data()[bytes - 1] == static_cast<std::byte>(i));
    CHECK(context.arena()->stats().in_use_bytes == blocks);
  }
}
