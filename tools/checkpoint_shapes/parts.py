"""What several families share: checked numbers of a config, linear layers, the SigLIP tower."""


def need(part, key, default=None):
    value = part.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"config.json: {key} is {value!r}, want a positive integer")
    return value


def linear(name, out, into, bias=True):
    yield f"{name}.weight", (out, into), "normal"
    if bias:
        yield f"{name}.bias", (out,), "zeros"


def layer_norm(name, width):
    yield f"{name}.weight", (width,), "ones"
    yield f"{name}.bias", (width,), "zeros"


def siglip(at, vision):
    width, mlp, layers = (need(vision, k) for k in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    patch, channels = need(vision, "patch_size"), need(vision, "num_channels", 3)
    side = need(vision, "image_size", 224) // patch
    yield f"{at}.embeddings.patch_embedding.weight", (width, channels, patch, patch), "normal"
    yield f"{at}.embeddings.patch_embedding.bias", (width,), "zeros"
    yield f"{at}.embeddings.position_embedding.weight", (side * side, width), "normal"
    for i in range(layers):
        layer = f"{at}.encoder.layers.{i}"
        yield from layer_norm(f"{layer}.layer_norm1", width)
        yield from layer_norm(f"{layer}.layer_norm2", width)
        yield from linear(f"{layer}.mlp.fc1", mlp, width)
        yield from linear(f"{layer}.mlp.fc2", width, mlp)
        for name in ("k_proj", "out_proj", "q_proj", "v_proj"):
            yield from linear(f"{layer}.self_attn.{name}", width, width)
    yield from layer_norm(f"{at}.post_layernorm", width)
