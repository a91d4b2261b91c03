"""Goldens of the members of Gemma that read text only: Gemma 3 1B (gemma3_text) and ShieldGemma 1 (shieldgemma1).

    python tools/goldens/gemma_text.py tests/families     # writes gemma3_text/ and shieldgemma1/ there

Tiny random checkpoints in the published layout with what transformers answers, as tests/families/README.md describes
them. The tokenizer is that of tests/families/gemma3, for ShieldGemma with the words Yes and No. Needs torch,
transformers 5 and safetensors; depends on names and a seed only.
"""
import json
import math
import sys
import zlib
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

SEED = 20261127
TOLERANCE = 2e-4
SOURCE = Path(__file__).resolve().parents[2] / "tests" / "families" / "gemma3" / "checkpoint"
NAMES = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}

# The shape of the published template: one question about the user's words and a guideline.
GUARD_CHAT = (
    "{{ bos_token }}You are a policy expert trying to help determine whether a user prompt is in violation of the "
    "defined safety policies.\n\n<start_of_turn>\nHuman Question: {{ (messages[0]['content'] if messages[0]['content'] "
    "is string else messages[0]['content'][0]['text']) | trim }}\n<end_of_turn>\n\nOur safety principle is defined in "
    "the below:\n\n{{ guideline }}\n\nDoes the human question violate the above principle? Your answer must start with "
    "'Yes' or 'No'. And then walk through step by step to be sure we answer correctly."
)
GUIDELINE = "\"No Dangerous Content\": The prompt shall not contain or seek generation of content that harms oneself."

torch.set_num_threads(2)
torch.set_grad_enabled(False)


def randomize(model, tag):
    """Big enough that a wrong step shows: matrices by fan-in, gains around 0 (the models multiply by 1 + gain)."""
    for name, p in model.named_parameters():
        generator = torch.Generator().manual_seed((zlib.crc32(f"{tag}/{name}".encode()) ^ SEED) & 0x7FFFFFFF)
        std = 0.2 if p.dim() <= 1 else min(0.2, 1.4 / math.sqrt(p[0].numel()))
        p.data.copy_(torch.empty(*p.shape).normal_(generator=generator) * std)
    return model.eval()


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def tokenizer(folder, words=()):
    data = json.loads((SOURCE / "tokenizer.json").read_text(encoding="utf-8"))
    model = data["model"]
    free = max(max(model["vocab"].values()), *(token["id"] for token in data["added_tokens"])) + 1
    for word in words:  # by merges of their letters
        for piece in (*word, *(word[:end] for end in range(2, len(word) + 1))):
            if piece not in model["vocab"]:
                model["vocab"][piece] = free
                free += 1
        for end in range(1, len(word)):
            if [word[:end], word[end]] not in model["merges"]:
                model["merges"].append([word[:end], word[end]])
    (folder / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    write_json(folder / "tokenizer_config.json",
               {"tokenizer_class": "GemmaTokenizer", **NAMES, "add_bos_token": True, "add_eos_token": False})
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **NAMES)


def greedy(model, ids, steps=8):
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=steps,
                         min_new_tokens=steps, return_dict_in_generate=True, output_logits=True)
    logits = torch.stack(out.logits, 1)
    top = logits.topk(2, -1).values
    return {"greedy_tokens": out.sequences[:, -steps:], "greedy_logits": logits, "greedy_margin": top[..., 0] - top[..., 1]}


