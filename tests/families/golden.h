// Golden folders as tests read them: a manifest, a checkpoint, cases with tensors.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <unistd.h>

#include "base/file.h"
#include "io/safetensors.h"
#include "runtime/session.h"

namespace tap::golden {

inline const std::string root = TAPETUM_SOURCE_DIR "/tests/families";

struct Case {
  std::string name;
  Json entry;  // of the manifest
  std::shared_ptr<const Safetensors> tensors;
  bool has(std::string_view tensor) const { return tensors->find(tensor) != nullptr; }
  Tensor read(std::string_view tensor) const { return tensors->read(tensor); }
  // A leading batch axis of 1 is dropped.
  Tensor single(std::string_view tensor) const {
    const Tensor t = read(tensor);
    std::vector<Dim> dims(t.shape().dims().begin() + 1, t.shape().dims().end());
    return t.reshape(Shape(dims));
  }
  std::vector<TokenId> ids(std::string_view tensor) const {
    std::vector<TokenId> out;
    const Tensor t = read(tensor);
    for (const std::int64_t id : t.values<std::int64_t>()) out.push_back(static_cast<TokenId>(id));
    return out;
  }
  std::shared_ptr<const Image> image(const std::string& tensor) const {
    const Tensor t = read(tensor);  // [h, w, 3]
    auto image = std::make_shared<Image>(t.dim(1), t.dim(0));
    std::copy_n(t.data<std::uint8_t>(), t.elements(), image->pixels.begin());
    return image;
  }
  std::vector<std::shared_ptr<const Image>> images() const {
    std::vector<std::shared_ptr<const Image>> all;
    if (entry.contains("images"))
      for (const Json& tensor : entry["images"]) all.push_back(image(tensor.get<std::string>()));
    else
      for (int i = 0; has(fmt::format("image{}", i)); ++i) all.push_back(image(fmt::format("image{}", i)));
    return all;
  }
};

struct Folder {
  std::string name, checkpoint;
  float tolerance = 0;
  std::vector<Case> cases;
};

inline std::vector<Folder> folders() {
  std::vector<Folder> all;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    const std::string path = entry.path().string();
    if (!file_exists(path + "/manifest.json")) continue;
    const Json manifest = Json::parse(read_file(path + "/manifest.json", 1 << 22).value());
    if (!manifest.contains("checkpoint")) continue;
    Folder folder{entry.path().filename().string(),
                  path + "/" + manifest["checkpoint"].get<std::string>(),
                  manifest["max_abs_tolerance"].get<float>(),
                  {}};
    for (const Json& one : manifest["cases"])
      folder.cases.push_back({one["name"].get<std::string>(), one,
                              std::make_shared<const Safetensors>(
                                  Safetensors::open(path + "/" + one["file"].get<std::string>()).value())});
    all.push_back(std::move(folder));
  }
  std::sort(all.begin(), all.end(), [](const Folder& a, const Folder& b) { return a.name < b.name; });
  return all;
}

inline std::unique_ptr<Model> load(const Folder& folder, Dtype dtype = Dtype::f32, const Json& processor_options = {}) {
  LoadOptions options;
  options.dtype = dtype;
  options.processor_options = processor_options;
  return load_model(folder.checkpoint, options);
}

// Pixels that look like nothing and differ with the seed.
inline std::shared_ptr<const Image> picture(Dim width, Dim height, int seed = 1) {
  auto image = std::make_shared<Image>(width, height);
  for (std::size_t i = 0; i < image->pixels.size(); ++i)
    image->pixels[i] = static_cast<std::uint8_t>((i * i + i * static_cast<std::size_t>(seed)) >> 3);
  return image;
}

// Exactly so many tokens, unless the context ends.
inline GenerateOptions tokens(Dim count) {
  GenerateOptions options;
  options.max_tokens = count;
  options.ignore_end = true;
  return options;
}

// An answer with the logits that each of its tokens was chosen from.
struct Run {
  std::vector<TokenId> ids;
  std::vector<Tensor> logits;
  Timings timings;
};

inline Run run(Session& session, const Conversation& talk, Dim count) {
  Generation generation = session.ask(talk, tokens(count));
  Run result;
  while (generation.next()) result.logits.push_back(generation.last_logits());
  result.ids = generation.output();
  result.timings = generation.timings();
  return result;
}

