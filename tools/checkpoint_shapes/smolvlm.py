"""SmolVLM: Idefics3ForConditionalGeneration and SmolVLMForConditionalGeneration, published names and files."""
from . import bpe
from .parts import linear, need as _need, siglip

MODEL_TYPES = ("idefics3", "smolvlm")


def _config(text, vision, *, scale, image_token, vocab, theta, context, model_type="idefics3"):
    width, mlp, layers, heads, kv_heads = text
    v_width, v_mlp, v_layers, v_heads, image, patch = vision
    name = {"idefics3": "Idefics3", "smolvlm": "SmolVLM"}[model_type]
    return {
        "architectures": [f"{name}ForConditionalGeneration"],
        "model_type": model_type,
        "image_token_id": image_token,
        "scale_factor": scale,
        "tie_word_embeddings": False,
        "pad_token_id": 2,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": vocab,
        "text_config": {
            "model_type": "llama", "vocab_size": vocab, "hidden_size": width, "intermediate_size": mlp,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": 64,
            "hidden_act": "silu", "rms_norm_eps": 1e-05, "rope_theta": theta, "max_position_embeddings": context,
            "pad_token_id": 2, "bos_token_id": 1, "eos_token_id": 2, "attention_bias": False, "mlp_bias": False,
            "tie_word_embeddings": False,
        },
        "vision_config": {
            "model_type": f"{model_type}_vision", "hidden_size": v_width, "intermediate_size": v_mlp,
            "num_hidden_layers": v_layers, "num_attention_heads": v_heads, "image_size": image, "patch_size": patch,
            "num_channels": 3, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-06, "attention_dropout": 0.0,
        },
    }


_BASE = (768, 3072, 12, 12, 512, 16)       # SigLIP base: width, MLP, layers, heads, picture, patch
_SO400M = (1152, 4304, 27, 16, 384, 14)
SHAPES = {
    "smolvlm-256m": _config((576, 1536, 30, 9, 3), _BASE, scale=4, image_token=49190, vocab=49280, theta=100000.0, context=8192),
    "smolvlm-500m": _config((960, 2560, 32, 15, 5), _BASE, scale=4, image_token=49190, vocab=49280, theta=100000.0, context=8192),
    "smolvlm-2.2b": _config((2048, 8192, 24, 32, 32), _SO400M, scale=3, image_token=49153, vocab=49155, theta=273768.0,
                            context=16384),
    "nano": _config((192, 512, 5, 3, 1), (192, 768, 6, 3, 160, 16), scale=2, image_token=1002, vocab=2048, theta=10000.0,
                    context=1024, model_type="smolvlm"),
}
_ROWS = 6  # tile markers <row_R_col_C> go up to six by six


def tensors(config):
    text, vision = config["text_config"], config["vision_config"]
    width, mlp, layers = (_need(text, k) for k in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    heads = _need(text, "num_attention_heads")
    kv_heads, head = _need(text, "num_key_value_heads", heads), _need(text, "head_dim", width // heads)
    vocab = _need(text, "vocab_size")
    v_width, scale = _need(vision, "hidden_size"), _need(config, "scale_factor")

    if not (config.get("tie_word_embeddings") or text.get("tie_word_embeddings")):
        yield "lm_head.weight", (vocab, width), "normal"
    yield from linear("model.connector.modality_projection.proj", width, v_width * scale * scale, bias=False)
    at = "model.text_model"
    yield f"{at}.embed_tokens.weight", (vocab, width), "normal"
    for i in range(layers):
        layer = f"{at}.layers.{i}"
        yield f"{layer}.input_layernorm.weight", (width,), "ones"
        yield from linear(f"{layer}.mlp.down_proj", width, mlp, bias=False)
        yield from linear(f"{layer}.mlp.gate_proj", mlp, width, bias=False)
        yield from linear(f"{layer}.mlp.up_proj", mlp, width, bias=False)
        yield f"{layer}.post_attention_layernorm.weight", (width,), "ones"
        yield from linear(f"{layer}.self_attn.k_proj", kv_heads * head, width, bias=False)
        yield from linear(f"{layer}.self_attn.o_proj", width, heads * head, bias=False)
        yield from linear(f"{layer}.self_attn.q_proj", heads * head, width, bias=False)
        yield from linear(f"{layer}.self_attn.v_proj", kv_heads * head, width, bias=False)
    yield f"{at}.norm.weight", (width,), "ones"
    yield from siglip("model.vision_model", vision)


def _special_tokens(config):
    """Ids as published: <global-img>, the tile markers, <fake_token_around_image>, <image>, reserved, <end_of_utterance>."""
    image, vocab = _need(config, "image_token_id"), _need(config["text_config"], "vocab_size")
    markers = ["<global-img>", *(f"<row_{r}_col_{c}>" for r in range(1, _ROWS + 1) for c in range(1, _ROWS + 1)),
               "<fake_token_around_image>", "<image>"]
    if image + 1 == vocab:
        markers.insert(0, "<end_of_utterance>")
    first = image - len(markers) + 1
    tokens = {first + i: text for i, text in enumerate(markers)}
    if image >= vocab:
        raise ValueError(f"config.json: image_token_id is {image}, vocab_size is {vocab}")
    tokens.update({i: f"<|reserved_special_token_{i - image - 1}|>" for i in range(image + 1, vocab - 1)})
    if image + 1 < vocab:
        tokens[vocab - 1] = "<end_of_utterance>"
    return first, tokens


def files(config, shape):
    first, tokens = _special_tokens(config)
    end = next(i for i, text in tokens.items() if text == "<end_of_utterance>")
    vision = config["vision_config"]
    image, scale = _need(vision, "image_size"), _need(config, "scale_factor")
    side = image // _need(vision, "patch_size")
    if side % scale:
        raise ValueError(f"config.json: a grid of {side} patches is not divisible by scale_factor {scale}")
    name = "SmolVLM" if config.get("model_type") == "smolvlm" else "Idefics3"
    split = shape != "nano"
    return {
        "tokenizer.json": bpe.tokenizer(first, tokens),
        "tokenizer_config.json": {
            "tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "bos_token": "<|im_start|>",
            "eos_token": "<end_of_utterance>", "pad_token": "<|im_end|>", "unk_token": "<|endoftext|>",
            "fake_image_token": "<fake_token_around_image>", "image_token": "<image>",
            "global_image_token": "<global-img>", "end_of_utterance_token": "<end_of_utterance>",
            "additional_special_tokens": ["<fake_token_around_image>", "<image>", "<end_of_utterance>"],
            "clean_up_tokenization_spaces": False, "truncation_side": "left",
            "model_max_length": config["text_config"].get("max_position_embeddings", 8192),
        },
        "preprocessor_config.json": {
            "do_convert_rgb": True, "do_image_splitting": split, "do_normalize": True, "do_pad": True, "do_rescale": True,
            "do_resize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
            "image_processor_type": f"{name}ImageProcessor", "max_image_size": {"longest_edge": image},
            "processor_class": f"{name}Processor", "resample": 1, "rescale_factor": 0.00392156862745098,
            "size": {"longest_edge": 4 * image if split else image},
        },
        "processor_config.json": {"image_seq_len": (side // scale) ** 2, "processor_class": f"{name}Processor"},
        "chat_template.json": {
            "chat_template": "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
                             "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
                             "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
                             "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}"
                             "<end_of_utterance>\n{% endfor %}"
                             "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
        },
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": end, "pad_token_id": 2},
    }
