#include "io/weights.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>

#include <fmt/format.h>

#include "base/file.h"
#include "base/log.h"
#include "io/hub.h"
#include "io/json.h"
#include "io/packed_cache.h"
#include "io/quantized_format.h"
#include "io/safetensors.h"
#include "io/widen.h"

namespace tap {

namespace {

constexpr std::size_t max_shards = 512;  // each keeps a descriptor open
constexpr std::size_t max_index_bytes = std::size_t{64} << 20;
constexpr Dim slice_bytes = Dim{8} << 20;
// A config that fits no file must not run or allocate for ever while its problems are collected.
constexpr std::size_t max_problems = 1000;
constexpr Dim max_placeholder_elements = Dim{1} << 24;

constexpr const char* single_name = "model.safetensors";
constexpr const char* index_name = "model.safetensors.index.json";

std::string shape_text(const std::vector<Dim>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

Error file_error(const std::string& file, const std::string& problem) {
  return Error(ErrorCode::bad_file, fmt::format("{}: {}", file, problem), file);
}

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
                 fmt::format("{} and no {}, only {}: name the weights as the hub does", lead, index_name, other),
                 folder);
  return Error(ErrorCode::not_found,
               fmt::format("{} and no {}: not a model's folder, or its download is not finished", lead, index_name),
               folder);
}

Safetensors open_one(const std::string& folder, const std::string& file) {
  const std::string path = folder + "/" + file;
  if (auto error = refuse_foreign_link(path)) throw *std::move(error);
  auto opened = Safetensors::open(path);
  if (!opened.ok() && opened.error().code() == ErrorCode::not_found)
    throw file_error(file, "cannot be opened; the link may lead nowhere");
  return std::move(opened).value();
}

bool plain_file_name(const std::string& file) {
  return !file.empty() && file.size() <= 255 && file.find('/') == std::string::npos &&
         file.find('\0') == std::string::npos && file != ".." && file.ends_with(".safetensors");
}

// The index says which shard holds which tensor; disk and index must agree both ways.
std::vector<Safetensors> open_shards(const std::string& folder) {
  if (auto error = refuse_foreign_link(folder + "/" + index_name)) throw *std::move(error);
  const std::string text = read_file(folder + "/" + index_name, max_index_bytes).value();
  const Json index = parse_json(text, index_name, {.bytes = max_index_bytes}).value();
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || map == index.end() || !map->is_object() || map->empty())
    throw file_error(index_name, "weight_map is missing, or empty, or not an object");
  if (map->size() > max_safetensors_tensors)
    throw Error(ErrorCode::limit,
                fmt::format("{}: {} tensors, the limit is {}", index_name, map->size(), max_safetensors_tensors),
                index_name);
  std::map<std::string, std::vector<std::string>> listed;  // shard to names, sorted
  for (const auto& [name, shard] : map->items()) {
    if (!shard.is_string() || !plain_file_name(shard.get<std::string>()))
      throw file_error(index_name,
                       fmt::format("weight_map.{} is {}, want the name of a .safetensors file in this folder",
                                   name.substr(0, 120), to_json_line(shard).substr(0, 80)));
    listed[shard.get<std::string>()].push_back(name);
  }
  if (listed.size() > max_shards)
    throw Error(ErrorCode::limit, fmt::format("{}: {} shards, the limit is {}", index_name, listed.size(), max_shards),
                index_name);

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
    throw file_error(
        absent[0],
        fmt::format("is not there, but {} lists {} tensors in it ({} of {} shards missing{}); download the model again",
                    index_name, listed[absent[0]].size(), absent.size(), listed.size(), bytes));
  }
  auto at = shards.begin();
  for (auto& [shard, names] : listed) {
    const Safetensors& file = *at++;
    std::sort(names.begin(), names.end());
    for (const std::string& name : names)
      if (!file.find(name))
        throw file_error(shard, fmt::format("{} is not in it, but {} says so", name.substr(0, 120), index_name));
    for (const SafetensorEntry& e : file.entries())
      if (!std::binary_search(names.begin(), names.end(), e.name))
        throw file_error(shard, fmt::format("{} is in it ({} bytes), but {} does not say so", e.name.substr(0, 120),
                                            e.end - e.begin, index_name));
  }
  return shards;
}

}  // namespace

