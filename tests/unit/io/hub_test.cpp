#include "io/hub.h"

#include <doctest/doctest.h>

#include "support/temp_folder.h"

using namespace tap;
using test::TempFolder;

namespace {

bool contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  MESSAGE(text);
  return false;
}

std::string error_of(const std::string& name, const HubEnv& env, ErrorCode code = ErrorCode::not_found) {
  const auto folder = resolve_model(name, env);
  if (folder.ok()) return "(found)";
  CHECK(folder.error().code() == code);
  CHECK(folder.error().message().find('\n') == std::string::npos);
  return folder.error().message();
}

void add_model(const TempFolder& cache, const std::string& entry, const std::string& commit, bool with_weights) {
  cache.write(entry + "/refs/main", commit + "\n");
  const std::string snapshot = entry + "/snapshots/" + commit + "/";
  cache.write(snapshot + "config.json", R"({"architectures": ["SmolVLMForConditionalGeneration"]})");
  cache.write(snapshot + "tokenizer.json", "{}");
  if (with_weights) cache.write(snapshot + "model.safetensors", "12345678");
}

}  // namespace

TEST_CASE("the cache folder follows the variables in the hub's order and no HOME is fine") {
  CHECK(HubEnv{"/a", "/b", "/c", "/d", "/e"}.cache_folder() == "/a");
  CHECK(HubEnv{"", "/b", "/c", "/d", "/e"}.cache_folder() == "/b");
  CHECK(HubEnv{"", "", "/c", "/d", "/e"}.cache_folder() == "/c/hub");
  CHECK(HubEnv{"", "", "", "/d", "/e"}.cache_folder() == "/d/huggingface/hub");
  CHECK(HubEnv{"", "", "", "", "/e"}.cache_folder() == "/e/.cache/huggingface/hub");
  CHECK(HubEnv{"~/x/", "", "", "", "/e"}.cache_folder() == "/e/x");
  CHECK(HubEnv{}.cache_folder().empty());
  CHECK(list_models(HubEnv{}).empty());
  CHECK(
      contains(error_of("org/name", HubEnv{}), "no hub cache to look in (HF_HUB_CACHE, HF_HOME and HOME are not set)"));
}

TEST_CASE("a snapshot's folder tells the model's name") {
  CHECK(hub_name_of("/hub/models--org--small.model-1/snapshots/abc123") == "org/small.model-1");
  CHECK(hub_name_of("/hub/models--org--small--er/snapshots/abc123") == "org/small--er");
  for (const char* folder : {"", "/", "/models/own", "/hub/models--org--name", "/hub/models--org--name/blobs/abc",
                             "/hub/org--name/snapshots/abc"})
    CHECK(hub_name_of(folder).empty());
}

TEST_CASE("a model's name means a folder or a snapshot of the cache") {
  const TempFolder cache;
  add_model(cache, "models--org--small.model-1", "abc123", true);
  const HubEnv env{.hf_hub_cache = cache.path()};
  const std::string snapshot = cache / "models--org--small.model-1/snapshots/abc123";
  CHECK(resolve_model("org/small.model-1", env).value() == snapshot);
  CHECK(resolve_model("org/small.model-1@main", env).value() == snapshot);
  CHECK(resolve_model("org/small.model-1@abc123", env).value() == snapshot);
  CHECK(resolve_model(cache.path(), env).value() == cache.path());
  cache.write("models--org--small.model-1/refs/refs/pr/1", "abc123");
  CHECK(resolve_model("org/small.model-1@refs/pr/1", env).value() == snapshot);
  std::filesystem::remove_all(cache / "models--org--small.model-1/refs");
  CHECK(resolve_model("org/small.model-1", env).value() == snapshot);  // the only snapshot
}

TEST_CASE("a model that is not there is answered with where it was looked for and how to get it") {
  const TempFolder cache;
  add_model(cache, "models--org--name", "abc123", true);
  const HubEnv env{.hf_hub_cache = cache.path()};
  CHECK(
      error_of("org/other", env) ==
      fmt::format(
          "org/other: no folder of that name, and not in the hub cache (looked for {}/models--org--other); download it "
          "with `tapetum pull org/other`, or pass a model's folder",
          cache.path()));
  CHECK(contains(error_of("org/name@v2", env), "org/name: revision v2 is not in the hub cache"));
  cache.write("models--org--name/refs/main", "fff");
  CHECK(contains(error_of("org/name", env), "org/name: the download of main is not finished"));
  cache.write("models--org--name/refs/main", "../../../etc");
  CHECK(contains(error_of("org/name", env, ErrorCode::bad_file), "refs/main holds no commit"));
  cache.write("model.gguf", "GGUF");
  CHECK(contains(error_of(cache / "model.gguf", env, ErrorCode::unsupported), "GGUF files cannot be read yet"));
  CHECK(contains(error_of("", env, ErrorCode::usage), "name is empty"));
}

