#include "io/weight_files.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include <fmt/format.h>

#include "base/file.h"
#include "io/hub.h"
#include "io/json.h"

namespace tap {

namespace {

constexpr std::size_t max_shards = 512;  // each keeps a descriptor open
constexpr std::size_t max_index_bytes = std::size_t{64} << 20;

constexpr const char* single_name = "model.safetensors";

// Why a folder without safetensors cannot be loaded.
Error no_safetensors(const std::string& folder) {
  namespace fs = std::filesystem;
  std::string pickle, gguf, adapter, other;
  std::error_code ignored;
  std::size_t files = 0;
  for (fs::directory_iterator at(folder, ignored), end; !ignored && at != end && files < 100'000;
       at.increment(ignored), ++files) {
    const std::string file = at->path().filename().string(), ending = at->path().extension().string();
    const auto keep_first = [&](std::string& kept) {
      if (kept.empty() || file < kept) kept = file;
    };
    if (file == "adapter_model.safetensors" || file == "adapter_model.bin")
      keep_first(adapter);
    else if (ending == ".bin" || ending == ".pt" || ending == ".pth" || ending == ".ckpt")
      keep_first(pickle);
    else if (ending == ".gguf")
      keep_first(gguf);
    else if (ending == ".safetensors")
      keep_first(other);
  }
  const auto lead = fmt::format("{}: no {}", folder, single_name);
  if (!adapter.empty()) {
    std::string base = "its base model";
    if (const auto text = read_file(folder + "/adapter_config.json", std::size_t{1} << 20); text.ok())
      if (const auto config = parse_json(*text, "adapter_config.json"); config.ok() && config->is_object())
        if (const auto at = config->find("base_model_name_or_path"); at != config->end() && at->is_string())
          base += " " + at->get<std::string>().substr(0, 200);
    return Error(
        ErrorCode::unsupported,
        fmt::format("{}: {} is only an adapter; load {}, or merge the adapter into it first", lead, adapter, base),
        folder);
  }
  if (!pickle.empty())
    return Error(ErrorCode::unsupported,
                 fmt::format("{}, only {}: pickles are never read (they can run code); get the model's safetensors "
                             "revision, or convert it where you "
                             "trust it: python -c \"import torch, safetensors.torch as s; s.save_file({{k: v.clone() "
                             "for k, v in torch.load('{}', "
                             "weights_only=True).items()}}, '{}')\"",
                             lead, pickle, pickle, single_name),
                 folder);
  if (!gguf.empty())
    return Error(ErrorCode::unsupported, fmt::format("{}, only {}: GGUF files cannot be read yet", lead, gguf), folder);
  if (!other.empty())
    return Error(ErrorCode::unsupported,
                 fmt::format("{} and no {}, only {}: name the weights as the hub does", lead, weight_index_name, other),
                 folder);
  return Error(
      ErrorCode::not_found,
      fmt::format("{} and no {}: not a model's folder, or its download is not finished", lead, weight_index_name),
      folder);
}

Safetensors open_one(const std::string& folder, const std::string& file) {
  const std::string path = folder + "/" + file;
  if (auto error = refuse_foreign_link(path)) throw *std::move(error);
  auto opened = Safetensors::open(path);
  if (!opened.ok() && opened.error().code() == ErrorCode::not_found)
    throw weight_file_error(file, "cannot be opened; the link may lead nowhere");
  return std::move(opened).value();
}

bool plain_file_name(const std::string& file) {
  return !file.empty() && file.size() <= 255 && file.find('/') == std::string::npos &&
         file.find('\0') == std::string::npos && file != ".." && file.ends_with(".safetensors");
}

// The index says which shard holds which tensor; disk and index must agree both ways.
std::vector<Safetensors> open_shards(const std::string& folder) {
  if (auto error = refuse_foreign_link(folder + "/" + weight_index_name)) throw *std::move(error);
  const std::string text = read_file(folder + "/" + weight_index_name, max_index_bytes).value();
  const Json index = parse_json(text, weight_index_name, {.bytes = max_index_bytes}).value();
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || map == index.end() || !map->is_object() || map->empty())
    throw weight_file_error(weight_index_name, "weight_map is missing, or empty, or not an object");
  if (map->size() > max_safetensors_tensors)
    throw Error(ErrorCode::limit,
                fmt::format("{}: {} tensors, the limit is {}", weight_index_name, map->size(), max_safetensors_tensors),
                weight_index_name);
  std::map<std::string, std::vector<std::string>> listed;  // shard to names, sorted
  for (const auto& [name, shard] : map->items()) {
    if (!shard.is_string() || !plain_file_name(shard.get<std::string>()))
      throw weight_file_error(weight_index_name,
                              fmt::format("weight_map.{} is {}, want the name of a .safetensors file in this folder",
                                          name.substr(0, 120), to_json_line(shard).substr(0, 80)));
    listed[shard.get<std::string>()].push_back(name);
  }
  if (listed.size() > max_shards)
    throw Error(ErrorCode::limit,
                fmt::format("{}: {} shards, the limit is {}", weight_index_name, listed.size(), max_shards),
                weight_index_name);