struct Weights::Shared {
  WeightOptions options;
  std::string folder;
  std::vector<Safetensors> files;
  std::optional<WeightType> stored;  // of quantized files
  struct Place {
    const Safetensors* file;
    const SafetensorEntry* entry;
    bool used = false, as_tensor = false;
  };
  std::map<std::string_view, Place> places;  // views into the files' entries
  std::vector<std::string> problems;         // missing and misshapen, in the order asked for
  std::string first_problem;                 // its tensor
  Dim placeholder_elements = 0;
  // Every matrix handed out, with its bytes: one that its owner gave up (packed again in another type) no longer
  // counts.
  std::vector<std::pair<std::weak_ptr<const void>, Dim>> packed;
  PlannedBytes planned;
  std::vector<AskedMatrix> asked;  // of a plan
  PackedSlabs slabs;
  std::optional<PackedCache> cache;
  std::vector<std::pair<std::string, PackedMatrix>> to_cache;  // while it is to be written
  bool packing = false, complete = false;                      // complete: everything asked for so far was in the cache

  // A tensor that has a shape and no numbers.
  Tensor plan_tensor(const Shape& shape, DType type) {
    const auto bytes = checked_mul(shape.elements(), bytes_of(type));
    if (!bytes) fail(ErrorCode::bad_input, "a tensor of shape {} is too large", shape.to_string());
    count(planned.tensors, *bytes);
    return Tensor::view(Storage::borrow(nullptr, static_cast<std::size_t>(*bytes), nullptr), 0, shape, type);
  }

  void count(Dim& kind, Dim bytes) {
    kind += bytes;
    planned.blocks += static_cast<Dim>(Arena::block_bytes(static_cast<std::size_t>(bytes)));
  }

  Place* find(const std::string& name) {
    if (const auto at = places.find(name); at != places.end()) return &at->second;
    for (const auto& [from, to] : options.prefix_map)
      if (name.starts_with(from))
        if (const auto at = places.find(to + name.substr(from.size())); at != places.end()) return &at->second;
    return nullptr;
  }

  std::string where() const { return files.size() == 1 ? std::string(files[0].file_name()) : index_name; }

  [[noreturn]] void throw_problems() const {
    constexpr std::size_t shown = 8;
    std::string text;
    for (std::size_t i = 0; i < problems.size() && i < shown; ++i) text += (i ? "; " : "") + problems[i];
    if (problems.size() > shown) text += fmt::format("; and {} more", problems.size() - shown);
    throw Error(ErrorCode::bad_file, text, first_problem);
  }

  void remember(std::string problem, const std::string& name) {
    if (problems.empty()) first_problem = name;
    problems.push_back(std::move(problem));
    if (problems.size() >= max_problems) throw_problems();
  }

  Tensor placeholder(const Shape& shape, DType type = DType::f32) {
    const Dim elements = shape.elements();
    if (elements > max_placeholder_elements - placeholder_elements) throw_problems();
    placeholder_elements += elements;
    return Tensor::zeros(shape, type);
  }

  // The place of `name` when it is there with the wanted shape and a type we compute with; else the problem is
  // remembered.
  Place* claim(const std::string& name, const Shape& shape, bool flat_tail, bool floats, bool optional) {
    Place* const place = find(name);
    if (!place) {
      if (!optional) remember(fmt::format("{}: {}: missing, config wants {}", where(), name, shape.to_string()), name);
      return nullptr;
    }
    place->used = true;
    const SafetensorEntry& entry = *place->entry;
    const auto trouble = [&](const std::string& problem) {
      remember(fmt::format("{}: {}: {}", place->file->file_name(), entry.name, problem), entry.name);
      return static_cast<Place*>(nullptr);
    };
    bool same = std::equal(entry.shape.begin(), entry.shape.end(), shape.dims().begin(), shape.dims().end());
    if (!same && flat_tail && entry.shape.size() >= 2 && shape.rank() == 2 && entry.shape[0] == shape.dim(0)) {
      Dim tail = 1;  // the header's product of all axes was checked
      for (std::size_t i = 1; i < entry.shape.size(); ++i) tail *= entry.shape[i];
      same = tail == shape.dim(1);
    }
    if (!same) return trouble(fmt::format("shape {}, config wants {}", shape_text(entry.shape), shape.to_string()));
    const auto type = tensor_dtype(entry.dtype);
    if (!type) return trouble(fmt::format("dtype {} cannot be read", entry.dtype));
    if (floats && *type != DType::f32 && *type != DType::bf16 && *type != DType::f16)
      return trouble(fmt::format("dtype {}, want F32, BF16 or F16", entry.dtype));
    return place;
  }

