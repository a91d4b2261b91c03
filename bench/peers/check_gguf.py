"""Whether llama.cpp reads our GGUF files as meant: what it makes of a small checkpoint beside what transformers does.

    bench/peers/check_gguf.py FOLDER        # tests/families/smolvlm/checkpoint, or qwen2_5_vl, gemma3

Both in f32, transformers with what is fixed in llama.cpp (`like_llama`). Prints the largest and the median difference
relative to the largest value, of the logits of text, of the rows of a picture, and of the logits of text behind that
picture. Exit code 1 above 5e-4: a sum that llama.cpp rounds to f16 the other way moves single values by so much.
"""
import ctypes
import json
import sys
import tempfile
from pathlib import Path

import llama_cpp as lc
import llama_cpp.mtmd_cpp as mt
import numpy as np
import torch
from transformers import AutoModelForImageTextToText

import gguf_checkpoint
from llama_peer import NO_CALLBACK, first_picture, tokenized
from pictures import picture_rows, vision_inputs

LONG, BEFORE, BEHIND = 64, 20, 12  # tokens of text; longer than a tiny window


class Llama:
    def __init__(self, text, mmproj):
        lc.llama_backend_init()
        self.model = lc.llama_model_load_from_file(text.encode(), lc.llama_model_default_params())
        params = lc.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = 1024, 512, 512
        params.type_k = params.type_v = 0  # GGML_TYPE_F32
        params.flash_attn_type = 0  # off: it adds up in f16
        self.context = lc.llama_init_from_model(self.model, params)
        params = mt.mtmd_context_params_default()
        params.use_gpu, params.flash_attn_type, params.warmup = False, 0, False
        self.eye = mt.mtmd_init_from_file(mmproj.encode(), self.model, params)
        self.vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(self.model))
        self.width = lc.llama_model_n_embd(self.model)

    def clear(self):
        lc.llama_memory_clear(lc.llama_get_memory(self.context), True)

    def logits(self, ids, past=0):
        batch = lc.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, past + i, 1, 0
            batch.logits[i] = True
        if lc.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")
        rows = [lc.llama_get_logits_ith(self.context, i) for i in range(len(ids))]
        return np.stack([np.ctypeslib.as_array(row, (self.vocab,)).copy() for row in rows])

    def see(self, picture):
        """The picture's rows, and its chunk."""
        pixels = (ctypes.c_uint8 * picture.size).from_buffer_copy(picture.tobytes())
        bitmap = mt.mtmd_bitmap_init(picture.shape[1], picture.shape[0], pixels)
        chunk = first_picture(tokenized(self.eye, bitmap))
        if mt.mtmd_encode_chunk(self.eye, chunk) != 0:
            raise SystemExit("mtmd_encode_chunk failed")
        count = mt.mtmd_input_chunk_get_n_tokens(chunk)
        return np.ctypeslib.as_array(mt.mtmd_get_output_embd(self.eye), (count, self.width)).copy(), chunk

    def read(self, chunk, past):
        """Reads the picture that was seen last; gives the position behind it."""
        behind = ctypes.c_int(0)
        rows = mt.mtmd_get_output_embd(self.eye)
        if mt.mtmd_helper_decode_image_chunk(
            self.eye, self.context, chunk, rows, past, 0, 512, ctypes.byref(behind), NO_CALLBACK, None
        ):
            raise SystemExit("the picture was not read")
        return behind.value


def with_fixed_values(folder, out):
    """The checkpoint by links, with the values that llama.cpp uses for Qwen2.5-VL whatever the file says."""
    for path in folder.iterdir():
        (out / path.name).symlink_to(path.resolve())
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] == "qwen2_5_vl":
        config["vision_config"]["window_size"] = 112
        config["rms_norm_eps"] = 0  # of the text; since its loader no longer reads it
        (out / "config.json").unlink()
        (out / "config.json").write_text(json.dumps(config))
    return out


class TableGelu(torch.nn.Module):
    """ggml_vec_gelu_f32: a table by f16, for the exact form too."""

    def forward(self, x):
        y = torch.nn.functional.gelu(x.half().float(), approximate="tanh").half().float()
        return torch.where(x <= -10, 0.0, torch.where(x >= 10, x, y))


def like_llama(model):
    for module in model.modules():
        for name, part in module.named_children():
            if "gelu" in type(part).__name__.lower():
                setattr(module, name, TableGelu())
            if isinstance(part, (torch.nn.Conv2d, torch.nn.Conv3d)):
                part.weight.data = part.weight.data.half().float()
                part.register_forward_pre_hook(lambda module, inputs: (inputs[0].half().float(),))
    # Idefics3 in transformers 4.55 and later 4.x counts a patch's row and column one too low; 5.x does not.
    torch.bucketize = lambda at, bounds, right: (at * (len(bounds) + 1) + 0.5).long()
    return model


def picture_of(config):
    """Of a size that no processor changes; for Qwen with windows that are cut at both edges."""
    tile = getattr(config.vision_config, "image_size", None)
    return np.random.default_rng(7).integers(0, 256, (tile or 252, tile or 308, 3), np.uint8)


def wanted_of(model, words, picture):
    """Logits of the first words alone, the picture's rows, and logits of the words behind it."""
    config = model.config
    image = getattr(config, "image_token_id", None) or config.image_token_index
    start = getattr(config, "vision_start_token_id", None)
    if start is not None:
        words[BEFORE - 1] = start
    inputs = vision_inputs(config, picture)
    with torch.no_grad():
        text = model(input_ids=torch.tensor([words])).logits[0].numpy()
        rows = picture_rows(model.get_image_features(**inputs))[0]
        ids = torch.tensor([[*words[:BEFORE], *[image] * len(rows), *words[BEFORE : BEFORE + BEHIND]]])
        if config.model_type == "gemma3":
            inputs["token_type_ids"] = (ids == image).long()
        seen = model(input_ids=ids, **inputs).logits[0, -BEHIND:].numpy()
    return text, rows.numpy(), seen


def main():
    quiet = lc.llama_log_callback(lambda level, words, data: None)
    for set_log in (lc.llama_log_set, mt.mtmd_log_set, mt.mtmd_helper_log_set):
        set_log(quiet, ctypes.c_void_p())
    with tempfile.TemporaryDirectory() as out:
        folder = with_fixed_values(Path(sys.argv[1]), Path(out))
        gguf_checkpoint.write(folder, out, "f32")
        model = like_llama(AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval())
        llama = Llama(out + "/text.gguf", out + "/mmproj.gguf")
        picture = picture_of(model.config)
        words = [(i * i + 3 * i) % 150 + 10 for i in range(LONG)]
        wanted = wanted_of(model, words, picture)
        text = llama.logits(words)
        llama.clear()
        rows, chunk = llama.see(picture)
        llama.logits(words[:BEFORE])
        behind = llama.read(chunk, BEFORE)
        seen = llama.logits(words[BEFORE : BEFORE + BEHIND], behind)
    worst = 0.0
    for name, ours, theirs in zip(("text", "picture", "text behind it"), (text, rows, seen), wanted):
        errors = np.abs(ours - theirs) / np.abs(theirs).max()
        print(f"{name}: at most {errors.max():.1e} of the largest value, median {np.median(errors):.1e}")
        worst = max(worst, errors.max())
    sys.exit(int(worst > 5e-4))


if __name__ == "__main__":
    main()