TEST_CASE("a name that could leave the cache is refused") {
  const TempFolder cache;
  const HubEnv env{.hf_hub_cache = cache.path()};
  std::filesystem::create_directories(cache / "models--..--x");
  for (const std::string name :
       {"../x", "org/..", "a/../b", "org/a/b", "org", "org/", "/nowhere/at/all", "./nowhere", "~/x", "org/na me",
        "org/a\nb", "org/a%2f", "or..g/x", "org/name@../x", "org/name@", "org/name@a//b"}) {
    const std::string message = error_of(name, env);
    const bool refused =
        message.ends_with("there is no such folder; give a model's folder or org/name of the hub cache") ||
        message.ends_with("is neither a folder nor a name like org/name or org/name@revision");
    CHECK_MESSAGE(refused, message);
  }
  CHECK(contains(error_of("a/" + std::string(300, 'x'), env), "is neither a folder nor a name"));
}

TEST_CASE("cached models are listed with size and architecture and what is missing") {
  const TempFolder cache;
  add_model(cache, "models--b--whole", "1", true);
  add_model(cache, "models--a--half", "2", false);
  cache.write("models--c--none/refs/main", "3");
  cache.write("datasets--d--x/refs/main", "3");
  cache.write("version.txt", "1");
  add_model(cache, "models--d--shards", "4", false);
  cache.write("models--d--shards/snapshots/4/model.safetensors.index.json",
              R"({"weight_map": {"a": "s1.safetensors", "b": "s2.safetensors", "c": "../../x"}})");
  cache.write("models--d--shards/snapshots/4/s1.safetensors", "x");
  const auto models = list_models(HubEnv{.hf_hub_cache = cache.path()});
  REQUIRE(models.size() == 4);
  CHECK(models[0].name == "a/half");
  CHECK(models[0].missing == "model.safetensors");
  CHECK(models[1].name == "b/whole");
  CHECK(models[1].missing.empty());
  CHECK(models[1].architecture == "SmolVLMForConditionalGeneration");
  CHECK(models[1].folder == cache / "models--b--whole/snapshots/1");
  CHECK(models[1].bytes == std::filesystem::file_size(models[1].folder + "/config.json") + 2 + 8);
  CHECK(models[2].missing == "its snapshot");
  CHECK(models[3].missing == "s2.safetensors");
}

TEST_CASE("a dangling link counts as missing") {
  const TempFolder cache;
  add_model(cache, "models--a--b", "1", false);
  std::filesystem::create_symlink("../../blobs/gone", cache / "models--a--b/snapshots/1/model.safetensors");
  CHECK(list_models(HubEnv{.hf_hub_cache = cache.path()})[0].missing == "model.safetensors");
}

TEST_CASE("[B10] a snapshot in which any file is a link to outside is refused by name") {
  const TempFolder cache;
  add_model(cache, "models--org--name", "1", true);
  const HubEnv env{.hf_hub_cache = cache.path()};
  cache.write("models--org--name/blobs/abc", "{}");
  std::filesystem::create_symlink("../../blobs/abc", cache / "models--org--name/snapshots/1/generation_config.json");
  CHECK(resolve_model("org/name", env).ok());
  std::filesystem::create_symlink("/etc/hostname", cache / "models--org--name/snapshots/1/chat_template.json");
  for (const std::string& name : {std::string("org/name"), cache / "models--org--name/snapshots/1"})
    CHECK(contains(error_of(name, env, ErrorCode::bad_file),
                   "chat_template.json: is a link that leads out of its model's folder models--org--name; refused"));
  std::filesystem::create_directories(cache / "plain");
  std::filesystem::create_symlink("/etc/hostname", cache / "plain/chat_template.json");
  CHECK(resolve_model(cache / "plain", env).ok());  // the user's own affair
}
