"""Gemma 3, its 1B that reads text only, ShieldGemma 2, PaliGemma 1 and 2: published names, files and omitted defaults."""
from . import bpe
from .parts import linear, need, siglip

MODEL_TYPES = ("gemma3", "gemma3_text", "shieldgemma2", "paligemma")

_SO400M = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16,
    "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False,
}
_GEMMA3 = {
    "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "boi_token_index": 255999,
    "eoi_token_index": 256000, "eos_token_id": [1, 106], "image_token_index": 262144, "initializer_range": 0.02,
    "mm_tokens_per_image": 256, "torch_dtype": "bfloat16",
    "text_config": {
        "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
    },
    "vision_config": {**_SO400M, "image_size": 896},
}


def _paligemma(text, image):
    width = text["hidden_size"]
    return {
        "architectures": ["PaliGemmaForConditionalGeneration"], "model_type": "paligemma", "bos_token_id": 2,
        "eos_token_id": 1, "pad_token_id": 0, "hidden_size": width, "image_token_index": 257152, "projection_dim": width,
        "torch_dtype": "bfloat16", "_vocab_size": 257152,
        "text_config": {**text, "num_image_tokens": (image // 14) ** 2, "vocab_size": 257216},
        "vision_config": {**_SO400M, "image_size": image, "projection_dim": width, "projector_hidden_act": "gelu_fast"},
    }


SHAPES = {
    "gemma-3-4b": _GEMMA3,
    "gemma-3-1b": {
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "attention_bias": False,
        "attn_logit_softcapping": None, "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": [1, 106],
        "final_logit_softcapping": None, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152,
        "intermediate_size": 6912, "max_position_embeddings": 32768, "num_attention_heads": 4, "num_hidden_layers": 26,
        "num_key_value_heads": 1, "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000, "rope_scaling": None, "rope_theta": 1000000, "sliding_window": 512,
        "sliding_window_pattern": 6, "torch_dtype": "bfloat16", "vocab_size": 262144,
    },
    "shieldgemma-2-4b": {
        **_GEMMA3, "architectures": ["ShieldGemma2ForImageClassification"], "model_type": "shieldgemma2",
        "yes_token_index": 10784, "no_token_index": 3771,
    },
    "paligemma-3b-224": _paligemma({
        "hidden_size": 2048, "intermediate_size": 16384, "model_type": "gemma", "num_attention_heads": 8,
        "num_hidden_layers": 18, "num_key_value_heads": 1}, 224),
    "paligemma2-3b-448": _paligemma({
        "hidden_size": 2304, "intermediate_size": 9216, "model_type": "gemma2", "num_attention_heads": 8,
        "num_hidden_layers": 26, "num_key_value_heads": 4, "query_pre_attn_scalar": 256, "sliding_window": 4096,
        "hidden_activation": "gelu_pytorch_tanh"}, 448),
}  # fmt: skip


def _is_pali(config):
    return config["model_type"] == "paligemma"


def _text(config):
    return config if config["model_type"] == "gemma3_text" else config["text_config"]


def _vocab(config):
    return need(_text(config), "vocab_size", 257216 if _is_pali(config) else 262208)


def _decoder(at, text, vocab):
    """Gains are zeros: these models multiply by 1 + gain."""
    width, mlp, layers = (need(text, k) for k in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    heads, head = need(text, "num_attention_heads", 8), need(text, "head_dim", 256)
    kv_heads = need(text, "num_key_value_heads", 4)
    norms = ["input_layernorm", "post_attention_layernorm"]
    if text["model_type"] != "gemma":
        norms += ["post_feedforward_layernorm", "pre_feedforward_layernorm"]
    yield f"{at}.embed_tokens.weight", (vocab, width), "normal"
    for i in range(layers):
        layer = f"{at}.layers.{i}"
        for norm in norms:
            yield f"{layer}.{norm}.weight", (width,), "zeros"
        yield from linear(f"{layer}.mlp.down_proj", width, mlp, bias=False)
        yield from linear(f"{layer}.mlp.gate_proj", mlp, width, bias=False)
        yield from linear(f"{layer}.mlp.up_proj", mlp, width, bias=False)
        if text["model_type"] == "gemma3_text":
            for norm in ("k_norm", "q_norm"):
                yield f"{layer}.self_attn.{norm}.weight", (head,), "zeros"
        yield from linear(f"{layer}.self_attn.k_proj", kv_heads * head, width, bias=False)
        yield from linear(f"{layer}.self_attn.o_proj", width, heads * head, bias=False)
        yield from linear(f"{layer}.self_attn.q_proj", heads * head, width, bias=False)
        yield from linear(f"{layer}.self_attn.v_proj", kv_heads * head, width, bias=False)
    yield f"{at}.norm.weight", (width,), "zeros"


def tensors(config):
    text, vocab = _text(config), _vocab(config)
    if config["model_type"] == "gemma3_text":
        yield from _decoder("model", text, vocab)
        return
    lead = "model." if config["model_type"] == "shieldgemma2" else ""
    width, v_width = need(text, "hidden_size"), need(config["vision_config"], "hidden_size")
    yield from _decoder(f"{lead}language_model.model", text, vocab)
    if _is_pali(config):
        yield from linear("multi_modal_projector.linear", width, v_width)
    else:
        yield f"{lead}multi_modal_projector.mm_input_projection_weight", (v_width, width), "normal"
        yield f"{lead}multi_modal_projector.mm_soft_emb_norm.weight", (v_width,), "zeros"
    yield from siglip(f"{lead}vision_tower.vision_model", config["vision_config"])


def _head(turns):
    """The first entries: special tokens, unused ones, turns at 105 and 106, blanks, bytes."""
    special = [("<pad>", True), ("<eos>", True), ("<bos>", True), ("<unk>", True), ("<mask>", True)]
    unused = [(f"<unused{i}>", False) for i in range(100)]
    turn = [("<start_of_turn>", True), ("<end_of_turn>", True)] if turns else [("<unused100>", False), ("<unused101>", False)]
    blanks = [("\n" * n, False) for n in range(1, 32)] + [("\u2581" * n, False) for n in range(2, 32)]
    return special + unused + turn + blanks + [f"<0x{byte:02X}>" for byte in range(256)]


def _tokenizer(config):
    if _is_pali(config):
        image = need(config, "image_token_index")
        words = [f"<loc{i:04}>" for i in range(1024)] + [f"<seg{i:03}>" for i in range(128)]
        first = image - len(words)
        added = {first + i: (word, False) for i, word in enumerate(words)}
        added[image] = ("<image>", True)
        if image >= _vocab(config):
            raise ValueError(f"config.json: image_token_index is {image}, the vocabulary has {_vocab(config)}")
        return bpe.sentencepiece(first, _head(False), added)
    image = need(config, "image_token_index", 262144)
    added = {need(config, "boi_token_index", 255999): ("<start_of_image>", True),
             need(config, "eoi_token_index", 256000): ("<end_of_image>", True), image: ("<image_soft_token>", True)}
    return bpe.sentencepiece(image, _head(True), added)


_CHAT = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = (messages[0]['content'] if messages[0]['content'] "
    "is string else messages[0]['content'][0]['text']) + '\n\n' %}{% set rest = messages[1:] %}{% else %}{% set first = '' %}"
    "{% set rest = messages %}{% endif %}{% for message in rest %}{% set role = 'model' if message['role'] == 'assistant' "
    "else message['role'] %}{{ '<start_of_turn>' + role + '\n' + (first if loop.first else '') }}"
    "{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}{{ '<start_of_image>' }}{% elif item['type'] == 'text' %}{{ item['text'] | trim }}"
    "{% endif %}{% endfor %}{% endif %}{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
# As published in its shape: an opener for each part of the content.
_SHIELD_CHAT = (
    "{{ bos_token }}{% for message in messages %}{% for item in message['content'] %}{{ '<start_of_turn>user\n' }}"
    "{% if item['type'] == 'image' %}{{ '<start_of_image>' }}{% else %}You are a policy expert trying to help determine "
    "whether an image provided by the user is in violation of the defined safety policies.\n\n<BEGIN_SAFETY_POLICY>\n"
    "{{ item['text'] }}\n</END_SAFETY_POLICY>\n\nDoes the image violate the above policy? Your answer must start with "
    "'Yes' or 'No' and then walk through step by step to be sure we answer correctly.{% endif %}{% endfor %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def files(config, shape):
    half = [0.5, 0.5, 0.5]
    tokens = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    out = {
        "tokenizer.json": _tokenizer(config),
        "tokenizer_config.json": {"tokenizer_class": "GemmaTokenizer", **tokens, "add_bos_token": True,
                                  "add_eos_token": False, "clean_up_tokenization_spaces": False},
    }
    pixels = {"do_convert_rgb": None, "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": half,
              "image_std": half, "rescale_factor": 0.00392156862745098}
    if _is_pali(config):
        side = need(config["vision_config"], "image_size", 224)
        out["preprocessor_config.json"] = {
            **pixels, "image_processor_type": "SiglipImageProcessor", "processor_class": "PaliGemmaProcessor", "resample": 3,
            "image_seq_length": (side // need(config["vision_config"], "patch_size")) ** 2,
            "size": {"height": side, "width": side}}
        out["generation_config.json"] = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
        return out
    shield = config["model_type"] == "shieldgemma2"
    out["chat_template.json"] = {"chat_template": _SHIELD_CHAT if shield else _CHAT}
    out["generation_config.json"] = {"bos_token_id": 2, "cache_implementation": "hybrid", "do_sample": not shield,
                                     "eos_token_id": [1, 106], "pad_token_id": 0, "top_k": 64, "top_p": 0.95}
    if config["model_type"] == "gemma3_text":
        return out
    side, rows = need(config["vision_config"], "image_size", 224), need(config, "mm_tokens_per_image", 256)
    processor = "ShieldGemma2Processor" if shield else "Gemma3Processor"
    out["preprocessor_config.json"] = {
        **pixels, "do_pan_and_scan": None, "image_processor_type": "Gemma3ImageProcessor", "image_seq_length": rows,
        "pan_and_scan_max_num_crops": None, "pan_and_scan_min_crop_size": None, "pan_and_scan_min_ratio_to_activate": None,
        "processor_class": processor, "resample": 2, "size": {"height": side, "width": side}}
    out["processor_config.json"] = {"image_seq_length": rows, "processor_class": processor}
    return out
