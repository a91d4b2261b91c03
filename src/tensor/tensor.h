// Tensor: a cheap value over shared storage. Contiguous and row-major always; `rows` and `reshape` are views.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "base/dim.h"
#include "base/error.h"
#include "base/exec_context.h"

namespace tap {

enum class DType : std::uint8_t { f32, bf16, f16, i32, i64, u8 };
Dim bytes_of(DType type);
std::string_view name(DType type);  // "bf16"

// bfloat16 bits; conversions round to nearest even.
struct bf16 {
  std::uint16_t bits;
};
inline float to_f32(bf16 value) { return __builtin_bit_cast(float, static_cast<std::uint32_t>(value.bits) << 16); }
inline bf16 to_bf16(float value) {
  const auto u = __builtin_bit_cast(std::uint32_t, value);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((u >> 16) | 0x40u)};  // NaN stays NaN
  return {static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

class Shape {
 public:
  static constexpr int max_rank = 6;
  Shape() = default;
  Shape(std::initializer_list<Dim> dims);
  explicit Shape(std::span<const Dim> dims);
  int rank() const { return rank_; }
  Dim dim(int axis) const;  // negative counts from the end
  Dim elements() const;     // 1 for rank 0; the product was checked at construction
  std::span<const Dim> dims() const { return {dims_.data(), static_cast<std::size_t>(rank_)}; }
  bool operator==(const Shape&) const = default;
  std::string to_string() const;  // "[12, 1024]"

 private:
  std::array<Dim, max_rank> dims_{};
  int rank_ = 0;
};

// A block of bytes that many tensors may share. From the ExecContext's arena, or memory someone else keeps alive.
class Storage {
 public:
  static std::shared_ptr<Storage> allocate(std::size_t bytes);  // current ExecContext's arena, contents undefined
  static std::shared_ptr<Storage> borrow(const void* data, std::size_t bytes,
                                         std::shared_ptr<const void> owner);  // read only
  // Bytes [offset, offset + bytes) of `whole`, which stays as long as any part does.
  static std::shared_ptr<Storage> part(std::shared_ptr<Storage> whole, std::size_t offset, std::size_t bytes);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  Storage() = default;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::shared_ptr<Arena> arena_;
  std::shared_ptr<const void> owner_;
};

struct GradNode;  // defined in autograd; opaque here

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::u8;
};

class Tensor {
 public:
  Tensor() = default;                                                // empty: defined() is false
  static Tensor empty(const Shape& shape, DType type = DType::f32);  // contents undefined
  static Tensor zeros(const Shape& shape, DType type = DType::f32);
  static Tensor full(const Shape& shape, float value);
  static Tensor view(std::shared_ptr<Storage> storage, std::size_t offset_bytes, const Shape& shape, DType type);
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape) {  // copies
    Tensor t = empty(shape, DTypeOf<T>::value);
    if (static_cast<Dim>(values.size()) != shape.elements()) t.size_mismatch(static_cast<Dim>(values.size()));
    std::copy(values.begin(), values.end(), t.write<T>());
    return t;
  }

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  Dim dim(int axis) const { return shape_.dim(axis); }
  Dim elements() const { return shape_.elements(); }
  Dim bytes() const { return elements() * bytes_of(dtype_); }
  DType dtype() const { return dtype_; }
  Dim width() const { return dim(-1); }                                 // elements of one row: the last axis
  Dim row_count() const { return width() ? elements() / width() : 0; }  // all other axes together

  template <class T>
  const T* data() const {
    check_type(DTypeOf<T>::value);
    return reinterpret_cast<const T*>(bytes_begin());
  }
  template <class T>
  T* write() {
    check_type(DTypeOf<T>::value);
    return reinterpret_cast<T*>(bytes_begin());
  }
  template <class T>
  std::span<const T> values() const {
    return {data<T>(), static_cast<std::size_t>(elements())};
  }
  const std::byte* raw() const { return bytes_begin(); }
  std::byte* raw_write() { return bytes_begin(); }
  const float* row(Dim index) const { return data<float>() + index * width(); }
  float* row_write(Dim index) { return write<float>() + index * width(); }

  Tensor rows(Dim begin, Dim end) const;     // view of [begin, end) along the first axis
  Tensor reshape(const Shape& shape) const;  // view; one dim may be -1
  Tensor clone() const;
  Tensor to(DType type) const;  // f32 <-> bf16 <-> f16, a copy; same type: itself

  const std::shared_ptr<GradNode>& grad_node() const { return grad_; }
  void set_grad_node(std::shared_ptr<GradNode> node) { grad_ = std::move(node); }

  std::string to_string(Dim edge = 3) const;  // shape, type and the first and last values, for errors and -v

 private:
  std::byte* bytes_begin() const { return storage_ ? storage_->data() + offset_bytes_ : nullptr; }
  void check_type(DType wanted) const;
  [[noreturn]] void size_mismatch(Dim values) const;
  std::shared_ptr<Storage> storage_;
  std::size_t offset_bytes_ = 0;
  Shape shape_;
  DType dtype_ = DType::f32;
  std::shared_ptr<GradNode> grad_;
};

// Throws "op: name is [768], must be [1024]" unless the shapes are equal; a wanted dim of -1 takes any size.
void require_shape(std::string_view op, std::string_view name, const Tensor& tensor, const Shape& wanted);

}  // namespace tap
