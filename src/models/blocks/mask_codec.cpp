#include "models/blocks/mask_codec.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base/parallel.h"
#include "io/npz.h"
#include "io/safetensors.h"
#include "media/resize.h"
#include "ops/linear.h"

namespace tap {

namespace {

constexpr Dim masks_at_once = 8;  // what lies between the layers stays in the caches
constexpr int last_location = 1023;

void relu(Tensor& x) {
  float* const values = x.write<float>();
  parallel_rows(x.elements(), 1 << 16, [&](Rows part) {
    for (Dim i = part.begin; i < part.end; ++i) values[i] = std::max(values[i], 0.0f);
  });
}

// Patches as rows: [n, h, w, c] to [n, oh, ow, k * k * c], zeros outside.
Tensor patches(const Tensor& x, Dim kernel, Dim stride, Dim padding) {
  const Dim n = x.dim(0), height = x.dim(1), width = x.dim(2), channels = x.dim(3);
  const Dim out_height = (height + 2 * padding - kernel) / stride + 1,
            out_width = (width + 2 * padding - kernel) / stride + 1;
  Tensor out = Tensor::empty({n, out_height, out_width, kernel * kernel * channels});
  const float* const from = x.data<float>();
  float* const to = out.write<float>();
  parallel_rows(n * out_height, 4, [&](Rows part) {
    for (Dim row = part.begin; row < part.end; ++row) {
      const float* const picture = from + row / out_height * height * width * channels;
      float* patch = to + row * out_width * kernel * kernel * channels;
      for (Dim column = 0; column < out_width; ++column)
        for (Dim ky = 0; ky < kernel; ++ky)
          for (Dim kx = 0; kx < kernel; ++kx, patch += channels) {
            const Dim y = row % out_height * stride + ky - padding, x_px = column * stride + kx - padding;
            if (y >= 0 && y < height && x_px >= 0 && x_px < width)
              std::copy_n(picture + (y * width + x_px) * channels, channels, patch);
            else
              std::fill_n(patch, channels, 0.0f);
          }
    }
  });
  return out;
}

// [out, in, k, k] to [out, k, k, in], or with `transposed` [in, out, k, k] to [k, k, out, in].
Tensor reordered(const Tensor& weight, bool transposed) {
  const Dim a = weight.dim(0), b = weight.dim(1), taps = weight.dim(2) * weight.dim(3);
  Tensor out = Tensor::empty(transposed ? Shape{taps * b, a} : Shape{a, taps * b});
  const float* const from = weight.data<float>();
  float* const to = out.write<float>();
  for (Dim i = 0; i < a; ++i)
    for (Dim j = 0; j < b; ++j)
      for (Dim tap = 0; tap < taps; ++tap)
        to[transposed ? (tap * b + j) * a + i : (i * taps + tap) * b + j] = from[(i * b + j) * taps + tap];
  return out;
}

}  // namespace

class MaskCodec::Loader {
 public:
  explicit Loader(const std::string& path) : name_(path.substr(path.rfind('/') + 1)) {
    if (path.ends_with(".npz"))
      npz_.emplace(Npz::open(path).value());
    else if (path.ends_with(".safetensors"))
      safetensors_.emplace(Safetensors::open(path).value());
    else
      throw Error(ErrorCode::unsupported, fmt::format("{}: a mask decoder is an .npz or .safetensors file", name_),
                  name_);
  }

  bool has(const std::string& tensor) const { return npz_ ? npz_->has(tensor) : safetensors_->find(tensor) != nullptr; }

  // f32 of these sizes; 0 stands for any.
  Tensor tensor(const std::string& tensor, std::initializer_list<Dim> sizes) const {
    const Tensor read = npz_ ? npz_->read(tensor).value() : safetensors_->read(tensor);
    const auto dims = read.shape().dims();
    const bool fits = std::ranges::equal(
        dims, sizes, [](Dim got, Dim wanted) { return wanted == 0 ? got > 0 && got <= widest : got == wanted; });
    if (!fits) {
      std::string wanted;
      for (const Dim size : sizes)
        wanted += fmt::format("{}{}", wanted.empty() ? "" : ", ", size == 0 ? "any" : std::to_string(size));
      throw Error(ErrorCode::bad_file,
                  fmt::format("{}: {}: shape {}, must be [{}]", name_, tensor, read.shape().to_string(), wanted),
                  name_);
    }
    if (read.dtype() != DType::f32 && read.dtype() != DType::f16 && read.dtype() != DType::bf16)
      throw Error(ErrorCode::bad_file, fmt::format("{}: {}: holds no floats", name_, tensor), name_);
    return read.to(DType::f32);
  }

