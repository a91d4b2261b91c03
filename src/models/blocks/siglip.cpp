#include "models/blocks/siglip.h"

#include <algorithm>

#include "models/blocks/layers.h"

namespace tap::siglip {

namespace {

using nn::Linear;

ops::Activation activation_of(const ConfigReader& in) {
  const std::string name =
      in.one_of("hidden_act", {"gelu_pytorch_tanh", "gelu_new", "gelu", "quick_gelu", "silu"}, "gelu_pytorch_tanh");
  if (name == "gelu") return ops::Activation::gelu_erf;
  if (name == "quick_gelu") return ops::Activation::quick_gelu;
  return name == "silu" ? ops::Activation::silu : ops::Activation::gelu_tanh;
}

// [n, 3, h, w] without the rows and columns that fill no patch (384 pixels in patches of 14).
Tensor whole_patches(const Tensor& pixels, Dim patch) {
  const Dim height = pixels.dim(2) / patch * patch, width = pixels.dim(3) / patch * patch;
  if (height == pixels.dim(2) && width == pixels.dim(3)) return pixels;
  Tensor out = Tensor::empty({pixels.dim(0), pixels.dim(1), height, width});
  float* to = out.write<float>();
  for (Dim plane = 0; plane < pixels.dim(0) * pixels.dim(1); ++plane)
    for (Dim y = 0; y < height; ++y, to += width)
      std::copy_n(pixels.data<float>() + (plane * pixels.dim(2) + y) * pixels.dim(3), width, to);
  return out;
}

}  // namespace

Config::Config(const ConfigReader& in, const Defaults& defaults)
    : width(in.positive_or("hidden_size", defaults.width)),
      depth(in.positive_or("num_hidden_layers", defaults.depth)),
      heads(in.positive_or("num_attention_heads", defaults.heads)),
      mlp_width(in.positive_or("intermediate_size", defaults.mlp_width)),
      image(in.positive_or("image_size", defaults.image)),
      patch(in.positive_or("patch_size", defaults.patch)),
      side(image / patch),
      channels(in.positive_or("num_channels", 3)),
      norm_eps(in.number_or("layer_norm_eps", 1e-6f)),
      activation(activation_of(in)) {
  if (width % heads != 0) in.refuse("num_attention_heads", fmt::format("does not divide hidden_size {}", width));
  if (patch > image) in.refuse("patch_size", fmt::format("is larger than image_size {}", image));
  if (channels != 3) in.refuse("num_channels", "only 3 is supported");
  if (!(norm_eps > 0)) in.refuse("layer_norm_eps", "must be above 0");
}

Layer::Layer(const Config& c, const Weights& w)
    : norm1(w / "layer_norm1", c.width, c.norm_eps),
      norm2(w / "layer_norm2", c.width, c.norm_eps),
      query(w / "self_attn" / "q_proj", c.width, c.width, Linear::Bias::yes),
      key(w / "self_attn" / "k_proj", c.width, c.width, Linear::Bias::yes),
      value(w / "self_attn" / "v_proj", c.width, c.width, Linear::Bias::yes),
      out(w / "self_attn" / "out_proj", c.width, c.width, Linear::Bias::yes),
      mlp(w / "mlp", c.width, c.mlp_width, c.activation),
      heads(c.heads) {}

Tensor Layer::operator()(const Tensor& x, const Batch& batch,
                         const ops::AttentionOptions& attention) const {  // [n * p, v] to [n * p, v]
  const Tensor y = norm1(x);
  auto [q, k, v] = nn::each(y, query, key, value);
  for (Tensor* part : {&q, &k, &v}) *part = ops::split_heads(*part, heads);
  const Tensor h = out.plus(ops::merge_heads(ops::attention(q, KvView{k, v}, batch, attention)), x);
  return mlp.plus(norm2(h), h);
}

Tower::Tower(const Config& c, const ConfigReader& in, const Weights& w)
    : config(c),
      patch(Linear::exact(w / "embeddings" / "patch_embedding", c.channels * c.patch * c.patch, c.width,
                          Linear::Bias::yes)),
      positions((w / "embeddings" / "position_embedding").tensor("weight", {c.side * c.side, c.width})),
      norm(w / "post_layernorm", c.width, c.norm_eps) {
  require_layers(in, w / "encoder" / "layers", c.depth, "layer_norm1.weight");
  for (Dim i = 0; i < c.depth; ++i) {
    layers.emplace_back(c, w / "encoder" / "layers" / i);
    ExecContext::current().checkpoint();  // loading can be interrupted too
  }
  attention.arithmetic = activation_type(w.type());
}

Tensor Tower::embed(const Tensor& pixels, std::span<const Dim> ids) const {
  const Tensor flat = ops::patchify(whole_patches(pixels, config.patch), config.patch)
                          .reshape({static_cast<Dim>(ids.size()), -1});  // [n * p, 3 * patch * patch]
  return patch.plus(flat, ops::take_rows(positions, ids));
}

Tensor Tower::run(Tensor x, const Batch& batch) const {
  for (const Layer& layer : layers) {
    x = layer(x, batch, attention);
    ExecContext::current().checkpoint();
  }
  return norm(x);
}

Tensor Tower::operator()(const Tensor& pixels) const {
  require_shape("tower", "pixels", pixels, {-1, 3, config.image, config.image});
  const Dim pictures = pixels.dim(0), patches = config.side * config.side;
  const std::vector<Dim> lengths(static_cast<std::size_t>(pictures), patches);
  std::vector<Dim> ids;
  for (Dim i = 0; i < pictures * patches; ++i) ids.push_back(i % patches);
  return run(embed(pixels, ids), Batch::segments(lengths)).reshape({pictures, patches, config.width});
}

Tensor Tower::operator()(const TowerInput& input) const {
  if (input.pixel_mask.defined()) fail(ErrorCode::unsupported, "this family's pictures have no pixel mask");
  return (*this)(input.pixels);
}

Tensor Tower::by_tiles(const Tensor& pixels, const std::function<Tensor(const Tensor&)>& project) const {
  std::vector<Tensor> parts;
  const Dim step = std::max<Dim>(1, rows_at_once / (config.side * config.side));
  for (Dim tile = 0; tile < pixels.dim(0); tile += step)
    parts.push_back(project((*this)(pixels.rows(tile, std::min(tile + step, pixels.dim(0))))));
  return parts.size() == 1 ? parts.front() : ops::concat_rows(parts);
}

}  // namespace tap::siglip
