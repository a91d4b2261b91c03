"""Qwen2.5-VL: published names and files; the config is flat, as published."""
from . import bpe
from .parts import linear, need

MODEL_TYPES = ("qwen2_5_vl",)


def _config(width, mlp, layers, heads, kv_heads, vocab, tied, vision_mlp=3420):
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl", "attention_dropout": 0.0,
        "bos_token_id": 151643, "eos_token_id": 151645, "vision_start_token_id": 151652, "vision_end_token_id": 151653,
        "vision_token_id": 151654, "image_token_id": 151655, "video_token_id": 151656, "hidden_act": "silu",
        "hidden_size": width, "initializer_range": 0.02, "intermediate_size": mlp, "max_position_embeddings": 128000,
        "max_window_layers": 70, "num_attention_heads": heads, "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768,
        "tie_word_embeddings": tied, "torch_dtype": "bfloat16", "use_cache": True, "use_sliding_window": False,
        "vision_config": {
            "depth": 32, "hidden_act": "silu", "hidden_size": 1280, "intermediate_size": vision_mlp, "num_heads": 16,
            "in_chans": 3, "out_hidden_size": width, "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14,
            "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31], "tokens_per_second": 2, "temporal_patch_size": 2,
        },
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}, "vocab_size": vocab,
    }


SHAPES = {
    "qwen2.5-vl-3b": _config(2048, 11008, 36, 16, 2, 151936, True),
    "qwen2.5-vl-7b": _config(3584, 18944, 28, 28, 4, 152064, False),
    "qwen2.5-vl-32b": _config(5120, 27648, 64, 40, 8, 152064, False, vision_mlp=3456),
    "qwen2.5-vl-72b": _config(8192, 29568, 80, 64, 8, 152064, False, vision_mlp=3456),
}
_MARKS = ("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>",
          "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")


def tensors(config):
    width, mlp, layers, heads, kv_heads, vocab = (
        need(config, k) for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                                  "num_key_value_heads", "vocab_size"))
    head = width // heads
    vision = config["vision_config"]
    v_width, v_mlp, depth, patch = (need(vision, k) for k in ("hidden_size", "intermediate_size", "depth", "patch_size"))
    merged = v_width * need(vision, "spatial_merge_size", 2) ** 2
    yield "visual.patch_embed.proj.weight", (v_width, 3, need(vision, "temporal_patch_size", 2), patch, patch), "normal"
    for i in range(depth):
        block = f"visual.blocks.{i}"
        for name in ("norm1", "norm2"):
            yield f"{block}.{name}.weight", (v_width,), "ones"
        yield from linear(f"{block}.attn.qkv", 3 * v_width, v_width)
        yield from linear(f"{block}.attn.proj", v_width, v_width)
        yield from linear(f"{block}.mlp.gate_proj", v_mlp, v_width)
        yield from linear(f"{block}.mlp.up_proj", v_mlp, v_width)
        yield from linear(f"{block}.mlp.down_proj", v_width, v_mlp)
    yield "visual.merger.ln_q.weight", (v_width,), "ones"
    yield from linear("visual.merger.mlp.0", merged, merged)
    yield from linear("visual.merger.mlp.2", width, merged)
    yield "model.embed_tokens.weight", (vocab, width), "normal"
    for i in range(layers):
        layer = f"model.layers.{i}"
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{layer}.{name}.weight", (width,), "ones"
        yield from linear(f"{layer}.self_attn.q_proj", heads * head, width)
        yield from linear(f"{layer}.self_attn.k_proj", kv_heads * head, width)
        yield from linear(f"{layer}.self_attn.v_proj", kv_heads * head, width)
        yield from linear(f"{layer}.self_attn.o_proj", width, heads * head, bias=False)
        yield from linear(f"{layer}.mlp.gate_proj", mlp, width, bias=False)
        yield from linear(f"{layer}.mlp.up_proj", mlp, width, bias=False)
        yield from linear(f"{layer}.mlp.down_proj", width, mlp, bias=False)
    yield "model.norm.weight", (width,), "ones"
    if not config.get("tie_word_embeddings"):
        yield "lm_head.weight", (vocab, width), "normal"


_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def files(config, shape):
    first = need(config, "image_token_id") - _MARKS.index("<|image_pad|>")
    vision = config["vision_config"]
    return {
        "tokenizer.json": bpe.tokenizer(first, {first + i: text for i, text in enumerate(_MARKS)}),
        "tokenizer_config.json": {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>",
                                  "pad_token": "<|endoftext|>", "add_bos_token": False, "chat_template": _TEMPLATE},
        "preprocessor_config.json": {
            "min_pixels": 3136, "max_pixels": 12845056, "patch_size": need(vision, "patch_size"),
            "temporal_patch_size": need(vision, "temporal_patch_size", 2), "merge_size": need(vision, "spatial_merge_size", 2),
            "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
            "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor",
        },
        "chat_template.json": {"chat_template": _TEMPLATE},
        "generation_config.json": {"eos_token_id": [2, 0], "pad_token_id": 0, "do_sample": False},
    }