  // Whether a matrix asked for in `type` is read from quantized parts: in a folder of q4 those of towers are q8. One
  // that is nowhere is too: its parts are missed.
  bool keeps_quantized(const std::string& name, WeightType type) {
    return stored && (type == WeightType::q8 || type == WeightType::q4) && (has_parts(name, type) || !find(name));
  }
  bool has_parts(const std::string& name, WeightType type) {
    return std::ranges::any_of(quantized_parts(name, type, 1, 1), [&](const auto& part) { return find(part.name); });
  }

  PackedMatrix quantized_matrix(const std::string& name, Dim in, const RowRange& range, WeightType type,
                                const std::string& key) {
    std::vector<StoredPlace> parts;
    bool whole = true;
    for (const StoredTensor& part : quantized_parts(name, type, in, range.rows)) {
      Place* const place = find(part.name);
      const std::string wanted = fmt::format("{} {}", part.dtype, shape_text(part.shape));
      if (!place) remember(fmt::format("{}: {}: missing, want {}", where(), part.name, wanted), part.name);
      if (place) {
        place->used = true;
        const SafetensorEntry& entry = *place->entry;
        if (entry.dtype != part.dtype || entry.shape != part.shape)
          remember(fmt::format("{}: {}: {} {}, want {}", place->file->file_name(), entry.name, entry.dtype,
                               shape_text(entry.shape), wanted),
                   entry.name);
        else
          parts.push_back({place->file, place->entry});
      }
      whole = whole && !parts.empty() && place && parts.back().entry == place->entry;
    }
    const Dim out = range.end - range.begin;
    if (!whole) return PackedMatrix::pack(placeholder({out, in}), type);
    if (options.plan_only) return plan_matrix(type, in, out);
    if (auto matrix = cached(key, type, in, out)) return *std::move(matrix);
    return kept(read_quantized(parts, type, in, range.begin, range.end, &slabs), key);
  }

  PackedMatrix plan_matrix(WeightType type, Dim in, Dim out) {
    planned.matrices += PackedMatrix::bytes_for(type, in, out);
    for (const Dim part : PackedMatrix::part_bytes(type, in, out))
      if (const std::size_t block = slabs.plan(static_cast<std::size_t>(part)))
        planned.blocks += static_cast<Dim>(Arena::block_bytes(block));
    return PackedMatrix::planned(type, in, out);
  }

  PackedMatrix kept(PackedMatrix matrix, const std::string& key = {}) {
    packed.emplace_back(matrix.shared(), matrix.bytes());
    if (packing && !key.empty()) to_cache.emplace_back(key, matrix);
    return matrix;
  }

  // What the packed matrices are made of: the files as the system knows them, and where each tensor lies in them.
  std::string source() const {
    std::string text{name(options.type)};
    for (const Safetensors& file : files) {
      text += fmt::format(" | {} {}", file.file_name(), file.identity());
      for (const SafetensorEntry& entry : file.entries())
        text += fmt::format(" {} {} {}", entry.name, entry.dtype, entry.begin);
    }
    return text;
  }

  void open_cache() {
    cache.emplace(folder, options.type, source());
    complete = cache->read();
    packing = !complete && cache->enabled();
  }

  // What the cache holds under `key`, if it is such a matrix. One that q8 harms was kept in bf16.
  std::optional<PackedMatrix> cached(const std::string& key, WeightType type, Dim in, Dim out) {
    if (!cache) return std::nullopt;
    auto found = cache->find(key);
    const bool fits = found && found->in() == in && found->out() == out &&
                      (found->type() == type || (found->type() == WeightType::bf16 && type == WeightType::q8));
    complete = complete && fits;
    if (!fits) return std::nullopt;
    packed.emplace_back(found->shared(), found->bytes());
    return found;
  }

