"""Whether llama.cpp reads our GGUF files as meant: its logits of a golden checkpoint's text beside those of transformers.

    bench/peers/check_gguf.py FOLDER        # a small checkpoint: tests/families/smolvlm/checkpoint

Both in f32. Prints the largest difference relative to the largest logit; exit code 1 above 1e-3.
"""
import ctypes
import sys
import tempfile

import llama_cpp as lc
import numpy as np
import torch
from transformers import AutoModelForImageTextToText

import gguf_checkpoint


def llama_logits(path, ids):
    lc.llama_backend_init()
    model = lc.llama_model_load_from_file(path.encode(), lc.llama_model_default_params())
    params = lc.llama_context_default_params()
    params.n_ctx = 256
    params.type_k = params.type_v = 0  # GGML_TYPE_F32
    params.flash_attn_type = 0  # off: it adds up in f16
    context = lc.llama_init_from_model(model, params)
    batch = lc.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, i, 1, 0
        batch.logits[i] = True
    if lc.llama_decode(context, batch) != 0:
        raise SystemExit("llama_decode failed")
    vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model))
    return np.stack([np.ctypeslib.as_array(lc.llama_get_logits_ith(context, i), (vocab,)).copy() for i in range(len(ids))])


def main():
    folder = sys.argv[1]
    quiet = lc.llama_log_callback(lambda level, words, data: None)
    lc.llama_log_set(quiet, ctypes.c_void_p())
    ids = [3, 17, 40, 5, 99, 41, 42, 7, 8, 60, 11, 12]
    with tempfile.TemporaryDirectory() as out:
        gguf_checkpoint.write(folder, out, "f32")
        ours = llama_logits(out + "/text.gguf", ids)
    model = AutoModelForImageTextToText.from_pretrained(folder, torch_dtype=torch.float32).eval()
    with torch.no_grad():
        wanted = model(input_ids=torch.tensor([ids])).logits[0].numpy()
    error = float(np.abs(ours - wanted).max() / np.abs(wanted).max())
    print(f"largest difference: {error:.2e} of the largest logit")
    sys.exit(error > 1e-3)


if __name__ == "__main__":
    main()
