// Masks as 16 codes: the VQ-VAE whose codes PaliGemma's <seg000>…<seg127> name, and that other families may share.
// Parity: big_vision, proj/paligemma/transfers/segmentation.py (decoder) and pp/proj/paligemma/segmentation.py
// (encoder). Its weights are a file of their own (vae-oid.npz), never part of a checkpoint.
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "tensor/packed_matrix.h"

namespace tap {

class MaskCodec {
 public:
  static constexpr Dim grid = 4, codes_per_mask = grid * grid, side_px = 64;

  // An .npz or a .safetensors file with the published names; widths are read from shapes. Throws Error naming the file
  // and the tensor that is missing or misshapen.
  static MaskCodec load(const std::string& path);

  Dim codebook_size() const { return codebook_.dim(0); }
  bool can_encode() const { return !downs_.empty(); }  // a file may hold the decoder alone

  // [n * 16] codes, row-major in the 4 x 4 grid, to [n, 64, 64]: about -1 to 1, inside where above 0. Throws
  // Error(bad_input) for a code outside the codebook.
  Tensor decode(std::span<const int> codes) const;
  // [n, 64, 64] from 0 to 1 to [n * 16] codes. Throws Error(unsupported) unless can_encode(), Error(bad_input)
  // for another shape or a value that is not finite.
  std::vector<int> encode(const Tensor& masks) const;

 private:
  struct Conv {  // as a product: [out, kernel * kernel * in]
    PackedMatrix weight;
    Tensor bias;
    Dim kernel = 1, stride = 1, padding = 0;
  };
  struct Residual {
    Conv first, second, third;
  };
  struct Up {  // transposed, 4 x 4, stride 2, padding 1; as a product: [4 * 4 * out, in]
    PackedMatrix weight;
    Tensor bias;
  };
  class Loader;
  static Tensor run(const Conv& conv, const Tensor& x);
  static Tensor run(const Residual& residual, const Tensor& x);
  static Tensor run(const Up& up, const Tensor& x);

  Tensor codebook_;  // [codes, d]
  Conv entry_, exit_, projection_;
  std::vector<Residual> decoder_residuals_, encoder_residuals_;
  std::vector<Up> ups_;
  std::vector<Conv> downs_;
};

// In pixels of a picture, ends excluded.
struct MaskBox {
  Dim y1 = 0, x1 = 0, y2 = 0, x2 = 0;
  bool operator==(const MaskBox&) const = default;
};

// Of four location numbers from 0 to 1023, y first, as the evaluator takes them: int(v / 1023 * size). Throws
// Error(bad_input) for a number outside. mask_box({100, 200, 611, 777}, 120, 200) is {11, 39, 71, 151}.
MaskBox mask_box(const std::array<int, 4>& locations, Dim height, Dim width);

// A decoded mask [64, 64] in a picture of zeros: [height, width] u8, 1 where the mask, resized to the box, is above 0.
// A box without a pixel leaves the zeros. Throws Error(bad_input) for a box that leaves the picture.
Tensor paste_mask(const Tensor& mask, const MaskBox& box, Dim height, Dim width);

}  // namespace tap
