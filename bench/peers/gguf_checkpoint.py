"""A checkpoint of the hub as the two GGUF files that llama.cpp reads: gguf_checkpoint.py FOLDER OUT_FOLDER [--type bf16|f32|f16]

Writes text.gguf and mmproj.gguf. Families: SmolVLM (Idefics3), Qwen2.5-VL, Gemma 3. Names and keys are those that
llama.cpp looks up (gguf-py's constants). The vocabulary is written as a byte-level BPE whatever it is: speeds and
logits depend on ids only.
"""
import argparse
import json
import re
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors import safe_open
from transformers import AutoConfig

from pictures import mean_std

TEXT_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
GEMMA_LAYER = TEXT_LAYER | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
SIGLIP_LAYER = {
    "layer_norm1": "ln1",
    "layer_norm2": "ln2",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}
QWEN_LAYER = {
    "norm1": "ln1",
    "norm2": "ln2",
    "attn.proj": "attn_out",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


class Checkpoint:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.config = AutoConfig.from_pretrained(self.folder).to_dict()  # with the defaults that files leave out
        self.files = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            file = safe_open(path, "pt")
            self.files |= {name: file for name in file.keys()}

    def tensors(self):
        for name in self.files:
            yield name, self.files[name].get_tensor(name)


def layer_name(name, layers, prefix):
    """`...layers.3.mlp.up_proj.weight` to `blk.3.ffn_up.weight`, or None."""
    match = re.search(r"(?:layers|blocks)\.(\d+)\.(.+)\.(weight|bias)$", name)
    if not match or match[2] not in layers:
        return None
    return f"{prefix}blk.{match[1]}.{layers[match[2]]}.{match[3]}"


def interleaved(weight, heads):
    """Rotary halves to the neighbouring pairs that llama.cpp's `llama` architecture turns."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


class Writer:
    def __init__(self, path, architecture, kind):
        self.out = gguf.GGUFWriter(path, architecture)
        self.kind = kind

    def add(self, name, tensor):
        kind = self.kind if tensor.dim() >= 2 and not name.startswith("v.position") else "f32"
        if name.startswith("v.patch_embd") and kind == "bf16":
            kind = "f16"  # its convolution has no bf16
        if kind == "bf16":
            bits = tensor.to(torch.bfloat16).contiguous().view(torch.uint8).numpy()
            self.out.add_tensor(name, bits, raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            self.out.add_tensor(name, tensor.to(torch.float16 if kind == "f16" else torch.float32).contiguous().numpy())

    def close(self):
        self.out.write_header_to_file()
        self.out.write_kv_data_to_file()
        self.out.write_tensors_to_file()
        self.out.close()


def add_vocabulary(out, checkpoint, size):
    tokenizer = json.loads((checkpoint.folder / "tokenizer.json").read_text())
    tokens = [f"[PAD{i}]" for i in range(size)]
    kinds = [gguf.TokenType.UNUSED] * size
    for text, i in tokenizer["model"]["vocab"].items():
        if i < size:
            tokens[i], kinds[i] = text, gguf.TokenType.NORMAL
    for added in tokenizer.get("added_tokens", []):
        if added["id"] < size:
            tokens[added["id"]], kinds[added["id"]] = added["content"], gguf.TokenType.CONTROL
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"].get("merges", [])]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("smollm")
    out.add_token_list(tokens)
    out.add_token_types(kinds)
    out.add_token_merges([m for m in merges if m.count(" ") == 1])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_add_bos_token(False)


def rope_of(text):
    scaling = text.get("rope_parameters") or text.get("rope_scaling") or {}
    scaling = scaling.get("full_attention", scaling)
    return scaling.get("rope_theta", text.get("rope_theta", 1e4)), scaling


def write_text(checkpoint, path, kind):
    config = checkpoint.config
    family = config["model_type"]
    text = config.get("text_config") or config
    architecture = {"idefics3": "llama", "smolvlm": "llama", "qwen2_5_vl": "qwen2vl", "gemma3": "gemma3"}[family]
    gemma = architecture == "gemma3"
    heads, kv_heads = text["num_attention_heads"], text.get("num_key_value_heads", text["num_attention_heads"])
    width = text["hidden_size"]
    head_dim = text.get("head_dim") or width // heads
    theta, scaling = rope_of(text)
    writer = Writer(path, architecture, kind)
    out = writer.out
    out.add_context_length(text.get("max_position_embeddings", 8192))
    out.add_embedding_length(width)
    out.add_block_count(text["num_hidden_layers"])
    out.add_feed_forward_length(text["intermediate_size"])
    out.add_head_count(heads)
    out.add_head_count_kv(kv_heads)
    out.add_key_length(head_dim)
    out.add_value_length(head_dim)
    out.add_layer_norm_rms_eps(text.get("rms_norm_eps", 1e-6))
    out.add_rope_freq_base(theta)
    out.add_vocab_size(text["vocab_size"])
    if architecture == "llama":
        out.add_rope_dimension_count(head_dim)
    if architecture == "qwen2vl":
        out.add_rope_dimension_sections([*scaling["mrope_section"], 0])
    query_gain = 1.0
    if gemma:
        out.add_sliding_window(text["sliding_window"])
        out.add_sliding_window_pattern([kind == "sliding_attention" for kind in text["layer_types"]])
        out.add_rope_freq_base_swa(text["rope_local_base_freq"])
        if text["num_hidden_layers"] != 62:  # for all others llama.cpp divides by the root of the head's width
            query_gain = (head_dim / text["query_pre_attn_scalar"]) ** 0.5
        if scaling.get("factor"):
            out.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            out.add_rope_scaling_factor(scaling["factor"])
    add_vocabulary(out, checkpoint, text["vocab_size"])
    tied = gemma or config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))
    for name, tensor in checkpoint.tensors():
        if "vision" in name or "visual" in name or "connector" in name or "projector" in name:
            continue
        if name.endswith("embed_tokens.weight"):
            new = "token_embd.weight"
        elif name.endswith("lm_head.weight"):
            if tied:
                continue
            new = "output.weight"
        elif new := layer_name(name, GEMMA_LAYER if gemma else TEXT_LAYER, ""):
            if architecture == "llama" and ".attn_q." in new:
                tensor = interleaved(tensor, heads)
            if architecture == "llama" and ".attn_k." in new:
                tensor = interleaved(tensor, kv_heads)
        elif name.endswith("norm.weight"):
            new = "output_norm.weight"
        else:
            raise SystemExit(f"no name for {name}")
        if gemma and "norm" in new:
            tensor = (tensor.float() + 1) * (query_gain if "attn_q_norm" in new else 1)
        writer.add(new, tensor)
    writer.close()


def write_vision(checkpoint, path, kind, picture_px):
    config = checkpoint.config
    family, vision = config["model_type"], config["vision_config"]
    text = config.get("text_config") or config
    qwen = family == "qwen2_5_vl"
    writer = Writer(path, "clip", kind)
    out = writer.out
    out.add_type("mmproj")
    out.add_clip_has_vision_encoder(True)
    out.add_clip_projector_type({"qwen2_5_vl": "qwen2.5vl_merger", "gemma3": "gemma3"}.get(family, "idefics3"))
    out.add_vision_embedding_length(vision["hidden_size"])
    out.add_vision_feed_forward_length(vision["intermediate_size"])
    out.add_vision_block_count(vision["depth"] if qwen else vision["num_hidden_layers"])
    out.add_vision_head_count(vision["num_heads"] if qwen else vision["num_attention_heads"])
    out.add_vision_projection_dim(text["hidden_size"])
    out.add_vision_patch_size(vision["patch_size"])
    out.add_vision_image_size(560 if qwen else vision["image_size"])
    out.add_vision_attention_layernorm_eps(1e-6 if qwen else vision.get("layer_norm_eps", 1e-6))
    mean, std = mean_std(family)
    out.add_vision_image_mean(mean)
    out.add_vision_image_std(std)
    if qwen:
        out.add_vision_use_silu(True)
        if vision["window_size"] != 112:
            raise SystemExit("llama.cpp knows windows of 112 pixels only")
        out.add_vision_n_wa_pattern(vision["fullatt_block_indexes"][0] + 1)
    else:
        out.add_vision_use_gelu(True)
    if family == "gemma3":
        side = vision["image_size"] // vision["patch_size"]
        out.add_vision_projector_scale_factor(round(side / config["mm_tokens_per_image"] ** 0.5))
    if family in ("idefics3", "smolvlm"):
        out.add_vision_projector_scale_factor(config.get("scale_factor", 2))
        out.add_vision_preproc_image_size(picture_px or vision["image_size"])  # one tile
    for name, tensor in checkpoint.tensors():
        if "vision" not in name and "visual" not in name and "connector" not in name and "projector" not in name:
            continue
        if name.endswith("patch_embedding.weight"):
            writer.add("v.patch_embd.weight", tensor)
        elif name.endswith("patch_embedding.bias"):
            writer.add("v.patch_embd.bias", tensor)
        elif name.endswith("patch_embed.proj.weight"):  # two frames of a step, one convolution each
            writer.add("v.patch_embd.weight", tensor[:, :, 0])
            writer.add("v.patch_embd.weight.1", tensor[:, :, 1])
        elif name.endswith("position_embedding.weight"):
            writer.add("v.position_embd.weight", tensor)
        elif "attn.qkv." in name:
            block, end = re.search(r"blocks\.(\d+)\.", name)[1], name.rsplit(".", 1)[1]
            for part, some in zip("qkv", tensor.chunk(3)):
                writer.add(f"v.blk.{block}.attn_{part}.{end}", some)
        elif new := layer_name(name, QWEN_LAYER if qwen else SIGLIP_LAYER, "v."):
            writer.add(new, tensor)
        elif "post_layernorm" in name:
            writer.add("v.post_ln." + name.rsplit(".", 1)[1], tensor)
        elif name.endswith("merger.ln_q.weight"):
            writer.add("v.post_ln.weight", tensor)
        elif match := re.search(r"merger\.mlp\.(\d)\.(weight|bias)$", name):
            writer.add(f"mm.{match[1]}.{match[2]}", tensor)
        elif name.endswith("modality_projection.proj.weight"):
            writer.add("mm.model.fc.weight", tensor)
        elif name.endswith("mm_input_projection_weight"):
            writer.add("mm.input_projection.weight", tensor)
        elif name.endswith("mm_soft_emb_norm.weight"):
            writer.add("mm.soft_emb_norm.weight", tensor.float() + 1)
        else:
            raise SystemExit(f"no name for {name}")
    writer.close()


def write(folder, out_folder, kind="bf16", picture_px=0):
    checkpoint, out_folder = Checkpoint(folder), Path(out_folder)
    out_folder.mkdir(parents=True, exist_ok=True)
    write_text(checkpoint, str(out_folder / "text.gguf"), kind)
    write_vision(checkpoint, str(out_folder / "mmproj.gguf"), kind, picture_px)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("out_folder")
    parser.add_argument("--type", default="bf16", choices=["bf16", "f16", "f32"])
    words = parser.parse_args()
    write(words.folder, words.out_folder, words.type)
