#include "tasks/quantize.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <set>

#include <fmt/format.h>

#include "base/file.h"
#include "base/log.h"
#include "base/parallel.h"
#include "io/hub.h"
#include "io/new_folder.h"
#include "io/quantized_format.h"
#include "io/safetensors_writer.h"
#include "nn/nn.h"

namespace tap {

namespace {

constexpr Dim piece_bytes = Dim{16} << 20;  // of a matrix as f32
constexpr std::size_t copy_bytes = std::size_t{8} << 20;
constexpr std::size_t most_files = 10'000, largest_file_bytes = std::size_t{256} << 20;

// What becomes of one tensor of the source.
struct TensorPlan {
  Weights::Entry entry;
  std::vector<Weights::AskedMatrix> asked;  // in its own order
  std::optional<WeightType> quantized;
  bool copied = true;  // its own numbers are needed (too)
};

// Rows of the whole matrix that `asked` is a part of.
PackedMatrix read_rows(const Weights& source, const Weights::AskedMatrix& asked, Dim begin, Dim end, WeightType type) {
  if (asked.transposed) return source.matrix_transposed(asked.name, asked.in, asked.range.rows, type);
  return source.matrix(asked.name, asked.in, {begin, end, asked.range.rows}, type);
}

// Whether loading would keep the matrix in the type that is asked for, and that is q8 or q4.
bool stays_quantized(const Weights& source, const Weights::AskedMatrix& asked) {
  if (asked.type != WeightType::q8) return asked.type == WeightType::q4;
  if (!asked.measured) return true;
  return nn::q8_error(read_rows(source, asked, asked.range.begin, asked.range.end, asked.type)) <= nn::q8_error_limit;
}

bool covers(std::vector<Weights::RowRange> ranges, Dim rows) {
  std::ranges::sort(ranges, {}, &Weights::RowRange::begin);
  Dim covered = 0;
  for (const auto& range : ranges)
    if (range.begin <= covered) covered = std::max(covered, range.end);
  return covered >= rows;
}

// What the family's network asks for decides what each tensor becomes.
std::vector<TensorPlan> plan_tensors(const Model& model, const Weights& source, WeightType type) {
  const Weights plan =
      Weights::open(model.folder(), {.type = type, .prefix_map = model.family().weight_names, .plan_only = true});
  const auto network = model.family().network(model.files(), plan);
  plan.finish();
  std::map<std::string, std::vector<Weights::AskedMatrix>> asked;
  for (const Weights::AskedMatrix& matrix : plan.asked_matrices()) asked[matrix.name].push_back(matrix);

  std::vector<TensorPlan> plans;
  for (Weights::Entry& entry : source.entries()) {
    ExecContext::current().checkpoint();
    TensorPlan tensor{std::move(entry), {}, {}, true};
    if (const auto at = asked.find(tensor.entry.name); at != asked.end()) tensor.asked = at->second;
    std::vector<Weights::RowRange> kept;
    bool all = true;
    for (const Weights::AskedMatrix& matrix : tensor.asked) {
      const bool quantized = stays_quantized(source, matrix);
      if (quantized) tensor.quantized = matrix.type, kept.push_back(matrix.range);
      all = all && quantized;
    }
    tensor.copied = kept.empty() || !all || plan.asked_as_tensor(tensor.entry.name) ||
                    !covers(kept, tensor.asked.front().range.rows);
    plans.push_back(std::move(tensor));
  }
  return plans;
}

// The tensors of the new files, each with where it comes from, cut into files.
class WeightFiles {
 public:
  WeightFiles(const std::vector<TensorPlan>& plans, const std::string& place, const std::string& shown,
              const QuantizeOptions& options)
      : place_(place), shown_(shown) {
    std::set<std::string> names;
    std::vector<std::vector<NewTensor>> shards(1);
    std::uint64_t filled = 0;
    const auto add = [&](NewTensor tensor) {
      if (!names.insert(tensor.name).second)
        fail(ErrorCode::unsupported, "{}: stands in the source already, beside the matrix that it would hold a part of",
             tensor.name);
      if (filled > 0 && tensor.bytes > options.shard_bytes - std::min(filled, options.shard_bytes)) {
        shards.emplace_back();
        filled = 0;
      }
      filled += tensor.bytes;
      bytes_ += tensor.bytes;
      at_[tensor.name] = {shards.size() - 1, shards.back().size()};
      shards.back().push_back(std::move(tensor));
    };
    for (const TensorPlan& plan : plans) {
      if (plan.copied) add({plan.entry.name, plan.entry.dtype, plan.entry.shape, plan.entry.bytes});
      if (!plan.quantized) continue;
      const Weights::AskedMatrix& asked = plan.asked.front();
      for (StoredTensor& part : quantized_parts(asked.name, *plan.quantized, asked.in, asked.range.rows)) {
        const auto bytes = static_cast<std::uint64_t>(part.bytes());
        add({std::move(part.name), std::move(part.dtype), std::move(part.shape), bytes});
      }
    }
    const SafetensorNotes notes{{std::string(quantized_note), std::string(name(options.type))},
                                {std::string(quantized_version_note), std::to_string(quantized_format_version)}};
    for (std::size_t i = 0; i < shards.size(); ++i) {
      files_.push_back(shards.size() == 1 ? "model.safetensors"
                                          : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size()));
      writers_.emplace_back(place + "/" + files_.back(), shown + "/" + files_.back(), shards[i], notes);
    }
  }

