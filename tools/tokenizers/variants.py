#!/usr/bin/env python3
"""Small tokenizers that use every component the loader knows, for tests/data/tokenizers/variants (needs PyPI `tokenizers`).

Usage: variants.py OUT TEXT_FILE...   trains on the lines of the text files; one folder with a tokenizer.json per variant.
"""

import json
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

GPT4O = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+",
])
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def trained(lines, pre, size=300, normalizer=None, alphabet=(), model=None, **more):
    tok = Tokenizer(model or models.BPE(**{k: v for k, v in more.items() if k in ("unk_token", "fuse_unk", "byte_fallback")}))
    if normalizer:
        tok.normalizer = normalizer
    if pre:
        tok.pre_tokenizer = pre
    keys = ("continuing_subword_prefix", "end_of_word_suffix", "special_tokens", "limit_alphabet")
    tok.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=size, initial_alphabet=list(alphabet), show_progress=False, **{k: v for k, v in more.items() if k in keys}))
    return tok


def edited(tok, **model_keys):
    data = json.loads(tok.to_str())
    data["model"].update(model_keys)
    return Tokenizer.from_str(json.dumps(data))


def build(lines):
    byte_alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def split(pattern, behavior="isolated", invert=False):
        return pre_tokenizers.Split(Regex(pattern), behavior, invert)

    def byte_bpe(*pre, normalizer=None):
        tok = trained(lines, pre_tokenizers.Sequence([*pre]), 330, normalizer, byte_alphabet)
        tok.decoder = decoders.ByteLevel()
        return tok

    out = {}
    out["gpt2_prefix"] = byte_bpe(pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True))
    out["gpt2_prefix"].post_processor = processors.RobertaProcessing(("a", 64), ("b", 65), add_prefix_space=True)
    out["gpt2_removed_inverted"] = byte_bpe(split(GPT2, "removed", True), byte_level)
    out["gpt4o_pcre"] = byte_bpe(split(GPT4O), byte_level)
    out["digits_groups"] = byte_bpe(pre_tokenizers.Digits(False), pre_tokenizers.Punctuation("merged_with_previous"), byte_level)
    out["lookaround_pcre"] = byte_bpe(split(r"(?<=[a-z])(?=[A-Z])|\b\d+\b|[\u3040-\u30ff]+", "merged_with_next"), byte_level)
    for name in ("removed", "contiguous", "merged_with_previous", "merged_with_next"):
        out["split_" + name] = byte_bpe(split(r"[aeiou]|\s", name), pre_tokenizers.Split("th", name), byte_level)
    out["char_delimiter"] = byte_bpe(pre_tokenizers.CharDelimiterSplit("e"), pre_tokenizers.WhitespaceSplit(), byte_level)

    flags = byte_bpe(pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True), normalizer=normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]))
    flags.add_special_tokens([AddedToken("<l>", lstrip=True, normalized=False), AddedToken("<r>", rstrip=True, normalized=False), AddedToken("<lr>", lstrip=True, rstrip=True, normalized=False)])
    flags.add_tokens([AddedToken("the", single_word=True, normalized=False), AddedToken("Caf\u00e9", normalized=True), AddedToken("DON'T", normalized=True, single_word=True), AddedToken("the the", normalized=True), AddedToken("12", normalized=True), AddedToken("<l><r>", normalized=False), AddedToken(" e\u0301", normalized=False)])
    out["added_flags"] = flags

    llama2 = trained(lines, None, 260, normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]), unk_token="<unk>", limit_alphabet=60, special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)])
    llama2 = edited(llama2, byte_fallback=True, fuse_unk=True)
    llama2.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    llama2.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    data = json.loads(llama2.to_str())
    data["added_tokens"] = [t for t in data["added_tokens"] if not t["content"].startswith("<0x")]
    out["llama2"] = Tokenizer.from_str(json.dumps(data))

    holes = json.loads(llama2.to_str())
    holes["added_tokens"] = holes["added_tokens"][:3]
    for b in (0xE4, 0xBD, 0x80):  # characters with these bytes are unknown
        holes["model"]["vocab"][f"<gone{b}>"] = holes["model"]["vocab"].pop(f"<0x{b:02X}>")
    out["fallback_with_holes"] = Tokenizer.from_str(json.dumps(holes))
    holes["model"]["fuse_unk"] = False
    out["unknown_unfused"] = Tokenizer.from_str(json.dumps(holes))

    clip = trained(lines, pre_tokenizers.Sequence([split(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", "removed", True), byte_level]), 420, normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]), byte_alphabet, end_of_word_suffix="</w>", unk_token="<|endoftext|>", special_tokens=["<|endoftext|>"])
    clip.decoder = decoders.ByteLevel()
    out["clip"] = clip
    out["subword_prefix"] = trained(lines, pre_tokenizers.Whitespace(), 220, normalizers.Strip(), continuing_subword_prefix="##", unk_token="[UNK]", special_tokens=["[UNK]"], limit_alphabet=50)

    for scheme in ("first", "never"):
        tok = trained(lines, pre_tokenizers.Metaspace("\u2581", scheme, split=scheme == "first"), 200, unk_token="<unk>", special_tokens=["<unk>", "<sep>"])
        tok.decoder = decoders.Metaspace("\u2581", scheme)
        out["metaspace_" + scheme] = tok

    word = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    word.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip(True, False)])
    word.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("isolated")])
    word.train_from_iterator(lines, trainers.WordLevelTrainer(vocab_size=150, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False))
    word.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    out["word_level"] = word

    # The trainer of Unigram is not repeatable; pieces and scores by hand are.
    pieces = {"<unk>": 0.0, "<s>": 0.0}
    pieces.update({f"<0x{b:02X}>": -20.0 for b in range(256)})
    counts = {}
    for line in lines:
        for w in line.split():
            w = "\u2581" + w
            for i in range(len(w)):
                for n in range(1, 6):
                    counts[w[i : i + n]] = counts.get(w[i : i + n], 0) + 1
    for piece, n in sorted(counts.items(), key=lambda p: (-p[1] * len(p[0]), p[0]))[:160]:
        pieces.setdefault(piece, -12.0 + len(bin(n)) * 0.37 + len(piece) * 0.011)
    uni = Tokenizer(models.Unigram(list(pieces.items()), 0, True))
    uni.normalizer = normalizers.NFKC()
    uni.pre_tokenizer = pre_tokenizers.Metaspace("\u2581", "first", split=False)
    uni.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace("\u2581", "first")])
    uni.add_special_tokens(["<s>"])
    out["unigram_fallback"] = uni
    return out


def main():
    out = Path(sys.argv[1])
    lines = [line for f in sys.argv[2:] for line in Path(f).read_text().splitlines() if line.strip()]
    for name, tok in build(lines).items():
        (out / name).mkdir(parents=True, exist_ok=True)
        tok.save(str(out / name / "tokenizer.json"), pretty=False)


if __name__ == "__main__":
    main()
