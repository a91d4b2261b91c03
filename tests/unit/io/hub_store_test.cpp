#include "io/hub_store.h"

#include <filesystem>

#include <doctest/doctest.h>
#include <sys/file.h>

#include "base/file.h"
#include "io/hub_client.h"
#include "support/temp_folder.h"

using namespace tap;
using test::TempFolder;

namespace {

constexpr const char* hello_sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
constexpr const char* hello_git = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";  // printf hello | git hash-object --stdin
constexpr const char* empty_git = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::vector<std::string> wanted(const std::vector<std::string>& siblings) {
  const auto files = choose_files("a/b", siblings);
  return files.ok() ? files->wanted : std::vector<std::string>{files.error().message()};
}

}  // namespace

TEST_CASE("an entity tag is a blob's name only when it is a hash") {
  CHECK(blob_etag("\"" + std::string(hello_git) + "\"") == hello_git);
  CHECK(blob_etag("W/\"" + std::string(hello_sha256) + "\"") == hello_sha256);
  CHECK(blob_etag(hello_git) == hello_git);
  for (const std::string& bad :
       {std::string(), std::string("\""), std::string("\"../../x\""), std::string(40, 'A'), std::string(39, 'a'),
        std::string(65, 'a'), std::string(39, 'a') + "/", std::string(39, 'a') + "\""})
    CHECK(blob_etag(bad).empty());
}

TEST_CASE("hashes are those of git and of SHA-256") {
  BlobHash git({hello_git, 5}), sha256({hello_sha256, 5}), empty({empty_git, 0});
  git.add(bytes("hel"));
  git.add(bytes("lo"));
  sha256.add(bytes("hello"));
  CHECK(git.finish() == hello_git);
  CHECK(sha256.finish() == hello_sha256);
  CHECK(empty.finish() == empty_git);
}

TEST_CASE("[F04] a partial blob goes on where it stopped and gets its name only with the right bytes") {
  const TempFolder folder;
  const BlobId blob{hello_sha256, 5};
  const std::string partial = folder / (blob.etag + ".incomplete"), whole = folder / blob.etag;
  {
    PartialBlob first(folder.path(), blob);
    first.append(bytes("he"));
  }
  CHECK(read_file(partial, 100).value() == "he");
  {
    PartialBlob second(folder.path(), blob);
    CHECK(second.bytes() == 2);
    second.append(bytes("llx"));
    CHECK_FALSE(second.finish());  // the wrong bytes
    CHECK(second.bytes() == 0);
    CHECK_FALSE(file_exists(whole));
    second.append(bytes("hello"));
    CHECK(second.finish());
  }
  CHECK(read_file(whole, 100).value() == "hello");
  CHECK_FALSE(file_exists(partial));
  folder.write(blob.etag + ".incomplete", "longer than it may be");
  CHECK(PartialBlob(folder.path(), blob).bytes() == 0);
}

TEST_CASE("a partial blob is never written through a link") {
  const TempFolder folder;
  folder.write("precious", "x");
  std::filesystem::create_symlink(folder / "precious", folder / (std::string(hello_git) + ".incomplete"));
  CHECK_THROWS_AS(PartialBlob(folder.path(), {hello_git, 5}), Error);
  CHECK(read_file(folder / "precious", 10).value() == "x");
}

TEST_CASE("the store makes the layout of the hub's own library") {
  const TempFolder cache;
  const HubEnv env{.hf_hub_cache = cache.path()};
  const HubName name = parse_hub_name("org/small.model").value();
  const HubStore store = HubStore::open(env, name).value();
  CHECK_FALSE(file_exists(store.folder()));
  store.prepare();
  const std::string commit(40, 'a');
  const BlobId blob{hello_git, 5};
  {
    const FileLock lock = store.lock(blob, {}).value();
    CHECK(is_being_downloaded(cache.path(), name));
    CHECK(remove_model(env, name).error().code() == ErrorCode::io);
  }
  CHECK_FALSE(is_being_downloaded(cache.path(), name));
  CHECK(file_exists(cache / (".locks/models--org--small.model/" + blob.etag + ".lock")));
  cache.write("models--org--small.model/blobs/" + blob.etag, "hello");
  CHECK(store.has_blob(blob));
  CHECK_FALSE(store.has_blob({hello_git, 6}));
  store.link(commit, "config.json", blob);
  store.link(commit, "config.json", blob);  // again: nothing changes
  CHECK(std::filesystem::read_symlink(store.snapshot(commit) + "/config.json") == "../../blobs/" + blob.etag);
  CHECK(store.file_bytes(commit, "config.json") == 5);
  CHECK_FALSE(store.file_bytes(commit, "other.json").has_value());
  store.set_revision("refs/pr/1", commit);
  CHECK(read_file(store.folder() + "/refs/refs/pr/1", 100).value() == commit);
  CHECK(remove_model(env, name).value() == 45);
  CHECK_FALSE(file_exists(store.folder()));
  CHECK(remove_model(env, name).error().code() == ErrorCode::not_found);
}

TEST_CASE("only what a model needs is chosen and the weights come last") {
  CHECK(wanted({"model.safetensors", "tokenizer.json", "config.json", "README.md", "pytorch_model.bin"}) ==
        std::vector<std::string>{"config.json", "tokenizer.json", "model.safetensors"});
  CHECK(wanted({"model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json",
                "consolidated.safetensors", "model.fp32-00001-of-00002.safetensors"}) ==
        std::vector<std::string>{"model.safetensors.index.json", "model-00001-of-00002.safetensors",
                                 "model-00002-of-00002.safetensors"});
  CHECK(wanted({"model.safetensors", "model.safetensors.index.json", "model-00001-of-00001.safetensors"}) ==
        std::vector<std::string>{"model.safetensors"});
  CHECK(wanted({"model.safetensors", "../config.json", "/config.json", "x/config.json", "config.json\n", "..tiktoken",
                "a/b.tiktoken", "qwen.tiktoken"}) == std::vector<std::string>{"qwen.tiktoken", "model.safetensors"});
  CHECK(wanted({"pytorch_model.bin"}).at(0).find("only pickles") != std::string::npos);
  CHECK(wanted({}).at(0).find("has no model.safetensors;") != std::string::npos);
}

TEST_CASE("names of the hub are told from paths") {
  CHECK(parse_hub_name("org/name")->folder() == "models--org--name");
  CHECK(parse_hub_name("org/name@refs/pr/1")->revision == "refs/pr/1");
  for (const char* bad : {"name", "org/", "/name", "org/name/x", "org/..", "../name", "org/name@", "org/name@../x",
                          "org/na me", "org/name@a//b", "", "@", "org/name\n"})
    CHECK_FALSE_MESSAGE(parse_hub_name(bad).has_value(), bad);
  CHECK(is_commit(hello_git));
  CHECK_FALSE(is_commit(hello_sha256));
}