  void write(const std::string& tensor, std::uint64_t offset, std::span<const std::byte> bytes) {
    const auto [shard, index] = at_.at(tensor);
    writers_[shard].write(index, offset, bytes);
  }

  void finish() {
    for (SafetensorsWriter& writer : writers_) writer.finish();
    if (files_.size() == 1) return;
    Json index = {{"metadata", {{"total_size", bytes_}}}, {"weight_map", Json::object()}};
    for (const auto& [tensor, where] : at_) index["weight_map"][tensor] = files_[where.first];
    write_small("model.safetensors.index.json", index.dump(2) + "\n");
  }

  // Any other file of the folder; the error names where it was to be.
  void write_small(const std::string& file, std::string_view text) const {
    try {
      write_file_atomic(place_ + "/" + file, text);
    } catch (const Error& error) {
      const std::string& said = error.message();
      const auto reason = said.rfind(": ");
      throw Error(error.code(),
                  fmt::format("{}/{}: cannot write{}", shown_, file, said.substr(std::min(reason, said.size()))),
                  error.item());
    }
  }

  const std::vector<std::string>& files() const { return files_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  std::string place_, shown_;
  std::map<std::string, std::pair<std::size_t, std::size_t>> at_;  // tensor to file and number in it
  std::vector<std::string> files_;
  std::vector<SafetensorsWriter> writers_;
  std::uint64_t bytes_ = 0;
};

struct SquareSums {
  double error = 0, weights = 0;
  void add(const PackedMatrix& exact, const PackedMatrix& rounded) {
    const Tensor a = exact.unpack(), b = rounded.unpack();
    std::vector<SquareSums> rows(static_cast<std::size_t>(a.dim(0)));
    parallel_rows(a.dim(0), 16, [&](Rows r) {
      for (Dim row = r.begin; row < r.end; ++row)
        for (Dim i = 0; i < a.dim(1); ++i) {
          SquareSums& sum = rows[static_cast<std::size_t>(row)];
          const double w = a.row(row)[i], off = static_cast<double>(b.row(row)[i]) - w;
          sum.error += off * off;
          sum.weights += w * w;
        }
    });
    for (const SquareSums& row : rows) error += row.error, weights += row.weights;
  }
  double relative() const {
    if (!std::isfinite(error) || !std::isfinite(weights)) return std::numeric_limits<double>::quiet_NaN();
    return weights > 0 ? std::sqrt(error / weights) : 0;
  }
};

void copy_tensor(const Weights& source, const Weights::Entry& entry, WeightFiles& files) {
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(copy_bytes, entry.bytes)));
  for (std::uint64_t at = 0; at < entry.bytes; at += buffer.size()) {
    ExecContext::current().checkpoint();
    const auto part =
        std::span(buffer).first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), entry.bytes - at)));
    source.read_bytes(entry, at, part);
    files.write(entry.name, at, part);
  }
}

