#!/usr/bin/env python3
"""Random strings through PyPI `tokenizers` (and tiktoken): expected ids for tests/unit/text/tokenizer_test.cpp.

Usage: random_texts.py COUNT SEED OUT FOLDER...   (each FOLDER has a tokenizer.json, or Kimi's tiktoken.model)
Run in tests/data/tokenizers: random.json has COUNT 250, SEED 7, the nine folders; variants.json 120, 8, variants/*.
tools/tokenizers/variants.py made the folders of variants/ (from goldens/corpus.py, its TEXT).
Characters not assigned in Unicode 12 are left out: libraries differ in how new their tables are.
"""

import base64
import json
import random
import sys
import unicodedata
from pathlib import Path

BLOCKS = [
    (0x20, 0x7F), (0x20, 0x7F), (0x20, 0x7F), (0x00, 0x20), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700),
    (0x900, 0xA00), (0xE00, 0xE80), (0x1100, 0x1200), (0x1E00, 0x2070), (0x2070, 0x2200), (0x2460, 0x2600), (0x3000, 0x3100),
    (0x4E00, 0x5200), (0xAC00, 0xAE00), (0xF900, 0xFB50), (0xFB50, 0xFE00), (0xFF00, 0xFFF0), (0x1D400, 0x1D600),
    (0x1F300, 0x1F650), (0x20000, 0x20100), (0xE000, 0xE010),
]
WORDS = ["the", " the", "I'm", "we'LL", "don't", "'S", "'\u017f", "1234567", " 12", "\n\n", "\r\n", "   ", "  \n ", "\t", "\u3000", "\u00a0",
         "e\u0301", "\u212b", "\ufb01", "\u1100\u1161\u11a8", "A\u030a", "\u4f60\u597d", "\u30ab\u3099", "HelloWORLDfoo", "iPhone", "ABCdef", "\u01c5x", "\u02b0a",
         "\u200d", "\U0001f468\u200d\U0001f469", "\u2581", "\u2581\u2581", "<0x41>", "\ufeff", "\u0130", "q\u0307\u0323", "\u1e9b\u0323"]


def assigned(c: str) -> bool:
    return unicodedata.category(c) not in ("Cs", "Cn") and unicodedata.ucd_3_2_0.category(c) != "Cn"


def text(rng: random.Random, extra: list) -> str:
    out = []
    for _ in range(rng.randint(1, 24)):
        kind = rng.random()
        if kind < 0.35:
            out.append(rng.choice(WORDS))
        elif kind < 0.42:
            out.append(rng.choice(extra))
        elif kind < 0.55:
            out.append(rng.choice(WORDS + [chr(rng.randrange(0x20, 0x7F))]) * rng.randint(1, 5))
        else:
            low, high = rng.choice(BLOCKS)
            out += [c for c in (chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 8))) if assigned(c)]
    return "".join(out)


def digest(data: bytes) -> str:
    """FNV-1a."""
    h = 0xCBF29CE484222325
    for b in data:
        h = ((h ^ b) * 0x100000001B3) & (2**64 - 1)
    return f"{h:016x}"


def reader(folder: Path):
    if (folder / "tokenizer.json").exists():
        from tokenizers import Tokenizer

        tok = Tokenizer.from_file(str(folder / "tokenizer.json"))
        added = [t.content for t in tok.get_added_tokens_decoder().values()]
        return added, lambda s: tok.encode(s, add_special_tokens=False).ids, lambda ids: tok.decode(ids, skip_special_tokens=False)
    import tiktoken

    ranks = {base64.b64decode(a): int(b) for a, b in (line.split() for line in (folder / "tiktoken.model").read_bytes().splitlines() if line)}
    special = {v["content"]: int(k) for k, v in json.loads((folder / "tokenizer_config.json").read_text())["added_tokens_decoder"].items()}
    pattern = json.loads((folder / "encodings.json").read_text())["pattern"]
    enc = tiktoken.Encoding("kimi", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    return list(special), lambda s: enc.encode(s, allowed_special="all"), enc.decode


def main() -> None:
    count, seed, out, folders = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], [Path(f) for f in sys.argv[4:]]
    rng = random.Random(seed)
    readers = {f.parent.name + "/" + f.name if f.name == "checkpoint" else f.name: reader(f) for f in folders}
    extra = [t for added, _, _ in readers.values() for t in rng.sample(added, min(len(added), 12))]
    texts = [text(rng, extra) for _ in range(count)]
    result = {"texts": texts, "folders": {}}
    for name, (_, encode, decode) in readers.items():
        rows = []
        for s in texts:
            ids = encode(s)
            rows.append(digest(b"".join(i.to_bytes(4, "little") for i in ids)) + digest(decode(ids).encode()))
        result["folders"][name] = {"path": str(next(f for f in folders if name.endswith(f.name) and (f.name != "checkpoint" or f.parent.name in name))), "rows": rows}
    Path(out).write_text(json.dumps(result, ensure_ascii=True, indent=0) + "\n")


if __name__ == "__main__":
    main()
