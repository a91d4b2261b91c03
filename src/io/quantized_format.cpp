#include "io/quantized_format.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/log.h"

namespace tap {

namespace {

constexpr Dim group = 32, group_bytes = 16;
constexpr Dim slice_bytes = Dim{8} << 20, panel = 64;

std::optional<WeightType> type_named(std::string_view text) {
  for (const WeightType type : {WeightType::q8, WeightType::q4})
    if (name(type) == text) return type;
  return std::nullopt;
}

}  // namespace

Dim StoredTensor::bytes() const {
  Dim bytes = dtype == "F32" ? 4 : dtype == "BF16" ? 2 : 1;
  for (const Dim d : shape) bytes *= d;
  return bytes;
}

std::vector<StoredTensor> quantized_parts(std::string_view name, WeightType type, Dim in, Dim out) {
  const auto part = [&](const char* ending) { return fmt::format("{}.{}", name, ending); };
  if (type == WeightType::q8) return {{part("q8"), "I8", {out, in}}, {part("q8_scale"), "F32", {out}}};
  TAP_ASSERT(type == WeightType::q4);
  const Dim groups = ceil_div(in, group);
  return {{part("q4"), "U8", {out, groups * group_bytes}},
          {part("q4_step"), "BF16", {out, groups}},
          {part("q4_least"), "BF16", {out, groups}}};
}

std::vector<Tensor> parts_of(const QuantizedRows& rows) {
  if (rows.scale.defined()) return {rows.values, rows.scale};
  return {rows.values, rows.step, rows.least};
}

Dim parameters_of(std::string_view name, std::span<const Dim> shape, bool quantized) {
  if (quantized && (name.ends_with(".q8_scale") || name.ends_with(".q4_step") || name.ends_with(".q4_least"))) return 0;
  Dim count = quantized && name.ends_with(".q4") ? 2 : 1;
  for (const Dim d : shape) count *= d;
  return count;
}

std::optional<WeightType> quantized_type(const Safetensors& file) {
  const std::string_view type = file.note(quantized_note), version = file.note(quantized_version_note);
  if (type.empty() && version.empty()) return std::nullopt;
  const auto known = type_named(type);
  if (version == std::to_string(quantized_format_version) && known) return known;
  throw Error(
      ErrorCode::unsupported,
      log::one_line(fmt::format("{}: quantized as \"{}\" in version \"{}\" of the format; this tapetum reads q8 and q4 "
                                "in version {}",
                                file.file_name(), type.substr(0, 40), version.substr(0, 40), quantized_format_version)),
      std::string(file.file_name()));
}

std::optional<WeightType> quantized_type(const ConfigReader& config) {
  const auto at = config.json().find(quantized_config_key);
  if (at == config.json().end() || !at->is_object()) return std::nullopt;
  if (const auto method = at->find("quant_method"); method == at->end() || *method != Json(quantized_method))
    return std::nullopt;
  const ConfigReader said = config.child(quantized_config_key);
  said.one_of("quant_method", {quantized_method}, "");
  if (said.positive("version") != quantized_format_version)
    said.refuse("version", fmt::format("this tapetum reads version {}", quantized_format_version));
  return type_named(said.one_of("dtype", {"q8", "q4"}, ""));
}

PackedMatrix read_quantized(std::span<const StoredPlace> parts, WeightType type, Dim in, Dim begin, Dim end,
                            PackedSlabs* slabs) {
  const Dim out = end - begin;
  PackedMatrix::Builder builder(type, in, out, slabs);
  const Dim fitting = slice_bytes / std::max<Dim>(1, in) / panel * panel;
  const Dim step = std::min(std::max(panel, fitting), round_up(std::max<Dim>(1, out), panel));
  for (Dim row = 0; row < out; row += step) {
    const Dim count = std::min(step, out - row);
    const auto read = [&](std::size_t index, DType dtype) {
      const SafetensorEntry& entry = *parts[index].entry;
      const Dim width = entry.shape.size() > 1 ? entry.shape[1] : 1;
      Tensor rows = Tensor::empty(entry.shape.size() > 1 ? Shape{count, width} : Shape{count}, dtype);
      parts[index].file->read_bytes(entry, static_cast<std::uint64_t>((begin + row) * width * bytes_of(dtype)),
                                    {rows.raw_write(), static_cast<std::size_t>(rows.bytes())});
      return rows;
    };
    QuantizedRows rows;
    rows.values = read(0, DType::u8);
    if (type == WeightType::q8) {
      rows.scale = read(1, DType::f32);
    } else {
      rows.step = read(1, DType::bf16);
      rows.least = read(2, DType::bf16);
    }
    builder.add_rows(rows);
  }
  return builder.finish();
}

}  // namespace tap