QuantizedMatrix quantize_tensor(const Weights& source, const Weights::AskedMatrix& asked, WeightType type,
                                WeightFiles& files) {
  const Dim out = asked.range.rows;
  const Dim fitting = std::max<Dim>(64, piece_bytes / 4 / asked.in / 64 * 64);
  const Dim step = asked.transposed ? out : std::min(fitting, out);
  const std::vector<StoredTensor> parts = quantized_parts(asked.name, type, asked.in, out);
  SquareSums sums;
  for (Dim row = 0; row < out; row += step) {
    ExecContext::current().checkpoint();
    const Dim end = std::min(row + step, out);
    const PackedMatrix rounded = read_rows(source, asked, row, end, type);
    sums.add(read_rows(source, asked, row, end, WeightType::f32), rounded);
    const std::vector<Tensor> values = parts_of(rounded.quantized_rows(0, end - row));
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const auto bytes = static_cast<std::size_t>(values[i].bytes());
      files.write(parts[i].name, bytes / static_cast<std::size_t>(end - row) * static_cast<std::size_t>(row),
                  {values[i].raw(), bytes});
    }
  }
  return {asked.name, type, out, asked.in, sums.relative()};
}

// Weights in any format, of which the new folder has its own.
bool holds_weights(const std::string& file) {
  const std::string ending = std::filesystem::path(file).extension().string();
  static const std::set<std::string_view> endings{".bin",  ".pt",      ".pth", ".ckpt",      ".gguf",
                                                  ".onnx", ".msgpack", ".h5",  ".incomplete"};
  return endings.contains(ending) || file.ends_with(".index.json") ||
         (ending == ".safetensors" && file.starts_with("model"));
}

void copy_other_files(const Model& source, const WeightFiles& files) {
  std::vector<std::string> names = folder_entries(source.folder(), most_files);
  std::ranges::sort(names);
  for (const std::string& file : names) {
    const std::string path = source.folder() + "/" + file;
    if (file.starts_with(".") || file == "config.json" || holds_weights(file)) continue;
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored)) continue;
    if (std::filesystem::file_size(path, ignored) > largest_file_bytes) {
      log::warn("{}: is not copied: no model needs a file of more than {} bytes beside its weights", file,
                largest_file_bytes);
      continue;
    }
    if (auto error = refuse_foreign_link(path)) throw *std::move(error);
    files.write_small(file, read_file(path, largest_file_bytes).value());
  }
}

void write_config(const Model& source, WeightType type, const WeightFiles& files) {
  Json config = source.files().config.json();
  config[quantized_config_key] = {
      {"quant_method", quantized_method}, {"dtype", name(type)}, {"version", quantized_format_version}};
  files.write_small("config.json", config.dump(2) + "\n");
}

// --force must not take away a folder of something else.
void require_replaceable(const std::string& folder) {
  if (!is_directory(folder) || folder_entries(folder, 1).empty()) return;
  const auto config = ConfigReader::load(folder + "/config.json");
  if (config.ok() && quantized_type(*config)) return;
  throw Error(ErrorCode::bad_input,
              fmt::format("{}: holds something else than a quantized model; only those are replaced", folder), folder);
}

}  // namespace

QuantizedFolder quantize(const Model& model, const std::string& folder, const QuantizeOptions& options) {
  if (options.type != WeightType::q8 && options.type != WeightType::q4)
    fail(ErrorCode::usage, "models are quantized to q8 or q4, not to {}", name(options.type));
  const Weights source = Weights::open(model.folder());
  if (const auto stored = source.stored_type())
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: is quantized to {} already; give the model that it was made from", model.folder(),
                            name(*stored)),
                model.folder());
  if (options.replace) require_replaceable(folder);
  NewFolder target(folder, options.replace);
  const std::vector<TensorPlan> plans = plan_tensors(model, source, options.type);

  QuantizedFolder result;
  result.folder = folder;
  for (const TensorPlan& plan : plans) result.source_bytes += plan.entry.bytes;
  WeightFiles files(plans, target.place(), folder, options);
  std::uint64_t done = 0;
  for (const TensorPlan& plan : plans) {
    if (plan.quantized) result.matrices.push_back(quantize_tensor(source, plan.asked.front(), *plan.quantized, files));
    if (plan.copied) copy_tensor(source, plan.entry, files);
    if (!plan.quantized && !plan.asked.empty()) result.exact.push_back(plan.entry.name);
    done += plan.entry.bytes;
    if (options.progress) options.progress(done, result.source_bytes);
  }
  files.finish();
  copy_other_files(model, files);
  write_config(model, options.type, files);
  target.publish();
  result.files = files.files();
  result.bytes = files.bytes();
  return result;
}

}  // namespace tap
