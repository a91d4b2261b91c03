#include "io/hub.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "base/file.h"
#include "io/json.h"

namespace tap {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t max_name_bytes = 200, max_models = 10'000, max_files_per_snapshot = 10'000;
constexpr std::string_view models_prefix = "models--";

std::string variable(const char* key) {
  const char* const value = std::getenv(key);
  return value ? value : "";
}

// A part of a name that becomes part of a path: letters, digits, "._-", never "." or "..".
bool plain_part(std::string_view part) {
  if (part.empty() || part.size() > max_name_bytes || part.find("..") != std::string_view::npos || part == ".")
    return false;
  return std::all_of(part.begin(), part.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

bool plain_revision(std::string_view revision) {  // a branch may hold slashes ("refs/pr/1")
  for (;;) {
    const auto slash = revision.find('/');
    if (!plain_part(revision.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    revision.remove_prefix(slash + 1);
  }
}

std::string trimmed(std::string text) {
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  text.erase(0, text.find_first_not_of(" \t\r\n"));
  return text;
}

std::vector<std::string> names_in(const std::string& folder, std::size_t limit) {
  std::vector<std::string> names = folder_entries(folder, limit);
  std::sort(names.begin(), names.end());
  return names;
}

// The snapshot's folder of one cached model; an Error says what is wrong with the cache's entry.
Result<std::string> snapshot_of(const std::string& model_folder, const std::string& name, const std::string& revision) {
  const std::string wanted = revision.empty() ? "main" : revision;
  const std::string snapshots = model_folder + "/snapshots/";
  const std::string advice =
      fmt::format("get it with `tapetum pull {}{}`", name, revision.empty() ? "" : "@" + revision);
  if (const auto ref = read_file(model_folder + "/refs/" + wanted, 256); ref.ok()) {
    const std::string commit = trimmed(*ref);
    if (!plain_part(commit))
      return Error(ErrorCode::bad_file, fmt::format("{}: {}/refs/{} holds no commit", name, model_folder, wanted),
                   name);
    if (is_directory(snapshots + commit)) return snapshots + commit;
    return Error(ErrorCode::not_found,
                 fmt::format("{}: the download of {} is not finished ({}{} is not there); {}", name, wanted, snapshots,
                             commit, advice),
                 name);
  }
  if (!revision.empty() && revision.find('/') == std::string::npos && is_directory(snapshots + revision))
    return snapshots + revision;
  if (revision.empty())  // downloaded by commit, so no branch is written down: clear when there is just one
    if (const auto commits = names_in(snapshots, 2); commits.size() == 1 && is_directory(snapshots + commits[0]))
      return snapshots + commits[0];
  return Error(
      ErrorCode::not_found,
      fmt::format("{}: revision {} is not in the hub cache (looked in {}); {}", name, wanted, model_folder, advice),
      name);
}

bool looks_like_path(std::string_view name) {
  return name.starts_with("/") || name.starts_with("./") || name.starts_with("../") || name.starts_with("~") ||
         name.ends_with("/") || name == "." || name == "..";
}

Result<std::string> folder_of(const std::string& given, const HubEnv& env) {
  std::string name = given;
  for (char& c : name)  // messages quote it: one line
    if (static_cast<unsigned char>(c) < ' ' || c == 127) c = '?';
  if (name.empty()) return Error(ErrorCode::usage, "the model's name is empty: give a folder or org/name", name);
  if (is_directory(given)) return given;
  if (file_exists(given)) {
    if (name.ends_with(".gguf"))
      return Error(ErrorCode::unsupported,
                   fmt::format("{}: GGUF files cannot be read yet; give a folder with safetensors", name), name);
    return Error(ErrorCode::usage, fmt::format("{}: is a file; give the model's folder or org/name", name), name);
  }
  if (looks_like_path(name))
    return Error(ErrorCode::not_found,
                 fmt::format("{}: there is no such folder; give a model's folder or org/name of the hub cache", name),
                 name);
  const auto hub_name = parse_hub_name(name);
  if (!hub_name)
    return Error(ErrorCode::not_found,
                 fmt::format("{}: is neither a folder nor a name like org/name or org/name@revision", name), name);
  const std::string cache = env.cache_folder();
  if (cache.empty())
    return Error(ErrorCode::not_found,
                 fmt::format("{}: no folder of that name, and no hub cache to look in (HF_HUB_CACHE, HF_HOME and HOME "
                             "are not set); pass a model's folder",
                             name),
                 name);
  const std::string folder = cache + "/" + hub_name->folder();
  if (!is_directory(folder))
    return Error(ErrorCode::not_found,
                 fmt::format("{}: no folder of that name, and not in the hub cache (looked for {}); download it with "
                             "`tapetum pull {}`, or pass a model's folder",
                             name, folder, name),
                 name);
  return snapshot_of(folder, hub_name->repo(), hub_name->revision);
}

// "models--ORG--NAME" to "ORG/NAME"; empty when the folder is called otherwise.
std::string repo_in(const std::string& entry) {
  const auto split = entry.find("--", models_prefix.size());
  if (!entry.starts_with(models_prefix) || split == std::string::npos) return "";
  return entry.substr(models_prefix.size(), split - models_prefix.size()) + "/" + entry.substr(split + 2);
}

// Bytes of downloads that were begun and not finished.
std::uint64_t partial_bytes_in(const std::string& model_folder) {
  std::uint64_t bytes = 0;
  for (const std::string& file : names_in(model_folder + "/blobs", max_files_per_snapshot)) {
    std::error_code no_file;
    if (file.ends_with(".incomplete"))
      if (const auto size = fs::file_size(model_folder + "/blobs/" + file, no_file); !no_file) bytes += size;
  }
  return bytes;
}

}  // namespace

std::optional<HubName> parse_hub_name(std::string_view text) {
  const auto at = text.find('@');
  const std::string_view repo = text.substr(0, at);
  const auto slash = repo.find('/');
  if (slash == std::string_view::npos || !plain_part(repo.substr(0, slash)) || !plain_part(repo.substr(slash + 1)))
    return std::nullopt;
  HubName name{std::string(repo.substr(0, slash)), std::string(repo.substr(slash + 1)), ""};
  if (at == std::string_view::npos) return name;
  if (!plain_revision(text.substr(at + 1))) return std::nullopt;
  name.revision = text.substr(at + 1);
  return name;
}

bool is_commit(std::string_view text) {
  return text.size() == 40 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

HubEnv HubEnv::from_environment() {
  return {variable("HF_HUB_CACHE"), variable("HUGGINGFACE_HUB_CACHE"), variable("HF_HOME"), variable("XDG_CACHE_HOME"),
          variable("HOME")};
}

std::string HubEnv::cache_folder() const {
  std::string folder = !hf_hub_cache.empty()            ? hf_hub_cache
                       : !huggingface_hub_cache.empty() ? huggingface_hub_cache
                       : !hf_home.empty()               ? hf_home + "/hub"
                       : !xdg_cache_home.empty()        ? xdg_cache_home + "/huggingface/hub"
                       : !home.empty()                  ? home + "/.cache/huggingface/hub"
                                                        : "";
  if (folder.starts_with("~/") && !home.empty()) folder = home + folder.substr(1);
  while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
  return folder;
}

Result<std::string> resolve_model(const std::string& name, const HubEnv& env) {
  auto folder = folder_of(name, env);
  if (!folder.ok()) return folder;
  for (const std::string& file : names_in(*folder, max_files_per_snapshot))
    if (auto error = refuse_foreign_link(*folder + "/" + file)) return *std::move(error);
  return folder;
}

std::string hub_name_of(const std::string& folder) {
  const fs::path snapshots = fs::path(folder).parent_path();
  return snapshots.filename() == "snapshots" ? repo_in(snapshots.parent_path().filename().string()) : "";
}

std::string missing_files(const std::string& folder) {
  std::vector<std::string> missing;
  const auto want = [&](const std::string& file) {
    if (!file_exists(folder + "/" + file)) missing.push_back(file);
  };
  want("config.json");
  const std::string index_path = folder + "/model.safetensors.index.json";
  if (!file_exists(folder + "/model.safetensors")) {
    if (!file_exists(index_path)) {
      missing.push_back("model.safetensors");
    } else if (const auto text = read_file(index_path, std::size_t{64} << 20); text.ok()) {
      const auto index = parse_json(*text, "model.safetensors.index.json");
      std::set<std::string> shards;
      if (index.ok() && index->is_object() && index->contains("weight_map"))
        for (const auto& [tensor, shard] : (*index)["weight_map"].items())
          if (shard.is_string() && plain_part(shard.get<std::string>())) shards.insert(shard.get<std::string>());
      if (shards.empty()) missing.push_back("model.safetensors.index.json (damaged)");
      for (const std::string& shard : shards) want(shard);
    }
  }
  if (!file_exists(folder + "/tokenizer.json") && !file_exists(folder + "/tiktoken.model"))
    missing.push_back("tokenizer.json");
  std::string text;
  for (std::size_t i = 0; i < missing.size() && i < 4; ++i) text += (i ? ", " : "") + missing[i];
  if (missing.size() > 4) text += fmt::format(" and {} more", missing.size() - 4);
  return text;
}

std::vector<CachedModel> list_models(const HubEnv& env) {
  std::vector<CachedModel> models;
  const std::string cache = env.cache_folder();
  if (cache.empty()) return models;
  for (const std::string& entry : names_in(cache, max_models)) {
    CachedModel model;
    model.name = repo_in(entry);
    if (model.name.empty()) continue;
    model.partial_bytes = partial_bytes_in(cache + "/" + entry);
    const auto snapshot = snapshot_of(cache + "/" + entry, model.name, "");
    if (!snapshot.ok()) {
      model.missing = "its snapshot";
      models.push_back(std::move(model));
      continue;
    }
    model.folder = *snapshot;
    std::error_code ignored;
    std::size_t files = 0;
    for (fs::recursive_directory_iterator at(model.folder, ignored), end;
         !ignored && at != end && files < max_files_per_snapshot; at.increment(ignored), ++files) {
      std::error_code no_file;
      if (const auto size = fs::file_size(at->path(), no_file); !no_file) model.bytes += size;
    }
    if (!refuse_foreign_link(model.folder + "/config.json"))
      if (const auto text = read_file(model.folder + "/config.json", std::size_t{16} << 20); text.ok())
        if (const auto config = parse_json(*text, "config.json");
            config.ok() && config->is_object() && config->contains("architectures"))
          if (const Json& names = (*config)["architectures"];
              names.is_array() && !names.empty() && names[0].is_string())
            model.architecture = names[0].get<std::string>();
    model.missing = missing_files(model.folder);
    models.push_back(std::move(model));
  }
  return models;
}

std::optional<Error> refuse_foreign_link(const std::string& path) {
  std::error_code failed;
  const fs::path real = fs::canonical(path, failed);
  if (failed) return std::nullopt;  // not there: whoever opens it says so
  // The snapshot may be named through a link, or its folder reached by one: look at both spellings of where it lies.
  const fs::path spelled = fs::absolute(path, failed).lexically_normal();
  const fs::path parent = fs::canonical(spelled.parent_path(), failed);
  for (const fs::path& lying : {spelled, parent / spelled.filename()}) {
    fs::path root;
    bool in_model = false;
    for (const fs::path& part : lying) {
      if (in_model && part == "snapshots") {
        const fs::path real_root = fs::canonical(root, failed);
        const auto [root_at, real_at] = std::mismatch(real_root.begin(), real_root.end(), real.begin(), real.end());
        if (failed || root_at != real_root.end())
          return Error(ErrorCode::bad_file,
                       fmt::format("{}: is a link that leads out of its model's folder {}; refused", path,
                                   root.filename().string()),
                       path);
      }
      root /= part;
      in_model = part.string().starts_with(models_prefix);
    }
  }
  return std::nullopt;
}

}  // namespace tap
