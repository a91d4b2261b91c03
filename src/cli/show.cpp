// tapetum show MODEL and tapetum list: what is there, before anything is loaded.
#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "io/embedded.h"
#include "io/hub.h"
#include "io/quantized_format.h"
#include "runtime/memory_plan.h"
#include "runtime/model.h"

namespace tap::cli {

namespace {

// The first two parts of a name without layer numbers: "model.text_model".
std::string part_of(const std::string& name) {
  const auto first = name.find('.');
  const auto second = first == std::string::npos ? first : name.find('.', first + 1);
  return name.substr(0, second);
}

constexpr std::array plan_types{WeightType::f32, WeightType::bf16, WeightType::q8, WeightType::q4};

// What a line of `list` says of a model that is not whole, or has a download begun and not finished.
std::string incomplete_text(const CachedModel& m) {
  std::string text = m.missing.empty() ? "" : fmt::format("  incomplete: {} is missing", m.missing);
  if (m.partial_bytes)
    text += fmt::format("  (download not finished, {} so far; `tapetum pull {}` goes on)",
                        human_bytes(static_cast<double>(m.partial_bytes)), m.name);
  return text;
}

// What the model takes in one type: weights, and the cache of 1000 tokens.
Json plan_json(const NetworkPlan& plan) {
  return {{"weights", plan.block_bytes},
          {"matrices", plan.packed_bytes},
          {"tensors", plan.tensor_bytes},
          {"cache_per_1000_tokens", plan.cache_bytes(1000)}};
}

struct Part {
  Dim tensors = 0, parameters = 0;
  std::uint64_t bytes = 0;
};

}  // namespace

int run_show(const Options& options) {
  if (options.words.size() != 1) fail(ErrorCode::usage, "show takes one model, got {} words", options.words.size());
  LoadOptions load;
  load.dtype = *parse_dtype(options.dtype);
  load.weights = false;
  const auto model = load_model(model_folder(options.words[0]), load);
  const Weights weights = Weights::open(model->folder());
  const auto entries = weights.entries();
  std::map<std::string, Part> parts;
  Part all;
  std::vector<NetworkPlan> plans;
  const auto stored = model->stored_type();
  for (const WeightType type : plan_types)
    if (!stored || *stored == type) plans.push_back(plan_network(model->family(), model->files(), type));
  for (const auto& entry : entries) {
    // A quantized folder may hold a matrix in its own numbers too.
    const bool twice = stored && (weights.has(entry.name + ".q8") || weights.has(entry.name + ".q4"));
    for (Part* part : {&parts[part_of(entry.name)], &all}) {
      part->tensors += 1;
      if (!twice) part->parameters += parameters_of(entry.name, entry.shape, stored.has_value());
      part->bytes += entry.bytes;
    }
  }
  const auto unread = model->unread_config();
  const bool has_template = model->has_chat_template();
  const std::string would_use(name(model->weight_type()));
  if (options.json) {
    Json json = {{"model", model->name()},
                 {"folder", model->folder()},
                 {"family", model->family().name},
                 {"architecture", model->files().config.texts_or("architectures", {""}).front()},
                 {"parameters", all.parameters},
                 {"file_bytes", all.bytes},
                 {"context", model->context()},
                 {"chat_template", has_template},
                 {"grounding", model->grounding().has_value()},
                 {"weights_as", would_use},
                 {"quantized", stored.has_value()}};
    for (const NetworkPlan& plan : plans) {
      json["memory_bytes"][std::string(name(plan.type))] = plan.block_bytes;
      json["memory_plan"][std::string(name(plan.type))] = plan_json(plan);
    }
    for (const auto& [label, part] : parts)
      json["parts"][label] = {{"tensors", part.tensors}, {"parameters", part.parameters}, {"bytes", part.bytes}};
    json["tensors"] = Json::array();
    for (const auto& entry : entries)
      json["tensors"].push_back(
          {{"name", entry.name}, {"dtype", entry.dtype}, {"shape", entry.shape}, {"file", entry.file}});
    json["unread_keys"] = unread;
    json["config"] = model->files().config.json();
    write_json(json);
    return 0;
  }
  std::string text = fmt::format(
      "{}\n  folder      {}\n  family      {}\n  parameters  {:.1f} M in {} tensors, {} on disk\n  context     {} "
      "tokens\n",
      model->name(), model->folder(), model->family().name, static_cast<double>(all.parameters) / 1e6, all.tensors,
      human_bytes(static_cast<double>(all.bytes)), model->context());
  text += fmt::format("  template    {}\n  boxes       {}\n  memory\n", has_template ? "yes" : "none: it takes no chat",
                      model->grounding() ? "yes" : "it cannot say where things are");
  for (const NetworkPlan& plan : plans)
    text += fmt::format("    {:<4} {:>8} of weights, {:>8} of cache for 1000 tokens{}\n", name(plan.type),
                        human_bytes(static_cast<double>(plan.block_bytes)),
                        human_bytes(static_cast<double>(plan.cache_bytes(1000))),
                        would_use != name(plan.type) ? ""
                        : options.dtype == "auto"    ? " (what --dtype auto takes)"
                                                     : " (this one is used)");
  if (stored) text += fmt::format("    the folder holds its matrices in {} and in no other type\n", name(*stored));
  if (would_use == "q8" && !stored)
    text += "    q8 keeps in bf16 what it would be off by too much; -v of a run names these layers\n";
  text += "\nparts\n";
  for (const auto& [label, part] : parts)
    text += fmt::format("  {:<36} {:>5} tensors {:>9.2f} M parameters {:>9}\n", label, part.tensors,
                        static_cast<double>(part.parameters) / 1e6, human_bytes(static_cast<double>(part.bytes)));
  text += "\ntensors\n";
  for (const auto& entry : entries)
    text += fmt::format("  {:<72} {:<5} [{}]\n", entry.name, entry.dtype, fmt::join(entry.shape, ", "));
  if (!unread.empty()) text += fmt::format("\nkeys of config.json that nobody read\n  {}\n", fmt::join(unread, ", "));
  write_out(text);
  return 0;
}

int run_list(const Options& options) {
  if (!options.words.empty()) fail(ErrorCode::usage, "list takes no words; tapetum show MODEL shows one model");
  const HubEnv env = HubEnv::from_environment();
  auto models = list_models(env);
  CachedModel nano{"nano", nano_folder(), "SmolVLMForConditionalGeneration", 0, ""};
  for (const auto& entry : Weights::open(nano.folder).entries()) nano.bytes += entry.bytes;
  models.insert(models.begin(), nano);
  if (options.json) {
    Json all = Json::array();
    for (const CachedModel& m : models)
      all.push_back({{"name", m.name},
                     {"folder", m.folder},
                     {"architecture", m.architecture},
                     {"bytes", m.bytes},
                     {"complete", m.missing.empty()},
                     {"missing", m.missing},
                     {"partial_bytes", m.partial_bytes}});
    write_json(all);
    return 0;
  }
  for (const CachedModel& m : models)
    write_out(fmt::format("{:<44} {:>8}  {}{}\n", m.name, human_bytes(static_cast<double>(m.bytes)),
                          m.architecture.empty() ? "(unknown architecture)" : m.architecture, incomplete_text(m)));
  const std::string cache = env.cache_folder();
  if (models.size() == 1 && !options.quiet)
    write_out(fmt::format("(no models in the hub cache{})\n", cache.empty() ? "" : " " + cache));
  return 0;
}

}  // namespace tap::cli
