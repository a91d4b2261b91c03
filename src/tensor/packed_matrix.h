// A weight matrix in the one layout that products read: packed once at load, never copied again.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace tap {

// How a weight is kept. f32, bf16: as named. q8: int8, one scale per output row, activations quantized per row to u8
// with zero point 128. q4: 4-bit groups of 32 inputs with scale and minimum. dense: a row-major f32 master that
// training updates.
enum class WeightType : std::uint8_t { f32, bf16, q8, q4, dense };
std::string_view name(WeightType type);

// Rows of a q8 or q4 matrix in row-major order, as a quantized checkpoint stores them.
struct QuantizedRows {
  Tensor values;       // u8. q8: [n, in], the bits of int8; q4: [n, groups * 16], in groups of 32 inputs: byte j holds
                       // inputs j (low nibble) and 16 + j (high)
  Tensor scale;        // q8: [n] f32, w = scale * q
  Tensor step, least;  // q4: [n, groups] bf16, w = least + step * q
};

// Memory for matrices that are loaded together and stay: one behind the other in few large blocks, so that they lie in
// huge pages, which read a fifth to a half faster than small ones.
class PackedSlabs {
 public:
  std::shared_ptr<Storage> take(std::size_t bytes);  // aligned to 64, contents undefined
  // What taking so many more would ask of the arena, whose block it counts as taken: for plans, instead of `take`.
  std::size_t plan(std::size_t bytes);

 private:
  struct Place {
    std::size_t new_block, offset;  // new_block: 0 when there is room
    bool alone;                     // in the new block, which then is no slab for others
  };
  Place next(std::size_t bytes);
  std::shared_ptr<Storage> slab_;
  std::size_t size_ = 0, used_ = 0, taken_ = 0;
};

// W of a product y = x · Wᵀ: `out` rows of `in` numbers, as checkpoints store it.
// Layouts (design §3): f32 BA16a64b, bf16 BA16a64b2a, q8 BA16a64b4a in oneDNN's names, a = in (K), b = out (N); rows
// and columns are padded with zeros to whole blocks. q4: blocks of 64 outputs x 32 inputs with their scales and minima
// beside them.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // Packs `rows` output rows at a time, so that a loader can stream: source rows are f32 or bf16 (converted inside).
  class Builder {
   public:
    // `slabs`: where the matrix is to lie; null: in memory of its own.
    Builder(WeightType type, Dim in, Dim out, PackedSlabs* slabs = nullptr);
    ~Builder();
    // rows: [n, in] f32 or bf16, the next n output rows in order.
    void add_rows(const Tensor& rows);
    // Of a q8 or q4 matrix: rows that are rounded already, taken as they are. All calls but the last give a multiple of
    // 64 rows.
    void add_rows(const QuantizedRows& rows);
    PackedMatrix finish();  // throws unless exactly `out` rows were added

   private:
    struct State;
    std::unique_ptr<State> state_;
  };
  static PackedMatrix pack(const Tensor& weight, WeightType type,
                           PackedSlabs* slabs = nullptr);  // weight: [out, in] f32 or bf16
  // One that was packed before: panels and scales (null unless q8) as `data().panels` and `.scales` were. Throws
  // Error(bad_file) when their sizes are not those of such a matrix.
  static PackedMatrix of_parts(WeightType type, Dim in, Dim out, std::shared_ptr<Storage> panels,
                               std::shared_ptr<Storage> scales);
  // One without its numbers, for plans: it has sizes and takes no memory; products and look-ups must not use it.
  static PackedMatrix planned(WeightType type, Dim in, Dim out);
  static Dim bytes_for(WeightType type, Dim in, Dim out);  // what `bytes` of a packed one gives; not for dense

  // Of its panels, and of its scales unless it has none.
  static std::vector<Dim> part_bytes(WeightType type, Dim in, Dim out);

  bool defined() const { return data_ != nullptr; }
  WeightType type() const;
  Dim in() const;
  Dim out() const;
  Dim bytes() const;                           // as held in memory, padding and scales included
  Tensor unpack() const;                       // [out, in] f32: what the products compute with
  void unpack_row(Dim row, float* out) const;  // one row of W: an embedding look-up in a tied head

  QuantizedRows quantized_rows(Dim begin, Dim end) const;  // of q8 and q4 only; packed again they give the same bytes

  struct Data;  // tensor/packed_data.h: for kernels and ops only
  const Data& data() const { return *data_; }
  std::shared_ptr<Data> shared() const { return data_; }

 private:
  std::shared_ptr<Data> data_;
};

}  // namespace tap
