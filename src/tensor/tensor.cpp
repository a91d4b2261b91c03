#include "tensor/tensor.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

namespace tap {

namespace {

// IEEE half to float, exact; checkpoints in f16 are rare, so this need not be fast.
float half_to_f32(std::uint16_t h) {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16, exponent = (h >> 10) & 0x1fu,
                      mantissa = h & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  const std::uint32_t bits =
      exponent == 31 ? sign | 0x7f800000u | (mantissa << 13) : sign | ((exponent + 112) << 23) | (mantissa << 13);
  return __builtin_bit_cast(float, bits);
}

std::uint16_t f32_to_half(float value) {
  const auto bits = __builtin_bit_cast(std::uint32_t, value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // rounds to infinity
  if (magnitude < 0x38800000u) {  // subnormal: adding 0.5 puts the wanted rounding at the last mantissa bit
    const float shifted = __builtin_bit_cast(float, magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (__builtin_bit_cast(std::uint32_t, shifted) - 0x3f000000u));
  }
  const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

}  // namespace

Dim bytes_of(DType type) {
  switch (type) {
    case DType::f32:
    case DType::i32: return 4;
    case DType::bf16:
    case DType::f16: return 2;
    case DType::i64: return 8;
    case DType::u8: return 1;
  }
  return 0;
}

std::string_view name(DType type) {
  switch (type) {
    case DType::f32: return "f32";
    case DType::bf16: return "bf16";
    case DType::f16: return "f16";
    case DType::i32: return "i32";
    case DType::i64: return "i64";
    case DType::u8: return "u8";
  }
  return "?";
}

Shape::Shape(std::initializer_list<Dim> dims) : Shape(std::span<const Dim>(dims.begin(), dims.size())) {}

Shape::Shape(std::span<const Dim> dims) : rank_(static_cast<int>(dims.size())) {
  if (dims.size() > max_rank) fail(ErrorCode::bad_input, "a shape of {} axes, the limit is {}", dims.size(), max_rank);
  std::copy(dims.begin(), dims.end(), dims_.begin());
  Dim product = 1;
  for (const Dim d : dims) {
    const auto next = checked_mul(product, std::max<Dim>(d, 1));
    if (d < -1 || !next) fail(ErrorCode::bad_input, "shape {} is not possible", to_string());
    product = *next;
  }
}

Dim Shape::dim(int axis) const {
  const int at = axis < 0 ? axis + rank_ : axis;
  TAP_ASSERT(at >= 0 && at < rank_);
  return dims_[static_cast<std::size_t>(at)];
}

Dim Shape::elements() const {
  Dim product = 1;
  for (const Dim d : dims()) product *= d;
  return product;
}

std::string Shape::to_string() const { return fmt::format("[{}]", fmt::join(dims(), ", ")); }

std::shared_ptr<Storage> Storage::allocate(std::size_t bytes) {
  std::shared_ptr<Storage> storage(new Storage);
  storage->arena_ = ExecContext::current().arena();
  storage->data_ = static_cast<std::byte*>(storage->arena_->allocate(bytes));
  storage->bytes_ = bytes;
  return storage;
}

std::shared_ptr<Storage> Storage::borrow(const void* data, std::size_t bytes, std::shared_ptr<const void> owner) {
  std::shared_ptr<Storage> storage(new Storage);
  storage->data_ = const_cast<std::byte*>(static_cast<const std::byte*>(data));
  storage->bytes_ = bytes;
  storage->owner_ = std::move(owner);
  return storage;
}

std::shared_ptr<Storage> Storage::part(std::shared_ptr<Storage> whole, std::size_t offset, std::size_t bytes) {
  TAP_ASSERT(offset <= whole->bytes() && bytes <= whole->bytes() - offset);
  const std::byte* const data = whole->data() + offset;
  return borrow(data, bytes, std::move(whole));
}

Storage::~Storage() {
  if (arena_ && data_) arena_->release(data_, bytes_);
}

Tensor Tensor::empty(const Shape& shape, DType type) {
  Tensor t;
  const auto bytes = checked_mul(shape.elements(), bytes_of(type));
  if (!bytes) fail(ErrorCode::bad_input, "a tensor of shape {} is too large", shape.to_string());
  t.storage_ = Storage::allocate(static_cast<std::size_t>(*bytes));
  t.shape_ = shape;
  t.dtype_ = type;
  return t;
}

Tensor Tensor::zeros(const Shape& shape, DType type) {
  Tensor t = empty(shape, type);
  std::memset(t.raw_write(), 0, static_cast<std::size_t>(t.bytes()));
  return t;
}

Tensor Tensor::full(const Shape& shape, float value) {
  Tensor t = empty(shape);
  std::fill_n(t.write<float>(), t.elements(), value);
  return t;
}

Tensor Tensor::view(std::shared_ptr<Storage> storage, std::size_t offset_bytes, const Shape& shape, DType type) {
  Tensor t;
  t.storage_ = std::move(storage);
  t.offset_bytes_ = offset_bytes;
  t.shape_ = shape;
  t.dtype_ = type;
  TAP_ASSERT(offset_bytes + static_cast<std::size_t>(t.bytes()) <= t.storage_->bytes());
  return t;
}

Tensor Tensor::rows(Dim begin, Dim end) const {
  if (rank() < 1 || begin < 0 || end < begin || end > dim(0))
    fail(ErrorCode::bad_input, "rows {} to {} of a tensor {}", begin, end, shape_.to_string());
  std::array<Dim, Shape::max_rank> dims{};
  std::copy(shape_.dims().begin(), shape_.dims().end(), dims.begin());
  const Dim row_bytes = dim(0) ? bytes() / dim(0) : 0;
  dims[0] = end - begin;
  Tensor t = *this;
  t.grad_.reset();
  t.shape_ = Shape(std::span<const Dim>(dims.data(), static_cast<std::size_t>(rank())));
  t.offset_bytes_ += static_cast<std::size_t>(begin * row_bytes);
  return t;
}

Tensor Tensor::reshape(const Shape& shape) const {
  std::array<Dim, Shape::max_rank> dims{};
  std::copy(shape.dims().begin(), shape.dims().end(), dims.begin());
  Dim known = 1, open = -1;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape.dim(i) >= 0)
      known *= shape.dim(i);
    else if (open < 0)
      open = i;
    else
      fail(ErrorCode::bad_input, "reshape to {}: two open axes", shape.to_string());
  }
  if (open >= 0) dims[static_cast<std::size_t>(open)] = known > 0 ? elements() / known : 0;
  const Shape full(std::span<const Dim>(dims.data(), static_cast<std::size_t>(shape.rank())));
  if (full.elements() != elements())
    fail(ErrorCode::bad_input, "reshape: {} cannot become {}", shape_.to_string(), shape.to_string());
  Tensor t = *this;
  t.shape_ = full;
  return t;
}

Tensor Tensor::clone() const {
  Tensor t = empty(shape_, dtype_);
  if (bytes()) std::memcpy(t.raw_write(), raw(), static_cast<std::size_t>(bytes()));
  return t;
}

Tensor Tensor::to(DType type) const {
  if (type == dtype_) return *this;
  Tensor out = empty(shape_, type);
  const Dim n = elements();
  const auto read = [&](Dim i) -> float {
    switch (dtype_) {
      case DType::f32: return reinterpret_cast<const float*>(raw())[i];
      case DType::bf16: return to_f32(reinterpret_cast<const bf16*>(raw())[i]);
      case DType::f16: return half_to_f32(reinterpret_cast<const std::uint16_t*>(raw())[i]);
      default: fail(ErrorCode::bad_input, "cannot convert {} to {}", name(dtype_), name(type));
    }
  };
  for (Dim i = 0; i < n; ++i) {
    switch (type) {
      case DType::f32: reinterpret_cast<float*>(out.raw_write())[i] = read(i); break;
      case DType::bf16: reinterpret_cast<bf16*>(out.raw_write())[i] = to_bf16(read(i)); break;
      case DType::f16: reinterpret_cast<std::uint16_t*>(out.raw_write())[i] = f32_to_half(read(i)); break;
      default: fail(ErrorCode::bad_input, "cannot convert {} to {}", name(dtype_), name(type));
    }
  }
  return out;
}

void Tensor::check_type(DType wanted) const {
  if (dtype_ != wanted)
    fail(ErrorCode::internal, "a tensor {} is {}, must be {}", shape_.to_string(), name(dtype_), name(wanted));
}

void Tensor::size_mismatch(Dim values) const {
  fail(ErrorCode::bad_input, "{} values for a tensor {}", values, shape_.to_string());
}

std::string Tensor::to_string(Dim edge) const {
  if (!defined()) return "(no tensor)";
  std::string text = fmt::format("{} {}", shape_.to_string(), name(dtype_));
  if (dtype_ != DType::f32 && dtype_ != DType::bf16 && dtype_ != DType::f16) return text;
  const Tensor f = to(DType::f32);
  const Dim n = elements();
  text += ": ";
  for (Dim i = 0; i < n; ++i) {
    if (i == edge && n > 2 * edge) text += "… ", i = n - edge;
    text += fmt::format("{:.5g} ", f.data<float>()[i]);
  }
  text.pop_back();
  return text;
}

void require_shape(std::string_view op, std::string_view what, const Tensor& tensor, const Shape& wanted) {
  bool same = tensor.rank() == wanted.rank();
  for (int i = 0; same && i < wanted.rank(); ++i) same = wanted.dim(i) < 0 || wanted.dim(i) == tensor.dim(i);
  if (!same)
    fail(ErrorCode::bad_input, "{}: {} is {}, must be {}", op, what, tensor.shape().to_string(), wanted.to_string());
}

}  // namespace tap
