"""Writes tests/data/grammar/regex.json: patterns and texts with what Python's re.fullmatch says of them.

Usage: regex_cases.py OUTPUT
"""

import json
import random
import re
import sys

PATTERNS = [
    "", "a", "abc", "yes|no", "a|", "(a|b)*c", "a*", "a+", "a?", "a{3}", "a{2,}", "a{2,4}", "a{0}", "(ab){2}", "(a*)*", "(a|ab)(c|bcd)",
    "[abc]+", "[^abc]+", "[a-z0-9_]+", "[-a]+", "[a-]+", "[\\]\\[]", "[a\\-z]+", "[\\d.]+", "[^\\d]", "\\d+", "\\D+", "\\w+", "\\W", "\\s", "\\S+",
    ".", ".*", ".+x", "\\.", "\\\\", "\\/", "\\n", "\\t|\\r", "\\x41", "\\u00e9+", "é+", "日本|日", "[あ-ん]+", "😀", "[😀-😎]x",
    "-?(0|[1-9][0-9]*)(\\.[0-9]+)?", "[0-9]{4}-[0-9]{2}-[0-9]{2}", "(?:a|b)c", "(?P<year>[0-9]{4})", "a*?b", "a+?", "a??b", "a{1,2}?b",
    "^abc$", "^a|b$", "(((a)))", "((a|b)(c|d)){2}", "[A-Ja-j]", "#[0-9a-f]{6}", "}", "]", "a]b", "[{]x[}]", "a{1,3}b{1,3}c{1,3}", "(a?){4}a{4}", "\\0", "[\\b]",
    "[\\w.-]+@[\\w-]+\\.[a-z]{2,3}", "(red|green|blue)( (red|green|blue))*", "[^\\n]*", "[^\\x00-\\x7f]", "x{0,2}y{0,2}",
]
ALPHABET = list("abcdxyz019_-.@ /#{}[]\\\"'\n\t\r") + ["é", "日", "本", "あ", "😀", "😅", "\x00", "\b", "A", "Z", "٣", "ª", "\u00a0", "\u2028", "\x7f", "\u07ff", "\uffff"]


def sample(pattern, draw):
    """Texts near the pattern: its own literals cut and joined, and random ones."""
    pool = [c for c in pattern if c.isalnum() or ord(c) > 127] or ["a"]
    size = draw.choice([0, 1, 1, 2, 3, 4, 5, 8, 10])
    return "".join(draw.choice(pool if draw.random() < 0.7 else ALPHABET) for _ in range(size))


def main(path):
    draw = random.Random(20261127)
    words = ["", "a", "b", "c", "ab", "abc", "yes", "no", "aaa", "aaaa", "aaaaa", "abcd", "acd", "2026-11-27", "-0.5", "12", "1e5", "red blue", "#00ff7f", "a.b@c.de", "\n", "é", "日", "日本", "😀", "😀x"]
    cases = []
    for pattern in PATTERNS:
        regex = re.compile(pattern)
        texts = {text: True for text in words}
        yes = no = 0
        for _ in range(4000):
            text = sample(pattern, draw)
            if text in texts:
                continue
            matches = regex.fullmatch(text) is not None
            if (yes if matches else no) < 12:
                texts[text] = True
                yes, no = yes + matches, no + (not matches)
        rows = [[text, regex.fullmatch(text) is not None] for text in texts]
        cases.append({"pattern": pattern, "texts": rows})
    with open(path, "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=True, separators=(",", ":")) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main(sys.argv[1])
