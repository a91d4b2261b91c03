#include <cstdlib>
#include <filesystem>

#include <fcntl.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "base/fd.h"
#include "cli/commands.h"
#include "io/json.h"
#include "support/packed_file.h"
#include "support/temp_folder.h"

namespace tap::cli {

namespace {

struct Place {
  test::TempFolder folder;
  std::string hub = folder / "hub";
  Place() {
    folder.write("packed/notes.txt", "mine");
    ::setenv("TAPETUM_PACKED_CACHE", (folder / "packed").c_str(), 1);
    ::setenv("HF_HUB_CACHE", hub.c_str(), 1);
  }
  ~Place() {
    ::unsetenv("TAPETUM_PACKED_CACHE");
    ::unsetenv("HF_HUB_CACHE");
  }
  std::string snapshot(const std::string& name) const { return hub + "/models--acme--" + name + "/snapshots/0123abc"; }
  std::string printed(int (*run)(const Options&), const Options& options) const {
    const std::string path = folder / "stdout";
    const Fd before(::dup(STDOUT_FILENO)), file(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600));
    ::dup2(file.get(), STDOUT_FILENO);
    int code = 0;
    try {
      code = run(options);
    } catch (...) {
      ::dup2(before.get(), STDOUT_FILENO);
      throw;
    }
    ::dup2(before.get(), STDOUT_FILENO);
    CHECK(code == 0);
    return read_file(path, 1 << 20).value();
  }
  std::string cache(std::vector<std::string> words) const {
    Options options;
    options.words = std::move(words);
    return printed(run_cache, options);
  }
  Json cache_json(std::vector<std::string> words) const {
    Options options;
    options.words = std::move(words);
    options.json = true;
    return parse_json(printed(run_cache, options), "stdout").value();
  }
};

ErrorCode code_of(const auto& act) {
  try {
    act();
  } catch (const Error& error) {
    CHECK(error.message().find('\n') == std::string::npos);
    return error.code();
  }
  FAIL("no error");
  return ErrorCode::internal;
}

}  // namespace

TEST_CASE("tapetum cache lists models, types and sizes, and damaged files do not stop it") {
  const Place place;
  test::write_packed_file(place.snapshot("tiny"), WeightType::q8);
  test::write_packed_file("/models/own", WeightType::q4);
  place.folder.write("packed/broken-0123456789abcdef.packed", "?");
  const std::string text = place.cache({});
  for (const char* part : {"acme/tiny", "q8", "/models/own", "q4", "broken-0123456789abcdef.packed", "damaged",
                           "of at most 68.7 GB, 3 files in "})
    CHECK(text.find(part) != std::string::npos);
  CHECK(text.find("notes") == std::string::npos);
  const Json json = place.cache_json({});
  CHECK(json["folder"] == place.folder / "packed");
  CHECK(json["files"].size() == 3);
  std::uint64_t sum = 0;
  for (const Json& file : json["files"]) {
    sum += file["bytes"].get<std::uint64_t>();
    CHECK(file["used"].get<std::string>().size() == std::string_view("2026-11-05T14:03:11Z").size());
    CHECK((file["state"] == "damaged") == file["folder"].get<std::string>().empty());
  }
  CHECK(json["bytes"] == sum);
  CHECK(json["most_bytes"] == std::uint64_t{64} << 30);
}

TEST_CASE("tapetum cache clear removes the files of the models it is given, or all of ours") {
  const Place place;
  const std::string tiny8 = test::write_packed_file(place.snapshot("tiny"), WeightType::q8);
  const std::string tiny4 = test::write_packed_file(place.snapshot("tiny"), WeightType::q4);
  const std::string tiny2 = test::write_packed_file(place.snapshot("tiny2"), WeightType::q4);
  const std::string own = test::write_packed_file("/models/own", WeightType::q4);
  place.folder.write("packed/broken-0123456789abcdef.packed", "?");
  CHECK(code_of([&] { place.cache({"clear", "acme/tiny", "acme/none"}); }) == ErrorCode::not_found);
  CHECK(code_of([&] { place.cache({"clear", ""}); }) == ErrorCode::not_found);
  CHECK(code_of([&] { place.cache({"clean"}); }) == ErrorCode::usage);
  CHECK(place.cache_json({})["files"].size() == 5);  // an unknown name removes nothing
  const auto bytes = std::filesystem::file_size(tiny8) + std::filesystem::file_size(tiny4);
  const Json json = place.cache_json({"clear", "acme/tiny", "acme/tiny"});
  CHECK(json == Json{{"folder", place.folder / "packed"}, {"files", 2}, {"freed_bytes", bytes}});
  CHECK(!file_exists(tiny8));
  CHECK(!file_exists(tiny4));
  CHECK(file_exists(tiny2));
  CHECK(place.cache({"clear", "/models/../models/own/"}).starts_with("1 file removed, "));
  CHECK(!file_exists(own));
  CHECK(place.cache({"clear"}).starts_with("2 files removed, "));
  CHECK(folder_entries(place.folder / "packed", 10) == std::vector<std::string>{"notes.txt"});
  CHECK(place.cache({"clear"}).starts_with("0 files removed, "));
}

TEST_CASE("tapetum rm removes the packed weights of that model only, and of no other cache's") {
  const Place place;
  for (const char* name : {"tiny", "tiny2"})
    place.folder.write(fmt::format("hub/models--acme--{}/snapshots/0123abc/config.json", name), "{}");
  place.folder.write("hub2/models--acme--tiny/snapshots/0123abc/config.json", "{}");
  const std::string tiny8 = test::write_packed_file(place.snapshot("tiny"), WeightType::q8);
  const std::string tiny4 = test::write_packed_file(place.snapshot("tiny"), WeightType::q4);
  const std::string tiny2 = test::write_packed_file(place.snapshot("tiny2"), WeightType::q8);
  const std::string other =
      test::write_packed_file(place.folder / "hub2/models--acme--tiny/snapshots/0123abc", WeightType::q8);
  place.folder.write("packed/broken-0123456789abcdef.packed", "?");
  const auto bytes = 2 + std::filesystem::file_size(tiny8) + std::filesystem::file_size(tiny4);
  Options options;
  options.words = {"acme/tiny"};
  options.yes = options.json = true;
  CHECK(parse_json(place.printed(run_rm, options), "stdout").value()["freed_bytes"] == bytes);
  CHECK(!file_exists(place.snapshot("tiny")));
  CHECK(!file_exists(tiny8));
  CHECK(!file_exists(tiny4));
  CHECK(file_exists(tiny2));
  CHECK(file_exists(other));
  CHECK(file_exists(place.folder / "packed/broken-0123456789abcdef.packed"));
}

}  // namespace tap::cli