  // Once the model is built: what it holds is written, what it gave up is not.
  void close_cache() {
    if (!packing) return cache.reset();
    std::erase_if(to_cache, [](const auto& entry) { return entry.second.shared().use_count() <= 2; });
    cache->write(to_cache);
    to_cache.clear();
    packing = false;
    cache.reset();
  }
};

namespace {

// Bytes [offset, …) of a 16-bit tensor as floats, through a slice, so that the peak is the result plus the slice.
void read_widened(const Safetensors& file, const SafetensorEntry& entry, DType type, Dim first, float* out,
                  Dim elements) {
  constexpr Dim step = slice_bytes / 2;
  Tensor slice = Tensor::empty({std::min(elements, step)}, type);
  for (Dim done = 0; done < elements; done += step) {
    const Dim count = std::min(step, elements - done);
    const std::span<std::byte> bytes(slice.raw_write(), static_cast<std::size_t>(count) * 2);
    file.read_bytes(entry, static_cast<std::uint64_t>(first + done) * 2, bytes);
    const auto* const from = reinterpret_cast<const std::uint16_t*>(slice.raw());
    if (type == DType::bf16)
      widen<widen_bf16>(from, out + done, static_cast<std::size_t>(count));
    else
      widen<widen_f16>(from, out + done, static_cast<std::size_t>(count));
  }
}

}  // namespace

Weights Weights::open(const std::string& folder, const WeightOptions& options) {
  if (!is_directory(folder))
    throw Error(ErrorCode::not_found,
                fmt::format("{}: {}", folder, file_exists(folder) ? "is not a folder" : "there is no such folder"),
                folder);
  Weights weights;
  weights.shared_ = std::make_shared<Shared>();
  Shared& s = *weights.shared_;
  s.options = options;
  s.folder = folder;
  if (file_exists(folder + "/" + single_name))
    s.files.push_back(open_one(folder, single_name));
  else if (file_exists(folder + "/" + index_name))
    s.files = open_shards(folder);
  else
    throw no_safetensors(folder);
  for (const Safetensors& file : s.files) {
    const auto stored = quantized_type(file);
    if (&file == s.files.data()) s.stored = stored;
    if (stored != s.stored)
      throw file_error(std::string(file.file_name()),
                       fmt::format("is quantized otherwise than {}", s.files[0].file_name()));
    for (const SafetensorEntry& entry : file.entries())
      if (!s.places.emplace(entry.name, Shared::Place{&file, &entry}).second)
        throw file_error(std::string(file.file_name()),
                         fmt::format("{} stands in two shards", entry.name.substr(0, 120)));
    if (s.places.size() > max_safetensors_tensors)
      throw Error(ErrorCode::limit,
                  fmt::format("{}: more than {} tensors, the limit", index_name, max_safetensors_tensors), index_name);
  }
  return weights;
}

Weights Weights::operator/(std::string_view scope) const {
  Weights inner = *this;
  inner.prefix_ += std::string(scope) + ".";
  return inner;
}

Weights Weights::operator/(Dim index) const { return *this / std::to_string(index); }

std::string Weights::full_name(std::string_view name) const {
  if (name.empty() && !prefix_.empty()) return prefix_.substr(0, prefix_.size() - 1);
  return prefix_ + std::string(name);
}

bool Weights::has(std::string_view name) const {
  const std::string full = full_name(name);
  if (shared_->find(full)) return true;
  return shared_->stored && (shared_->has_parts(full, WeightType::q8) || shared_->has_parts(full, WeightType::q4));
}

Tensor Weights::tensor_as(std::string_view name, const Shape& shape, bool optional) const {
  Shared& s = *shared_;
  const std::size_t problems = s.problems.size();
  auto* const place = s.claim(full_name(name), shape, false, true, optional);
  if (!place) return optional && s.problems.size() == problems ? Tensor() : s.placeholder(shape);
  place->as_tensor = true;
  if (s.options.plan_only) return s.plan_tensor(shape, DType::f32);
  const DType type = *tensor_dtype(place->entry->dtype);
  if (type == DType::f32) return place->file->read(place->entry->name);
  Tensor out = Tensor::empty(shape);
  read_widened(*place->file, *place->entry, type, 0, out.write<float>(), out.elements());
  return out;
}

