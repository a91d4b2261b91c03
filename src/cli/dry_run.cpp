#include "cli/dry_run.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/file.h"
#include "cli/output.h"
#include "cli/videos.h"
#include "codec/decode.h"
#include "io/embedded.h"
#include "kernels/machine_limits.h"
#include "runtime/memory_plan.h"

namespace tap::cli {

namespace {

constexpr std::size_t most_admitted_pictures = 16;  // that are looked at before a run; the largest counts
constexpr Dim question_tokens = 256;                // of a prompt beside its picture, before it is rendered
constexpr std::size_t calibration_bytes = std::size_t{128} << 20;

// Fractions of the machine's peaks that this engine reaches (docs/figures.md), so that peaks become seconds.
struct Efficiency {
  double encode, prefill, decode;
};
Efficiency efficiency_of(WeightType type) {
  switch (type) {
    case WeightType::q8: return {0.58, 0.62, 0.90};
    case WeightType::q4: return {0.47, 0.50, 0.88};
    default: return {0.78, 0.80, 0.92};
  }
}

kernels::Pack arithmetic_of(WeightType type) {
  return type == WeightType::f32    ? kernels::Pack::f32
         : type == WeightType::bf16 ? kernels::Pack::bf16
                                    : kernels::Pack::q8;
}

// Operations and bytes a second, measured now, in about a tenth of a second.
struct Calibration {
  double product_ops, read_bytes;
  explicit Calibration(WeightType type) {
    const int threads = ExecContext::current().threads();
    product_ops = 1e9 * product_peak_gops(arithmetic_of(type), threads, 0.03);
    const auto bytes = std::min<std::uint64_t>(calibration_bytes, memory_limits().available() / 4 / 4096 * 4096);
    read_bytes = 1e9 * read_bandwidth_gbs(threads, true, std::max<std::size_t>(bytes, 4096 * 64), 0.03);
  }
};

struct Seconds {
  double encode = 0, prefill = 0, decode = 0;  // decode: of the longest answer
  double total() const { return encode + prefill + decode; }
  Seconds& operator+=(const Seconds& other) {
    encode += other.encode, prefill += other.prefill, decode += other.decode;
    return *this;
  }
};

Seconds estimate(const NetworkPlan& network, const PromptSize& prompt, Dim answer_tokens, const Calibration& machine) {
  const Efficiency reached = efficiency_of(network.type);
  Seconds seconds;
  for (const ImagePlan& plan : prompt.pictures)
    seconds.encode += network.encode_operations(plan) / (machine.product_ops * reached.encode);
  seconds.prefill = network.prefill_operations(prompt.tokens) / (machine.product_ops * reached.prefill);
  if (machine.read_bytes > 0)
    seconds.decode = static_cast<double>(answer_tokens) * network.decode_bytes(prompt.tokens + answer_tokens / 2) /
                     (machine.read_bytes * reached.decode);
  return seconds;
}

// A picture's size from its header, of a video also what its frames come to.
struct Probe {
  ImageInfo info;
  std::shared_ptr<const Clip> clip;
};
Probe probe(const PictureSource& picture, const Model& model, const Options& options) {
  if (!picture.clipboard && is_video_file(picture.name)) {
    const VideoFile video(picture.name);
    Probe found{{}, plan_clip(video, model, options).clip};
    found.info.width = video.width();
    found.info.height = video.height();
    return found;
  }
  const std::string bytes = picture_bytes(picture, options);
  return {probe_image(std::as_bytes(std::span(bytes)), shown_name(picture)).value(), nullptr};
}

struct Row {
  std::string path;
  std::optional<Error> error;
  Probe found;
  PromptSize prompt;
  Dim answer_tokens = 0;  // at most
  Seconds seconds;
};

// The prompt as it would be sent: planning needs a picture's size and none of its pixels.
PromptSize lay_out(const Model& model, const Probe& found, const std::string& question, const Options& options) {
  Medium medium{nullptr, found.clip};
  if (!found.clip) {
    auto image = std::make_shared<Image>();
    image->width = found.info.upright_width();
    image->height = found.info.upright_height();
    medium.image = std::move(image);
  }
  Conversation conversation;
  if (!options.system.empty()) conversation.system(options.system);
  conversation.user_about(std::move(medium), question);
  const PreparedPrompt prepared = model.prepare(conversation);
  return {prepared.prompt.rows(), prepared.plans};
}

Dim context_of(const Model& model, const Options& options) {
  return options.context > 0 ? std::min(options.context, model.context()) : model.context();
}

MemoryLimits limits_here() {
  MemoryLimits limits = memory_limits();
  if (limits.address_space) {  // stacks and allocator heaps of the other threads are mapped, not used
    constexpr std::uint64_t thread_bytes = std::uint64_t{80} << 20;
    const auto threads = static_cast<std::uint64_t>(ExecContext::current().threads() - 1);
    *limits.address_space -= std::min(*limits.address_space, threads * thread_bytes);
  }
  return limits;
}

// What refusals offer instead.
std::optional<NetworkPlan> plan_in_q4(const Model& model) {
  if (model.weight_type() == WeightType::q4 || model.stored_type()) return std::nullopt;
  return plan_network(model.family(), model.files(), WeightType::q4);
}

// What the options say of a run over so many items; its prompts are yet to come.
RunSize run_size(const NetworkPlan& network, const Model& model, const Options& options, Dim items,
                 const MemoryLimits& limits) {
  RunSize run;
  run.max_tokens = options.max_tokens;
  run.context = context_of(model, options);
  run.sequences = options.batch > 0 ? options.batch : default_sequences(network, run.max_tokens, run.context, limits);
  run.sequences = std::max<Dim>(1, std::min(run.sequences, items));
  return run;
}

Json to_json(const Seconds& s) {
  const auto rounded = [](double v) { return std::round(v * 1e4) / 1e4; };
  return {{"encode", rounded(s.encode)},
          {"prefill", rounded(s.prefill)},
          {"decode_at_most", rounded(s.decode)},
          {"total_at_most", rounded(s.total())}};
}

Json to_json(const Row& row, bool timed) {
  if (row.error) {
    Json json = error_json(*row.error);
    json["image"] = row.path;
    return json;
  }
  const ImagePlan& plan = row.prompt.pictures.front();
  Json json = {
      {"image", row.path},
      {"format", row.found.clip ? "video" : name(row.found.info.format)},
      {"width", row.found.info.upright_width()},
      {"height", row.found.info.upright_height()},
      {"resizes", Json::array()},
      {"grid", {plan.rows, plan.columns}},
      {"tiles", plan.tiles()},
      {"tile", {plan.tile.width, plan.tile.height}},
      {"tokens", {{"prompt", row.prompt.tokens}, {"image", plan.tokens}, {"output_at_most", row.answer_tokens}}}};
  for (const SizePx& size : plan.resizes) json["resizes"].push_back({size.width, size.height});
  if (timed) json["seconds"] = to_json(row.seconds);
  return json;
}

std::string to_text(const Row& row, bool timed) {
  if (row.error) return fmt::format("{}\n  {}\n", row.path, row.error->message());
  const ImagePlan& plan = row.prompt.pictures.front();
  std::string sizes = fmt::format("{}x{}", row.found.info.upright_width(), row.found.info.upright_height());
  for (const SizePx& size : plan.resizes) sizes += fmt::format(" > {}x{}", size.width, size.height);
  std::string text = fmt::format(
      "{}\n  size     {} ({} tile{} of {}x{})\n  tokens   {} in the prompt, {} of them from the picture; {} of answer "
      "at "
      "most\n",
      row.path, sizes, plan.tiles(), plan.tiles() == 1 ? "" : "s", plan.tile.width, plan.tile.height, row.prompt.tokens,
      plan.tokens, row.answer_tokens);
  if (timed)
    text += fmt::format("  seconds  about {:.2f} to encode, {:.2f} to prefill, at most {:.1f} to answer\n",
                        row.seconds.encode, row.seconds.prefill, row.seconds.decode);
  return text;
}

}  // namespace

int dry_run(const PictureList& pictures, const std::function<std::string(const Model&)>& question,
            const Options& options) {
  LoadOptions load;
  load.dtype = *parse_dtype(options.dtype);
  load.weights = false;
  const auto model = load_model(model_folder(options.model), load);
  const std::string asked = question(*model);
  const Dim context = context_of(*model, options);

  std::optional<NetworkPlan> network;
  std::string missing;
  try {
    network = plan_network(model->family(), model->files(), model->weight_type());
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found && error.code() != ErrorCode::bad_file) throw;
    missing = error.message();
  }
  std::optional<Calibration> machine;
  const Dim program = program_bytes();
  const MemoryLimits limits = limits_here();
  if (network) machine.emplace(network->type);