  std::vector<Safetensors> shards;
  std::vector<std::string> absent;
  std::uint64_t present_bytes = 0;
  for (auto& [shard, names] : listed) {
    if (!file_exists(folder + "/" + shard)) {
      absent.push_back(shard);
      continue;
    }
    shards.push_back(open_one(folder, shard));
    for (const SafetensorEntry& e : shards.back().entries()) present_bytes += e.end - e.begin;
  }
  if (!absent.empty()) {
    std::string bytes;  // total_size is what the whole model has by the index
    if (const auto meta = index.find("metadata"); meta != index.end() && meta->is_object())
      if (const auto total = meta->find("total_size");
          total != meta->end() && total->is_number_unsigned() && total->get<std::uint64_t>() > present_bytes)
        bytes =
            fmt::format(", {} bytes of {}", total->get<std::uint64_t>() - present_bytes, total->get<std::uint64_t>());
    throw weight_file_error(
        absent[0],
        fmt::format("is not there, but {} lists {} tensors in it ({} of {} shards missing{}); download the model again",
                    weight_index_name, listed[absent[0]].size(), absent.size(), listed.size(), bytes));
  }
  auto at = shards.begin();
  for (auto& [shard, names] : listed) {
    const Safetensors& file = *at++;
    std::sort(names.begin(), names.end());
    for (const std::string& name : names)
      if (!file.find(name))
        throw weight_file_error(shard,
                                fmt::format("{} is not in it, but {} says so", name.substr(0, 120), weight_index_name));
    for (const SafetensorEntry& e : file.entries())
      if (!std::binary_search(names.begin(), names.end(), e.name))
        throw weight_file_error(shard, fmt::format("{} is in it ({} bytes), but {} does not say so",
                                                   e.name.substr(0, 120), e.end - e.begin, weight_index_name));
  }
  return shards;
}

}  // namespace

Error weight_file_error(const std::string& file, const std::string& problem) {
  return Error(ErrorCode::bad_file, fmt::format("{}: {}", file, problem), file);
}

std::vector<Safetensors> open_weight_files(const std::string& folder) {
  if (!is_directory(folder))
    throw Error(ErrorCode::not_found,
                fmt::format("{}: {}", folder, file_exists(folder) ? "is not a folder" : "there is no such folder"),
                folder);
  std::vector<Safetensors> files;
  if (file_exists(folder + "/" + single_name))
    files.push_back(open_one(folder, single_name));
  else if (file_exists(folder + "/" + weight_index_name))
    files = open_shards(folder);
  else
    throw no_safetensors(folder);
  return files;
}

}  // namespace tap