  Conv conv(const std::string& name, Dim in, Dim out, Dim kernel, Dim stride = 1) const {
    const Tensor weight = tensor(name + ".weight", {out, in, kernel, kernel});
    return {PackedMatrix::pack(reordered(weight, false), WeightType::f32), tensor(name + ".bias", {weight.dim(0)}),
            kernel, stride, kernel / 2 - (kernel + 1) % 2};
  }
  Up up(const std::string& name, Dim in) const {
    const Tensor weight = tensor(name + ".weight", {in, 0, 4, 4});
    return {PackedMatrix::pack(reordered(weight, true), WeightType::f32), tensor(name + ".bias", {weight.dim(1)})};
  }
  Residual residual(const std::string& name, Dim width) const {
    return {conv(name + ".net.0", width, width, 3), conv(name + ".net.2", width, width, 3),
            conv(name + ".net.4", width, width, 1)};
  }

 private:
  static constexpr Dim widest = 1 << 16;
  std::string name_;
  std::optional<Npz> npz_;
  std::optional<Safetensors> safetensors_;
};

MaskCodec MaskCodec::load(const std::string& path) {
  const Loader file(path);
  MaskCodec codec;
  codec.codebook_ = file.tensor("_vq_vae._embedding", {0, 0});
  const Dim depth = codec.codebook_.dim(1);
  codec.entry_ = file.conv("decoder.0", depth, 0, 1);
  Dim width = codec.entry_.bias.dim(0);
  for (const char* name : {"decoder.2", "decoder.3"}) codec.decoder_residuals_.push_back(file.residual(name, width));
  for (const char* name : {"decoder.4", "decoder.6", "decoder.8", "decoder.10"}) {
    codec.ups_.push_back(file.up(name, width));
    width = codec.ups_.back().bias.dim(0);
  }
  codec.exit_ = file.conv("decoder.12", width, 1, 1);
  if (!file.has("encoder.0.weight")) return codec;
  width = 1;
  for (const char* name : {"encoder.0", "encoder.2", "encoder.4", "encoder.6"}) {
    codec.downs_.push_back(file.conv(name, width, 0, 4, 2));
    width = codec.downs_.back().bias.dim(0);
  }
  for (const char* name : {"encoder.8", "encoder.9"}) codec.encoder_residuals_.push_back(file.residual(name, width));
  codec.projection_ = file.conv("encoder.10", width, depth, 1);
  return codec;
}

// [n, h, w, in] to [n, h / stride, w / stride, out].
Tensor MaskCodec::run(const Conv& conv, const Tensor& x) {
  const ops::Epilogue with_bias{.bias = conv.bias};
  if (conv.kernel == 1) return ops::linear(x, conv.weight, with_bias);
  return ops::linear(patches(x, conv.kernel, conv.stride, conv.padding), conv.weight, with_bias);
}

Tensor MaskCodec::run(const Residual& residual, const Tensor& x) {
  Tensor h = run(residual.first, x);
  relu(h);
  h = run(residual.second, h);
  relu(h);
  return ops::linear(h, residual.third.weight, {.bias = residual.third.bias, .residual = x});
}

// [n, h, w, in] to [n, 2h, 2w, out], ReLU included. Each output pixel gathers the four taps that reach it.
Tensor MaskCodec::run(const Up& up, const Tensor& x) {
  const Dim n = x.dim(0), height = x.dim(1), width = x.dim(2), out = up.bias.dim(0);
  const Tensor product = ops::linear(x, up.weight);  // [n, h, w, 4 * 4 * out]
  Tensor y = Tensor::empty({n, 2 * height, 2 * width, out});
  const float *const taps = product.data<float>(), *const bias = up.bias.data<float>();
  float* const to = y.write<float>();
  parallel_rows(n * 2 * height, 8, [&](Rows part) {
    for (Dim row = part.begin; row < part.end; ++row) {
      const Dim picture = row / (2 * height), oy = row % (2 * height);
      for (Dim ox = 0; ox < 2 * width; ++ox) {
        float* const pixel = to + (row * 2 * width + ox) * out;
        std::copy_n(bias, out, pixel);
        for (Dim ky = (oy + 1) % 2; ky < 4; ky += 2)
          for (Dim kx = (ox + 1) % 2; kx < 4; kx += 2) {
            const Dim iy = (oy + 1 - ky) / 2, ix = (ox + 1 - kx) / 2;
            if (oy + 1 < ky || ox + 1 < kx || iy >= height || ix >= width) continue;
            const float* const tap = taps + (((picture * height + iy) * width + ix) * 16 + ky * 4 + kx) * out;
            for (Dim c = 0; c < out; ++c) pixel[c] += tap[c];
          }
        for (Dim c = 0; c < out; ++c) pixel[c] = std::max(pixel[c], 0.0f);
      }
    }
  });
  return y;
}

Tensor MaskCodec::decode(std::span<const int> codes) const {
  const Dim n = static_cast<Dim>(codes.size()) / codes_per_mask, depth = codebook_.dim(1);
  if (n * codes_per_mask != static_cast<Dim>(codes.size()))
    fail(ErrorCode::bad_input, "mask codes: {}, must be a multiple of {}", codes.size(), codes_per_mask);
  for (const int code : codes)
    if (code < 0 || code >= codebook_size())
      fail(ErrorCode::bad_input, "mask code {}: must be from 0 to {}", code, codebook_size() - 1);
  Tensor masks = Tensor::empty({n, side_px, side_px});
  for (Dim begin = 0; begin < n; begin += masks_at_once) {
    const Dim count = std::min(masks_at_once, n - begin);
    Tensor x = Tensor::empty({count, grid, grid, depth});
    for (Dim i = 0; i < count * codes_per_mask; ++i)
      std::copy_n(codebook_.row(codes[static_cast<std::size_t>(begin * codes_per_mask + i)]), depth, x.row_write(i));
    x = run(entry_, x);
    relu(x);
    for (const Residual& residual : decoder_residuals_) x = run(residual, x);
    for (const Up& up : ups_) x = run(up, x);
    x = run(exit_, x);
    std::copy_n(x.data<float>(), x.elements(), masks.write<float>() + begin * side_px * side_px);
  }
  return masks;
}

std::vector<int> MaskCodec::encode(const Tensor& masks) const {
  if (!can_encode()) fail(ErrorCode::unsupported, "this mask codec has a decoder only, it cannot encode masks");
  if (masks.rank() != 3 || masks.dim(1) != side_px || masks.dim(2) != side_px)
    fail(ErrorCode::bad_input, "masks of shape {}: must be [n, {}, {}]", masks.shape().to_string(), side_px, side_px);
  if (!std::ranges::all_of(masks.values<float>(), [](float value) { return std::isfinite(value); }))
    fail(ErrorCode::bad_input, "masks hold a value that is no finite number");
  std::vector<int> codes;
  for (Dim begin = 0; begin < masks.dim(0); begin += masks_at_once) {
    const Dim end = std::min(begin + masks_at_once, masks.dim(0));
    Tensor x = masks.rows(begin, end).clone().reshape({end - begin, side_px, side_px, 1});
    for (float& value : std::span(x.write<float>(), static_cast<std::size_t>(x.elements()))) value = 2 * value - 1;
    for (const Conv& down : downs_) {
      x = run(down, x);
      relu(x);
    }
    for (const Residual& residual : encoder_residuals_) x = run(residual, x);
    x = run(projection_, x);
    for (Dim i = 0; i < x.row_count(); ++i) {
      int best = 0;
      double least = std::numeric_limits<double>::max();
      for (Dim code = 0; code < codebook_size(); ++code) {
        double distance = 0;
        for (Dim d = 0; d < x.width(); ++d) {
          const double apart = double{x.row(i)[d]} - double{codebook_.row(code)[d]};
          distance += apart * apart;
        }
        if (distance < least) least = distance, best = static_cast<int>(code);
      }
      codes.push_back(best);
    }
  }
  return codes;
}

MaskBox mask_box(const std::array<int, 4>& locations, Dim height, Dim width) {
  for (const int location : locations)
    if (location < 0 || location > last_location)
      fail(ErrorCode::bad_input, "location {}: must be from 0 to {}", location, last_location);
  const auto pixel = [](int location, Dim size) {
    return static_cast<Dim>(static_cast<double>(location) / last_location * static_cast<double>(size));
  };
  return {pixel(locations[0], height), pixel(locations[1], width), pixel(locations[2], height),
          pixel(locations[3], width)};
}

Tensor paste_mask(const Tensor& mask, const MaskBox& box, Dim height, Dim width) {
  require_shape("paste_mask", "mask", mask, {MaskCodec::side_px, MaskCodec::side_px});
  if (box.y1 < 0 || box.x1 < 0 || box.y2 > height || box.x2 > width)
    fail(ErrorCode::bad_input, "mask box y {} to {}, x {} to {}: must lie in the picture of {}x{} pixels", box.y1,
         box.y2, box.x1, box.x2, width, height);
  Tensor canvas = Tensor::zeros({height, width}, DType::u8);
  if (box.y2 <= box.y1 || box.x2 <= box.x1) return canvas;
  const Dim box_height = box.y2 - box.y1, box_width = box.x2 - box.x1;
  const std::vector<float> resized = resize_plane(mask.values<float>(), MaskCodec::side_px, MaskCodec::side_px,
                                                  box_width, box_height, Filter::bilinear);
  for (Dim y = 0; y < box_height; ++y)
    for (Dim x = 0; x < box_width; ++x)
      canvas.write<std::uint8_t>()[(box.y1 + y) * width + box.x1 + x] =
          resized[static_cast<std::size_t>(y * box_width + x)] > 0 ? 1 : 0;
  return canvas;
}

}  // namespace tap
