// Masks as 16 codes: the VQ-VAE whose codes PaliGemma's <seg000>…<seg127> name, and that other families may share.
// Parity: big_vision, proj/paligemma/transfers/segmentation.py (decoder) and pp/proj/paligemma/segmentation.py
// (encoder). Its weights are a file of their own (vae-oid.npz), never part of a checkpoint.
#pragma once

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
  // [n, 64, 64] from 0 to 1 to [n * 16] codes. Throws Error(unsupported) unless can_encode().
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

}  // namespace tap
