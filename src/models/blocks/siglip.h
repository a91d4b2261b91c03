// The SigLIP vision transformer (Zhai et al. 2023, arXiv:2303.15343): patches, a learned table of positions, pre-norm
// layers that see the whole picture, a last norm. Parity: HF SiglipVisionModel, Idefics3VisionTransformer.
// Shapes: n = pictures, p = patches of a picture, v = width.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "models/family.h"
#include "nn/nn.h"

namespace tap::siglip {

constexpr Dim rows_at_once = 512;  // patches that are worth a pass of their own

// What a config class of the reference takes where config.json says nothing.
struct Defaults {
  Dim width = 768, depth = 12, heads = 12, mlp_width = 3072, image = 224, patch = 16;
};

struct Config {
  Dim width, depth, heads, mlp_width, image, patch, side, channels;  // side: patches along an edge of `image`
  float norm_eps;
  ops::Activation activation;

  Config(const ConfigReader& in, const Defaults& defaults);
  StackShape shape() const { return {depth, width, heads, heads, width / heads, mlp_width, false}; }
};

struct Layer {
  nn::LayerNorm norm1, norm2;
  nn::Linear query, key, value, out;
  nn::Mlp mlp;
  Dim heads;

  Layer(const Config& c, const Weights& w);
  Tensor operator()(const Tensor& x, const Batch& batch, const ops::AttentionOptions& attention) const;
};

struct Tower {
  Config config;
  nn::Linear patch;
  Tensor positions;  // [side * side, v]
  std::vector<Layer> layers;
  nn::LayerNorm norm;
  ops::AttentionOptions attention;

  // `in`: the reader of the config, for errors.
  Tower(const Config& c, const ConfigReader& in, const Weights& w);

  // [n, 3, h, w] with entry `ids[i]` of the table for patch i, to [n * p, v]. Pixels that fill no patch are left out,
  // as the reference's convolution does.
  Tensor embed(const Tensor& pixels, std::span<const Dim> ids) const;
  // The layers and the last norm: [rows, v] to [rows, v]; who sees whom is the batch's.
  Tensor run(Tensor x, const Batch& batch) const;
  // Pictures of the config's own size: [n, 3, image, image] to [n, p, v]. Throws Error(unsupported) for a mask of
  // pixels.
  Tensor operator()(const Tensor& pixels) const;
  Tensor operator()(const TowerInput& input) const;
  // Rows of many pictures: small ones go through the layers together, large ones alone. `project`: [n, p, v] to rows.
  Tensor by_tiles(const Tensor& pixels, const std::function<Tensor(const Tensor&)>& project) const;
};

}  // namespace tap::siglip
