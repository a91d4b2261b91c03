#!/usr/bin/env python3
"""Writes tests/data/jinja/special_tokens.json: the added tokens, special or not, of all tokenizers below the given folders.

    python tools/goldens/special_tokens.py GOLDENS_FOLDER
"""
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def tokens_of(folder):
    found = set()
    for path in pathlib.Path(folder).rglob("tokenizer.json"):
        found |= {t["content"] for t in json.loads(path.read_text()).get("added_tokens") or []}
    for path in pathlib.Path(folder).rglob("tokenizer_config.json"):
        config = json.loads(path.read_text())
        found |= {t["content"] for t in (config.get("added_tokens_decoder") or {}).values()}
        for key, value in config.items():
            if key.endswith("_token") and isinstance(value, (str, dict)):
                found.add(value["content"] if isinstance(value, dict) else value)
            if key == "additional_special_tokens":
                found |= {v["content"] if isinstance(v, dict) else v for v in value}
    return found


def main():
    tokens = sorted(t for folder in sys.argv[1:] for t in tokens_of(folder))
    kept = list(dict.fromkeys(tokens))
    out = ROOT / "tests" / "data" / "jinja" / "special_tokens.json"
    out.write_text(json.dumps(kept, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    print(f"{out}: {len(kept)} tokens")


if __name__ == "__main__":
    main()