  std::vector<Row> rows;
  RunSize run;
  if (network) run = run_size(*network, *model, options, static_cast<Dim>(pictures.sources.size()), limits);
  Seconds all;
  for (const PictureSource& picture : pictures.sources) {
    ExecContext::current().checkpoint();
    Row row{.path = picture.name, .error = {}, .found = {}, .prompt = {}, .answer_tokens = 0, .seconds = {}};
    try {
      row.found = probe(picture, *model, options);
      row.prompt = lay_out(*model, row.found, asked, options);
      if (row.prompt.tokens >= context)
        throw Error(ErrorCode::limit,
                    fmt::format("the prompt has {} tokens, the context is {}, one of them for the answer",
                                row.prompt.tokens, context),
                    picture.name);
      row.answer_tokens = std::min(options.max_tokens, context - row.prompt.tokens);
      if (network) all += row.seconds = estimate(*network, row.prompt, row.answer_tokens, *machine);
      run.prompts.push_back(row.prompt);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::cancelled || error.code() == ErrorCode::usage) throw;
      row.error = error;
    }
    rows.push_back(std::move(row));
  }
  const bool failed = std::ranges::any_of(rows, [](const Row& row) { return row.error.has_value(); });
  std::optional<MemoryPlan> plan;
  std::string refusal;
  if (network && !run.prompts.empty()) {
    plan = plan_memory(*network, run, program);
    try {
      admit(*network, run, limits, [&] { return plan_in_q4(*model); });
    } catch (const Error& error) {
      refusal = error.message();
    }
  }
  const int code = failed || !refusal.empty() || !missing.empty() ? 1 : 0;

  if (options.json) {
    Json json = {{"dry_run", true},
                 {"model", model->name()},
                 {"dtype", name(model->weight_type())},
                 {"context", context},
                 {"batch", network ? Json(run.sequences) : Json(nullptr)},
                 {"pictures", Json::array()},
                 {"memory_bytes", nullptr},
                 {"seconds", nullptr},
                 {"missing", missing.empty() ? Json(nullptr) : Json(missing)},
                 {"refused", refusal.empty() ? Json(nullptr) : Json(refusal)}};
    for (const Row& row : rows) json["pictures"].push_back(to_json(row, network.has_value()));
    if (plan) {
      json["memory_bytes"] = {{"program", plan->program}, {"weights", plan->weights},
                              {"cache", plan->cache},     {"features", plan->features},
                              {"scratch", plan->scratch}, {"pictures", plan->pictures},
                              {"peak", plan->total()},    {"available", limits.available()}};
      json["seconds"] = to_json(all);
    }
    write_json(json);
    return code;
  }
  std::string text =
      fmt::format("{} in {}, context {} tokens{}; nothing was loaded\n", model->name(), name(model->weight_type()),
                  context, run.sequences > 1 ? fmt::format(", {} pictures at once", run.sequences) : "");
  for (const Row& row : rows) text += to_text(row, network.has_value());
  if (plan) {
    const auto human = [](Dim bytes) { return human_bytes(static_cast<double>(bytes)); };
    text += fmt::format(
        "memory     {} at most: program {}, weights {}, cache {}, picture rows {}, working memory {}, pictures {}; {} "
        "available\nseconds    about {:.1f} to encode and prefill, at most {:.1f} to answer (estimated from a short "
        "measurement)\n",
        human(plan->total()), human(plan->program), human(plan->weights), human(plan->cache), human(plan->features),
        human(plan->scratch), human(plan->pictures), human_bytes(static_cast<double>(limits.available())),
        all.encode + all.prefill, all.decode);
  }
  if (!missing.empty()) text += fmt::format("missing    {} (so memory and time cannot be told)\n", missing);
  if (!refusal.empty()) text += fmt::format("refused    {}\n", refusal);
  write_out(text);
  return code;
}