inline double max_abs(const Tensor& a, const Tensor& b) {
  if (a.elements() != b.elements()) return INFINITY;
  double worst = 0;
  for (Dim i = 0; i < a.elements(); ++i) {
    const double d = std::abs(static_cast<double>(a.data<float>()[i]) - static_cast<double>(b.data<float>()[i]));
    worst = std::isnan(d) ? INFINITY : std::max(worst, d);
  }
  return worst;
}

// [1, n, 3, h, w] and [n, 3, h, w] to the latter; undefined where a case has no pictures.
inline Tensor pixels(const Case& one, std::string_view tensor = "pixel_values") {
  if (tensor == "pixel_values" && one.has("pixel_values_videos")) tensor = "pixel_values_videos";
  if (!one.has(tensor)) return {};
  const Tensor t = one.read(tensor);
  return t.rank() == 5 || (t.rank() == 4 && tensor != "pixel_values") ? one.single(tensor) : t;
}

// Grids of a case's pictures or clip, in families that have them, and plans with these.
inline std::vector<PatchGrid> grids(const Case& one) {
  std::vector<PatchGrid> all;
  for (const char* tensor : {"image_grid_thw", "video_grid_thw"})
    if (one.has(tensor)) {
      const auto numbers = one.ids(tensor);
      for (std::size_t i = 0; i + 2 < numbers.size(); i += 3)
        all.push_back({numbers[i], numbers[i + 1], numbers[i + 2]});
    }
  return all;
}
inline std::vector<ImagePlan> plans(const Case& one, const Model& model) {
  std::vector<ImagePlan> all;
  const double seconds = one.has("second_per_grid_ts") ? double{one.read("second_per_grid_ts").data<float>()[0]} : 0;
  for (const PatchGrid& grid : grids(one)) all.push_back(model.processor().plan_of_grid(grid, seconds));
  return all;
}

// What the projector gives.
inline Tensor features(const Case& one) {
  return one.has("vision_features") ? one.read("vision_features") : one.read("image_features");
}

// A prompt of a case with the rows of its pictures: of a batch the first row, without its padding.
struct Sample {
  Prompt prompt;
  Tensor features;  // [slots, d]; undefined: no pictures
};
inline Sample sample(const Case& one, const Model& model) {
  std::vector<TokenId> ids = one.ids("input_ids");
  const Dim rows = one.read("input_ids").dim(0), width = static_cast<Dim>(ids.size()) / rows;
  if (rows > 1) {
    const std::vector<TokenId> mask = one.ids("attention_mask");
    std::vector<TokenId> kept;
    for (Dim i = 0; i < width; ++i)
      if (mask[static_cast<std::size_t>(i)]) kept.push_back(ids[static_cast<std::size_t>(i)]);
    ids = kept;
  }
  Sample found{model.processor().from_ids(ids, plans(one, model)), {}};
  const Dim slots = static_cast<Dim>(found.prompt.slots.size());
  if (slots == 0) return found;
  const bool given = one.has("image_features") || one.has("vision_features");
  const Tensor all =
      given ? features(one) : model.network().project(model.network().tower({pixels(one), {}, grids(one)}));
  found.features = all.reshape({-1, all.width()}).rows(0, slots);
  return found;
}

// Embeddings of a case's ids, its own picture rows in their slots.
inline Tensor embedded(const Model& model, const Prompt& prompt, const Tensor& features) {
  Tensor x = model.network().embed(prompt.ids);
  return prompt.slots.empty() ? x : ops::put_rows(x, prompt.slots, features);
}

// The checkpoint's files in a fresh folder that goes away with the value.
struct Copy {
  std::filesystem::path folder;
  explicit Copy(const std::string& checkpoint) {
    folder = std::filesystem::temp_directory_path() / fmt::format("tapetum-families-{}-{}", ::getpid(), counter++);
    std::filesystem::create_directories(folder);
    for (const auto& entry : std::filesystem::directory_iterator(checkpoint)) {
      std::filesystem::copy_file(entry.path(), folder / entry.path().filename());
      std::filesystem::permissions(folder / entry.path().filename(), std::filesystem::perms::owner_all);
    }
  }
  ~Copy() { std::filesystem::remove_all(folder); }
  static inline int counter = 0;
};

}  // namespace tap::golden