Tensor Weights::tensor(std::string_view name, const Shape& shape) const { return tensor_as(name, shape, false); }
Tensor Weights::tensor_or_undefined(std::string_view name, const Shape& shape) const {
  return tensor_as(name, shape, true);
}

Tensor Weights::raw(std::string_view name, const Shape& shape) const {
  auto* const place = shared_->claim(full_name(name), shape, false, false, false);
  if (!place) return shared_->placeholder(shape);
  place->as_tensor = true;
  if (shared_->options.plan_only) return shared_->plan_tensor(shape, *tensor_dtype(place->entry->dtype));
  return place->file->read(place->entry->name);
}

StoredRows Weights::stored_rows(std::string_view name, Dim rows, Dim width) const {
  StoredRows stored;
  auto* const place = shared_->claim(full_name(name), {rows, width}, false, true, false);
  if (!place) return stored;
  place->as_tensor = true;
  stored.owner_ = shared_;
  stored.file_ = place->file;
  stored.entry_ = place->entry;
  stored.rows_ = rows;
  stored.width_ = width;
  stored.type_ = *tensor_dtype(place->entry->dtype);
  return stored;
}

void StoredRows::read(Dim row, float* out) const {
  TAP_ASSERT(row >= 0 && row < rows_);
  if (type_ == DType::f32) {
    const std::span values(out, static_cast<std::size_t>(width_));
    file_->read_bytes(*entry_, static_cast<std::uint64_t>(row * width_) * 4, std::as_writable_bytes(values));
    return;
  }
  // In the second half of the floats' own memory; widening goes from the front.
  auto* const halves = reinterpret_cast<std::uint16_t*>(out) + width_;
  const std::span values(halves, static_cast<std::size_t>(width_));
  file_->read_bytes(*entry_, static_cast<std::uint64_t>(row * width_) * 2, std::as_writable_bytes(values));
  for (Dim i = 0; i < width_; ++i) {
    std::uint16_t half;
    std::memcpy(&half, halves + i, 2);
    const float value = type_ == DType::bf16 ? widen_bf16(half) : widen_f16(half);
    std::memcpy(out + i, &value, 4);
  }
}

PackedMatrix Weights::matrix(std::string_view name, Dim in, Dim out) const { return matrix(name, in, out, type()); }

PackedMatrix Weights::matrix(std::string_view name, Dim in, Dim out, WeightType type) const {
  return matrix(name, in, {0, out, out}, type);
}

PackedMatrix Weights::matrix(std::string_view name, Dim in, const RowRange& range, WeightType type) const {
  Shared& s = *shared_;
  const Dim out = range.end - range.begin;
  const std::string key = range.end - range.begin == range.rows
                              ? full_name(name)
                              : fmt::format("{} {} {}", full_name(name), range.begin, range.end);
  if (s.keeps_quantized(full_name(name), type)) return s.quantized_matrix(full_name(name), in, range, type, key);
  const auto* const place = s.claim(full_name(name), {range.rows, in}, true, true, false);
  if (!place) return PackedMatrix::pack(s.placeholder({out, in}), type);
  if (s.options.plan_only) {
    s.asked.push_back({place->entry->name, in, range, type});
    return s.plan_matrix(type, in, out);
  }
  if (auto matrix = s.cached(key, type, in, out)) return *std::move(matrix);
  const DType stored = *tensor_dtype(place->entry->dtype);
  const Dim row_bytes = std::max<Dim>(1, in * bytes_of(stored));
  // Whole panels of 64 rows, so that the builder packs them straight from the slice.
  const Dim fitting = slice_bytes / row_bytes, whole = fitting >= 64 ? fitting / 64 * 64 : std::max<Dim>(1, fitting);
  const Dim step = std::clamp<Dim>(whole, 1, std::max<Dim>(1, out));
  PackedMatrix::Builder builder(type, in, out, &s.slabs);
  // bf16 and f32 rows go in as they are; f16 is widened.
  Tensor slice = Tensor::empty({step, in}, stored == DType::f16 ? DType::f32 : stored);
  for (Dim row = 0; row < out; row += step) {
    const Dim rows = std::min(step, out - row);
    if (stored == DType::f16)
      read_widened(*place->file, *place->entry, stored, (range.begin + row) * in, slice.write<float>(), rows * in);
    else
      place->file->read_bytes(*place->entry, static_cast<std::uint64_t>((range.begin + row) * row_bytes),
                              {slice.raw_write(), static_cast<std::size_t>(rows * in * bytes_of(stored))});
    builder.add_rows(slice.rows(0, rows));
  }
  return s.kept(builder.finish(), key);
}

