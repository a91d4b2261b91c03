// The local hub cache (huggingface_hub's layout: models--ORG--NAME/{refs,snapshots,blobs}) and which folder a model's
// name means. Nothing here touches the network.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace tap {

// The environment variables that say where the cache lies; empty = not set.
struct HubEnv {
  std::string hf_hub_cache{}, huggingface_hub_cache{}, hf_home{}, xdg_cache_home{}, home{};
  static HubEnv from_environment();
  // The cache's folder: the first variable that is set decides, as in huggingface_hub. Empty when none is (no HOME).
  std::string cache_folder() const;
};

// "org/name" or "org/name@revision" (a branch, tag or commit).
struct HubName {
  std::string org{}, name{};
  std::string revision{};  // empty: not given
  std::string repo() const { return org + "/" + name; }
  std::string folder() const { return "models--" + org + "--" + name; }  // in the cache
};

// nullopt when the text is no such name. What it accepts is safe as a part of a path and of a URL.
std::optional<HubName> parse_hub_name(std::string_view text);
bool is_commit(std::string_view text);  // 40 lower-case hexadecimal digits

// The folder that `name` means: an existing folder, or "org/name" (optionally "org/name@revision": a branch, tag or
// commit) in the hub cache. The Error (not_found) says where it looked and how to get the model; bad_file names a link
// in a snapshot that leads out of its model's folder.
Result<std::string> resolve_model(const std::string& name, const HubEnv& env);

// "org/name" when `folder` is a snapshot of a hub cache by its path (…/models--ORG--NAME/snapshots/COMMIT); else empty.
std::string hub_name_of(const std::string& folder);

struct CachedModel {
  std::string name;                 // "org/name"
  std::string folder;               // the snapshot's folder; empty when there is none
  std::string architecture;         // the first of config.json's `architectures`; empty when unknown
  std::uint64_t bytes = 0;          // of the snapshot's files, links followed
  std::string missing;              // empty when complete; else what is not there ("model-00002-of-00003.safetensors")
  std::uint64_t partial_bytes = 0;  // of downloads that were begun and not finished
};

// All models of the cache, by name; unreadable folders are left out.
std::vector<CachedModel> list_models(const HubEnv& env);

// What is not there of a checkpoint's folder: config.json, weights, shards that the index names, tokenizer.json. Empty
// when complete.
std::string missing_files(const std::string& folder);

// An Error when `path` lies in a snapshot of a hub cache and is a link to outside its models--ORG--NAME folder (a
// crafted snapshot could point at any file of the user). Links into blobs are normal; in a plain folder links are the
// user's own affair.
std::optional<Error> refuse_foreign_link(const std::string& path);

}  // namespace tap