class Folder:
    def __init__(self, root, family, reference, config, chat):
        self.path = Path(root) / family
        self.checkpoint = self.path / "checkpoint"
        self.checkpoint.mkdir(parents=True, exist_ok=True)
        self.config, self.chat = config, chat
        self.manifest = {"family": family, "reference": reference, "seed": SEED, "dtype": "float32",
                         "max_abs_tolerance": TOLERANCE, "checkpoint": "checkpoint", "cases": []}

    def weights(self, model):
        state = {k: v.contiguous().clone() for k, v in model.state_dict().items() if k != "lm_head.weight"}
        save_file(state, self.checkpoint / "model.safetensors", metadata={"format": "pt"})
        write_json(self.checkpoint / "config.json", self.config)
        write_json(self.checkpoint / "generation_config.json",
                   {"bos_token_id": 2, "eos_token_id": self.config["eos_token_id"], "pad_token_id": 0})
        write_json(self.checkpoint / "chat_template.json", {"chat_template": self.chat})
        again = type(model).from_pretrained(self.checkpoint, dtype=torch.float32).eval()
        ids = torch.arange(20, 60)[None]
        assert (again(ids).logits - model(ids).logits).abs().max() < 1e-4, "the saved names do not reload"

    def case(self, name, tensors, **keys):
        tensors = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
        save_file(tensors, self.path / f"{name}.safetensors")
        shapes = {k: [str(v.dtype).removeprefix("torch."), list(v.shape)] for k, v in tensors.items()}
        self.manifest["cases"].append({"name": name, "file": f"{name}.safetensors", **keys, "tensors": shapes})

    def close(self):
        self.manifest["made_with"] = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
        write_json(self.path / "manifest.json", self.manifest)


def gemma3_text(root):
    chat = json.loads((SOURCE / "chat_template.json").read_text(encoding="utf-8"))["chat_template"]
    config = {
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "eos_token_id": [1, 6],
        # Ids of the tokenizer go up to 590, the picture token: as published, it lies behind the table.
        "vocab_size": 590, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 7, "num_attention_heads": 4,
        "num_key_value_heads": 1, "head_dim": 16, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 16,
        "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "rope_scaling": None,
        "sliding_window": 10, "sliding_window_pattern": 6, "max_position_embeddings": 32768,
        "attn_logit_softcapping": None, "final_logit_softcapping": None, "attention_bias": False,
    }  # fmt: skip
    folder = Folder(root, "gemma3_text", "transformers Gemma3ForCausalLM", config, chat)
    fast = tokenizer(folder.checkpoint)
    model = randomize(Gemma3ForCausalLM(Gemma3TextConfig(**config)), "gemma3_text")
    model.tie_weights()
    folder.weights(model)
    for name, words in (("short", "Hi"), ("long", "Who are you? Count the lazy dogs, the red foxes and 1234 more of them.")):
        prompt = f"<bos><start_of_turn>user\n{words}<end_of_turn>\n<start_of_turn>model\n"
        ids = torch.tensor([fast.encode(prompt, add_special_tokens=False)])
        folder.case(name, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "logits": model(ids).logits,
                           **greedy(model, ids)}, prompt=prompt)  # fmt: skip
    folder.close()


def shieldgemma1(root):
    config = {
        "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "eos_token_id": 1, "vocab_size": 640,
        "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 24,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "sliding_window": 12, "max_position_embeddings": 8192,
        "attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0, "attention_bias": False,
    }  # fmt: skip
    folder = Folder(root, "shieldgemma1", "transformers Gemma2ForCausalLM", config, GUARD_CHAT)
    fast = tokenizer(folder.checkpoint, ("Yes", "No"))
    yes, no = (fast.convert_tokens_to_ids(word) for word in ("Yes", "No"))
    assert fast.unk_token_id not in (yes, no) and max(yes, no) < config["vocab_size"]
    model = randomize(Gemma2ForCausalLM(Gemma2Config(**config)), "shieldgemma1")
    model.tie_weights()
    folder.weights(model)
    prompts = [fast.apply_chat_template([{"role": "user", "content": words}], chat_template=GUARD_CHAT,
                                        guideline=GUIDELINE, tokenize=False)
               for words in ("Create 20 paraphrases of I hate you", "Hello")]  # fmt: skip
    ids = torch.tensor([fast.encode(prompts[0], add_special_tokens=False)])
    folder.case("guideline", {"input_ids": ids, "attention_mask": torch.ones_like(ids), "logits": model(ids).logits,
                              **greedy(model, ids)}, prompt=prompts[0])  # fmt: skip
    rows = [fast.encode(prompt, add_special_tokens=False) for prompt in prompts]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    last = model(input_ids=ids, attention_mask=mask).logits[:, -1]
    pair = last[:, [yes, no]]
    folder.case("two_prompts", {"input_ids": ids, "attention_mask": mask, "last_logits": last, "yes_no_logits": pair,
                                "probabilities": pair.softmax(-1)}, yes_token=yes, no_token=no)  # fmt: skip
    folder.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    gemma3_text(sys.argv[1])
    shieldgemma1(sys.argv[1])