PackedMatrix Weights::matrix_transposed(std::string_view name, Dim in, Dim out, WeightType type) const {
  Shared& s = *shared_;
  const std::string key = full_name(name);
  if (s.keeps_quantized(key, type)) return s.quantized_matrix(key, in, {0, out, out}, type, key);
  const auto* const place = s.claim(full_name(name), {in, out}, false, true, false);
  if (!place) return PackedMatrix::pack(s.placeholder({out, in}), type);
  if (s.options.plan_only) {
    s.asked.push_back({place->entry->name, in, {0, out, out}, type, true});
    return s.plan_matrix(type, in, out);
  }
  if (auto matrix = s.cached(key, type, in, out)) return *std::move(matrix);
  const Tensor stored = tensor_as(name, {in, out}, false);
  Tensor turned = Tensor::empty({out, in});
  const float* from = stored.data<float>();
  float* to = turned.write<float>();
  for (Dim row = 0; row < out; ++row)
    for (Dim column = 0; column < in; ++column) to[row * in + column] = from[column * out + row];
  return s.kept(PackedMatrix::pack(turned, type, &s.slabs), key);
}

std::vector<std::string> Weights::finish() const {
  Shared& s = *shared_;
  if (!s.problems.empty()) s.throw_problems();
  s.close_cache();
  std::vector<std::string> unused;
  for (const Safetensors& file : s.files)
    for (const SafetensorEntry& entry : file.entries())
      if (!s.places.at(entry.name).used) unused.push_back(entry.name);
  for (std::size_t i = 0; i < unused.size() && i < 20; ++i)
    log::info("{}: {} is not used by this model", s.where(), unused[i]);
  if (unused.size() > 20) log::info("{}: and {} more are not used", s.where(), unused.size() - 20);
  return unused;
}

std::vector<Weights::Entry> Weights::entries() const {
  std::vector<Entry> all;
  for (const Safetensors& file : shared_->files)
    for (const SafetensorEntry& e : file.entries())
      all.push_back({e.name, std::string(file.file_name()), e.dtype, e.shape, e.end - e.begin});
  return all;
}

Dim Weights::packed_bytes() const {
  Dim sum = 0;
  for (const auto& [matrix, bytes] : shared_->packed)
    if (!matrix.expired()) sum += bytes;
  return sum;
}
const std::vector<Weights::AskedMatrix>& Weights::asked_matrices() const { return shared_->asked; }
bool Weights::asked_as_tensor(std::string_view name) const {
  const auto at = shared_->places.find(name);
  return at != shared_->places.end() && at->second.as_tensor;
}
void Weights::mark_measured() const {
  if (!shared_->asked.empty()) shared_->asked.back().measured = true;
}
void Weights::read_bytes(const Entry& entry, std::uint64_t offset, std::span<std::byte> out) const {
  const Shared::Place& place = shared_->places.at(entry.name);
  place.file->read_bytes(*place.entry, offset, out);
}
std::optional<WeightType> Weights::stored_type() const { return shared_->stored; }
bool Weights::plan_only() const { return shared_->options.plan_only; }
Weights::PlannedBytes Weights::planned_bytes() const { return shared_->planned; }
WeightType Weights::type() const {
  const WeightType type = shared_->options.type;
  return seeing_ && type == WeightType::q4 ? WeightType::q8 : type;
}
void Weights::set_type(WeightType type) {
  shared_->options.type = type;
  if (shared_->options.packed_cache && !shared_->options.plan_only) shared_->open_cache();
}

Weights Weights::seeing() const {
  Weights tower = *this;
  tower.seeing_ = true;
  return tower;
}

bool Weights::from_cache() const { return shared_->complete; }

}  // namespace tap
