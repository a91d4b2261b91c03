#include "io/weights.h"

#include <algorithm>
#include <cstring>
#include <map>

#include <fmt/format.h>

#include "base/log.h"
#include "io/kept_matrices.h"
#include "io/quantized_format.h"
#include "io/safetensors.h"
#include "io/weight_files.h"
#include "io/widen.h"

namespace tap {

namespace {

constexpr Dim slice_bytes = Dim{8} << 20;
// A config that fits no file must not run or allocate for ever while its problems are collected.
constexpr std::size_t max_problems = 1000;
constexpr Dim max_placeholder_elements = Dim{1} << 24;

std::string shape_text(const std::vector<Dim>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

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
  KeptMatrices kept;
  PlannedBytes planned;
  std::vector<AskedMatrix> asked;  // of a plan
  PackedSlabs slabs;

  // A tensor that has a shape and no numbers.
  Tensor plan_tensor(const Shape& shape) {
    const auto bytes = checked_mul(shape.elements(), bytes_of(DType::f32));
    if (!bytes) fail(ErrorCode::bad_input, "a tensor of shape {} is too large", shape.to_string());
    count(planned.tensors, *bytes);
    return Tensor::view(Storage::borrow(nullptr, static_cast<std::size_t>(*bytes), nullptr), 0, shape, DType::f32);
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

  std::string where() const { return files.size() == 1 ? std::string(files[0].file_name()) : weight_index_name; }

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

  Tensor placeholder(const Shape& shape) {
    const Dim elements = shape.elements();
    if (elements > max_placeholder_elements - placeholder_elements) throw_problems();
    placeholder_elements += elements;
    return Tensor::zeros(shape);
  }

  // The place of `name` when it is there with the wanted shape and a type we compute with; else the problem is
  // remembered.
  Place* claim(const std::string& name, const Shape& shape, bool flat_tail, bool optional) {
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
    if (*type != DType::f32 && *type != DType::bf16 && *type != DType::f16)
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
    if (auto matrix = kept.find(key, type, in, out)) return *std::move(matrix);
    return kept.keep(read_quantized(parts, type, in, range.begin, range.end, &slabs), key);
  }

  PackedMatrix plan_matrix(WeightType type, Dim in, Dim out) {
    planned.matrices += PackedMatrix::bytes_for(type, in, out);
    for (const Dim part : PackedMatrix::part_bytes(type, in, out))
      if (const std::size_t block = slabs.plan(static_cast<std::size_t>(part)))
        planned.blocks += static_cast<Dim>(Arena::block_bytes(block));
    return PackedMatrix::planned(type, in, out);
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
  Weights weights;
  weights.shared_ = std::make_shared<Shared>();
  Shared& s = *weights.shared_;
  s.options = options;
  s.folder = folder;
  s.files = open_weight_files(folder);
  for (const Safetensors& file : s.files) {
    const auto stored = quantized_type(file);
    if (&file == s.files.data()) s.stored = stored;
    if (stored != s.stored)
      throw weight_file_error(std::string(file.file_name()),
                              fmt::format("is quantized otherwise than {}", s.files[0].file_name()));
    for (const SafetensorEntry& entry : file.entries())
      if (!s.places.emplace(entry.name, Shared::Place{&file, &entry}).second)
        throw weight_file_error(std::string(file.file_name()),
                                fmt::format("{} stands in two shards", entry.name.substr(0, 120)));
    if (s.places.size() > max_safetensors_tensors)
      throw Error(ErrorCode::limit,
                  fmt::format("{}: more than {} tensors, the limit", weight_index_name, max_safetensors_tensors),
                  weight_index_name);
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
  auto* const place = s.claim(full_name(name), shape, false, optional);
  if (!place) return optional && s.problems.size() == problems ? Tensor() : s.placeholder(shape);
  place->as_tensor = true;
  if (s.options.plan_only) return s.plan_tensor(shape);
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

StoredRows Weights::stored_rows(std::string_view name, Dim rows, Dim width) const {
  StoredRows stored;
  auto* const place = shared_->claim(full_name(name), {rows, width}, false, false);
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
  const auto* const place = s.claim(full_name(name), {range.rows, in}, true, false);
  if (!place) return PackedMatrix::pack(s.placeholder({out, in}), type);
  if (s.options.plan_only) {
    s.asked.push_back({place->entry->name, in, range, type});
    return s.plan_matrix(type, in, out);
  }
  if (auto matrix = s.kept.find(key, type, in, out)) return *std::move(matrix);
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
  return s.kept.keep(builder.finish(), key);
}

PackedMatrix Weights::matrix_transposed(std::string_view name, Dim in, Dim out, WeightType type) const {
  Shared& s = *shared_;
  const std::string key = full_name(name);
  if (s.keeps_quantized(key, type)) return s.quantized_matrix(key, in, {0, out, out}, type, key);
  const auto* const place = s.claim(full_name(name), {in, out}, false, false);
  if (!place) return PackedMatrix::pack(s.placeholder({out, in}), type);
  if (s.options.plan_only) {
    s.asked.push_back({place->entry->name, in, {0, out, out}, type, true});
    return s.plan_matrix(type, in, out);
  }
  if (auto matrix = s.kept.find(key, type, in, out)) return *std::move(matrix);
  const Tensor stored = tensor_as(name, {in, out}, false);
  Tensor turned = Tensor::empty({out, in});
  const float* from = stored.data<float>();
  float* to = turned.write<float>();
  for (Dim row = 0; row < out; ++row)
    for (Dim column = 0; column < in; ++column) to[row * in + column] = from[column * out + row];
  return s.kept.keep(PackedMatrix::pack(turned, type, &s.slabs), key);
}

std::vector<std::string> Weights::finish() const {
  Shared& s = *shared_;
  if (!s.problems.empty()) s.throw_problems();
  s.kept.finish();
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

Dim Weights::packed_bytes() const { return shared_->kept.bytes(); }
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
  Shared& s = *shared_;
  s.options.type = type;
  if (s.options.packed_cache && !s.options.plan_only) s.kept.open_cache(s.folder, type, s.files);
}

Weights Weights::seeing() const {
  Weights tower = *this;
  tower.seeing_ = true;
  return tower;
}

bool Weights::from_cache() const { return shared_->kept.all_found(); }

}  // namespace tap