std::function<void(const Model&)> admission(const Options& options, const PictureList& pictures, Dim items,
                                            Dim& sequences, std::function<void(Dim)> need) {
  return [&options, &sources = pictures.sources, items, &sequences, need = std::move(need)](const Model& model) {
    const MemoryLimits limits = limits_here();
    const NetworkPlan network = plan_network(model.family(), model.files(), model.weight_type());
    RunSize run = run_size(network, model, options, items, limits);
    sequences = run.sequences;
    if (need) need(plan_memory(network, run, 0).needed());
    if (options.force) return;
    for (std::size_t i = 0; i < std::min(sources.size(), most_admitted_pictures); ++i) {
      // stdin can be read only once, and no picture is asked of the clipboard or the network twice
      if (sources[i].clipboard || !file_exists(sources[i].name)) continue;
      try {
        const Probe found = probe(sources[i], model, options);
        const ImagePlan plan = found.clip
                                   ? found.clip->plan
                                   : model.processor().plan(found.info.upright_width(), found.info.upright_height());
        run.prompts.push_back({std::min(run.context, plan.tokens + question_tokens), {plan}});
      } catch (const Error&) {  // it is reported in its turn
      }
    }
    if (run.prompts.empty()) run.prompts.push_back({question_tokens, {}});
    admit(network, run, limits, [&] { return plan_in_q4(model); });
  };
}

}  // namespace tap::cli
