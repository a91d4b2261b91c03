// Rows picked, placed, joined and cut; the views that carry gradients; patches and space-to-depth.
#include <cstring>

#include "autograd/tape.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernels/elementwise.h"
#include "ops/ops.h"

namespace tap::ops {

namespace {

void copy_row(const float* from, Dim width, float* to) {
  std::memcpy(to, from, static_cast<std::size_t>(width) * sizeof(float));
}

void check_rows(std::string_view op, std::string_view what, const Tensor& x) {
  if (x.rank() != 2) fail(ErrorCode::bad_input, "{}: {} is {}, must be [rows, width]", op, what, x.shape().to_string());
}

void check_slots(std::string_view op, std::span<const Dim> slots, Dim rows) {
  for (const Dim slot : slots)
    if (slot < 0 || slot >= rows) fail(ErrorCode::bad_input, "{}: slot {} is not in [0, {})", op, slot, rows);
}

// Row i of `rows` added to row slots[i] of zeros.
Tensor scatter_add(const Tensor& rows, std::span<const Dim> slots, const Shape& shape) {
  Tensor out = Tensor::zeros(shape);
  const Dim width = shape.dim(1);
  for (Dim i = 0; const Dim slot : slots) kernels::add(out.row(slot), rows.row(i++), width, out.row_write(slot));
  return out;
}

}  // namespace

Tensor split_heads(const Tensor& x, Dim heads) {
  if (x.rank() != 2 || heads < 1 || x.dim(1) % heads)
    fail(ErrorCode::bad_input, "split_heads: {} does not split into {} heads", x.shape().to_string(), heads);
  return x.reshape({x.dim(0), heads, x.dim(1) / heads});
}

Tensor merge_heads(const Tensor& x) {
  if (x.rank() != 3) fail(ErrorCode::bad_input, "merge_heads: x is {}, must be [t, heads, d]", x.shape().to_string());
  return x.reshape({x.dim(0), x.dim(1) * x.dim(2)});
}

Tensor rows(const Tensor& x, Dim begin, Dim end) {
  Tensor y = x.rows(begin, end);
  if (tape::wants({&x}))
    tape::record(y, {&x}, [shape = x.shape(), begin](const Tensor& dy) {
      Tensor dx = Tensor::zeros(shape);
      if (dy.elements())
        copy_row(dy.data<float>(), dy.elements(), dx.write<float>() + begin * (shape.elements() / shape.dim(0)));
      return std::vector<Tensor>{dx};
    });
  return y;
}

Tensor embedding(const Tensor& table, std::span<const TokenId> ids) {
  const Profile::Scope profile([] { return "rows moved"; });
  check_rows("embedding", "table", table);
  const Dim vocab = table.dim(0), width = table.dim(1);
  for (const TokenId id : ids)
    if (id < 0 || id >= vocab) fail(ErrorCode::bad_input, "embedding: id {} is not in [0, {})", id, vocab);
  Tensor y = Tensor::empty({static_cast<Dim>(ids.size()), width});
  if (table.dtype() == DType::bf16) {
    const auto* from = reinterpret_cast<const std::uint16_t*>(table.raw());
    for (Dim i = 0; const TokenId id : ids) kernels::from_bf16(from + id * width, width, y.row_write(i++));
  } else {
    for (Dim i = 0; const TokenId id : ids) copy_row(table.row(id), width, y.row_write(i++));
  }
  if (tape::wants({&table}))
    tape::record(y, {&table},
                 [slots = std::vector<Dim>(ids.begin(), ids.end()), shape = table.shape()](const Tensor& dy) {
                   return std::vector<Tensor>{scatter_add(dy, slots, shape)};
                 });
  return y;
}

Tensor put_rows(const Tensor& x, std::span<const Dim> slots, const Tensor& rows) {
  const Profile::Scope profile([] { return "rows moved"; });
  check_rows("put_rows", "x", x);
  require_shape("put_rows", "rows", rows, {static_cast<Dim>(slots.size()), x.dim(1)});
  check_slots("put_rows", slots, x.dim(0));
  Tensor y = x.clone();
  y.set_grad_node(nullptr);
  const Dim width = x.dim(1);
  for (Dim i = 0; const Dim slot : slots) copy_row(rows.row(i++), width, y.row_write(slot));
  if (tape::wants({&x, &rows}))
    tape::record(y, {&x, &rows}, [kept = std::vector<Dim>(slots.begin(), slots.end()), width](const Tensor& dy) {
      Tensor dx = dy.clone();
      for (const Dim slot : kept) std::fill_n(dx.row_write(slot), width, 0.0f);
      Tensor drows = Tensor::zeros({static_cast<Dim>(kept.size()), width});
      std::vector<bool> taken(static_cast<std::size_t>(dy.dim(0)));  // of a slot named twice the last row counts
      for (Dim i = static_cast<Dim>(kept.size()) - 1; i >= 0; --i) {
        const Dim slot = kept[static_cast<std::size_t>(i)];
        if (!taken[static_cast<std::size_t>(slot)]) copy_row(dy.row(slot), width, drows.row_write(i));
        taken[static_cast<std::size_t>(slot)] = true;
      }
      return std::vector<Tensor>{dx, drows};
    });
  return y;
}

Tensor take_rows(const Tensor& x, std::span<const Dim> slots) {
  const Profile::Scope profile([] { return "rows moved"; });
  check_rows("take_rows", "x", x);
  check_slots("take_rows", slots, x.dim(0));
  Tensor y = Tensor::empty({static_cast<Dim>(slots.size()), x.dim(1)});
  for (Dim i = 0; const Dim slot : slots) copy_row(x.row(slot), x.dim(1), y.row_write(i++));
  if (tape::wants({&x}))
    tape::record(y, {&x}, [kept = std::vector<Dim>(slots.begin(), slots.end()), shape = x.shape()](const Tensor& dy) {
      return std::vector<Tensor>{scatter_add(dy, kept, shape)};
    });
  return y;
}

Tensor concat_rows(std::span<const Tensor> parts) {
  const Profile::Scope profile([] { return "rows moved"; });
  if (parts.empty() || parts[0].rank() < 1) fail(ErrorCode::bad_input, "concat_rows: no part, or one without axes");
  std::array<Dim, Shape::max_rank> dims{};
  const auto first = parts[0].shape().dims();
  std::copy(first.begin(), first.end(), dims.begin());
  dims[0] = 0;
  bool recorded = false;
  for (const Tensor& part : parts) {
    const auto other = part.shape().dims();
    if (other.size() != first.size() || !std::equal(first.begin() + 1, first.end(), other.begin() + 1) ||
        part.dtype() != parts[0].dtype())
      fail(ErrorCode::bad_input, "concat_rows: {} {} does not go below {} {}", part.shape().to_string(),
           name(part.dtype()), parts[0].shape().to_string(), name(parts[0].dtype()));
    dims[0] += part.dim(0);
    recorded = recorded || tape::wants({&part});
  }
  Tensor y = Tensor::empty(Shape(std::span<const Dim>(dims.data(), first.size())), parts[0].dtype());
  std::byte* to = y.raw_write();
  for (const Tensor& part : parts) {
    if (part.bytes()) std::memcpy(to, part.raw(), static_cast<std::size_t>(part.bytes()));
    to += part.bytes();
  }
  if (recorded) {
    std::vector<const Tensor*> inputs;
    std::vector<Dim> counts;
    for (const Tensor& part : parts) inputs.push_back(&part), counts.push_back(part.dim(0));
    tape::record(y, inputs, [counts](const Tensor& dy) {
      std::vector<Tensor> grads;
      for (Dim at = 0; const Dim count : counts) grads.push_back(dy.rows(at, at + count)), at += count;
      return grads;
    });
  }
  return y;
}

namespace {

// Moves pixels (row y, column x) of [h, w, d] to (y / f, x / f, y % f, x % f); `back` is the inverse.
Tensor move_blocks(const Tensor& x, const Shape& shape, Dim height, Dim width, Dim factor, bool back) {
  Tensor y = Tensor::empty(shape);
  const Dim pictures = x.dim(0), d = x.elements() / std::max<Dim>(1, pictures * height * width);
  const float* in = x.data<float>();
  float* out = y.write<float>();
  parallel_rows(pictures * height, std::max<Dim>(1, 16384 / std::max<Dim>(1, width * d)), [&](Rows r) {
    for (Dim line = r.begin; line < r.end; ++line) {
      const Dim picture = line / height, row = line % height;
      for (Dim column = 0; column < width; ++column) {
        const Dim raster = line * width + column;
        const Dim block = (picture * (height / factor) + row / factor) * (width / factor) + column / factor;
        const Dim moved = (block * factor + row % factor) * factor + column % factor;
        copy_row(in + (back ? moved : raster) * d, d, out + (back ? raster : moved) * d);
      }
    }
  });
  return y;
}

}  // namespace

Tensor space_to_depth(const Tensor& x, Dim height, Dim width, Dim factor) {
  if (x.rank() != 3 || x.dim(1) != height * width || factor < 1 || height % factor || width % factor)
    fail(ErrorCode::bad_input, "space_to_depth: {} is no raster of {} x {} in blocks of {}", x.shape().to_string(),
         height, width, factor);
  Tensor y = move_blocks(x, {x.dim(0), height / factor * (width / factor), factor * factor * x.dim(2)}, height, width,
                         factor, false);
  if (tape::wants({&x}))
    tape::record(y, {&x}, [shape = x.shape(), height, width, factor](const Tensor& dy) {
      return std::vector<Tensor>{move_blocks(dy, shape, height, width, factor, true)};
    });
  return y;
}

Tensor average_pool(const Tensor& x, Dim height, Dim width, Dim factor) {
  if (x.rank() != 3 || x.dim(1) != height * width || factor < 1 || height % factor || width % factor)
    fail(ErrorCode::bad_input, "average_pool: {} is no raster of {} x {} in blocks of {}", x.shape().to_string(),
         height, width, factor);
  const Dim down = height / factor, across = width / factor, d = x.dim(2);
  const float share = 1.0f / static_cast<float>(factor * factor);
  Tensor y = Tensor::zeros({x.dim(0), down * across, d});
  const float* in = x.data<float>();
  float* out = y.write<float>();
  parallel_rows(x.dim(0) * down, std::max<Dim>(1, 16384 / std::max<Dim>(1, factor * width * d)), [&](Rows r) {
    for (Dim line = r.begin; line < r.end; ++line) {
      float* const sums = out + line * across * d;
      for (Dim row = 0; row < factor; ++row)
        for (Dim column = 0; column < width; ++column) {
          float* const sum = sums + column / factor * d;
          kernels::add(sum, in + ((line * factor + row) * width + column) * d, d, sum);
        }
      kernels::scale(sums, share, across * d, sums);
    }
  });
  if (tape::wants({&x}))
    tape::record(y, {&x}, [shape = x.shape(), height, width, factor, share](const Tensor& dy) {
      Tensor dx = Tensor::empty(shape);
      const Dim cells = shape.dim(2), wide = width / factor;
      float* to = dx.write<float>();
      for (Dim line = 0; line < shape.dim(0) * height; ++line)
        for (Dim column = 0; column < width; ++column, to += cells)
          kernels::scale(dy.data<float>() + (line / factor * wide + column / factor) * cells, share, cells, to);
      return std::vector<Tensor>{dx};
    });
  return y;
}

namespace {

Tensor move_patches(const Tensor& from, const Shape& pixels, Dim patch, bool back) {
  const Dim channels = pixels.dim(1), height = pixels.dim(2), width = pixels.dim(3), down = height / patch,
            across = width / patch;
  Tensor y = Tensor::empty(back ? pixels : Shape{pixels.dim(0), down * across, channels * patch * patch});
  const float* in = from.data<float>();
  float* out = y.write<float>();
  parallel_rows(pixels.dim(0) * down, 1, [&](Rows r) {
    for (Dim strip = r.begin; strip < r.end; ++strip)
      for (Dim c = 0; c < channels; ++c)
        for (Dim row = 0; row < patch; ++row) {
          const Dim line = ((strip / down * channels + c) * height + strip % down * patch + row) * width;
          for (Dim column = 0; column < across; ++column) {
            const Dim moved = ((strip * across + column) * channels + c) * patch * patch + row * patch,
                      raster = line + column * patch;
            copy_row(in + (back ? moved : raster), patch, out + (back ? raster : moved));
          }
        }
  });
  return y;
}

}  // namespace

Tensor patchify(const Tensor& pixels, Dim patch) {
  const Profile::Scope profile([] { return "rows moved"; });
  if (pixels.rank() != 4 || patch < 1 || pixels.dim(2) % patch || pixels.dim(3) % patch)
    fail(ErrorCode::bad_input, "patchify: {} does not divide into patches of {}", pixels.shape().to_string(), patch);
  Tensor y = move_patches(pixels, pixels.shape(), patch, false);
  if (tape::wants({&pixels}))
    tape::record(y, {&pixels}, [shape = pixels.shape(), patch](const Tensor& dy) {
      return std::vector<Tensor>{move_patches(dy, shape, patch, true)};
    });
  return y;
}

}  // namespace tap::ops
