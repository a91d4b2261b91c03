"""Checks the scene generator: digests of known scenes, the sample pictures, and the exam's scoring.

Leaves with 77 (skipped) where Pillow, numpy or the fonts are absent, or Pillow is one that draws otherwise. `--write`
makes the digests anew.
"""
from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIGESTS = ROOT / "tests" / "data" / "scenes" / "digests.json"
SKIPPED = 77

try:
    import exam
    from pictures import DRAWERS, drawing, missing_fonts, scene, why_inexact
    from samples import redraw_samples
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(SKIPPED)

SCORES = [    # topic, wanted, got, score
    ("detect", "none", "none", 1), ("detect", "none", "<loc0008><loc0008><loc0104><loc0104> bird", 0),
    ("detect", "<loc0008><loc0008><loc0104><loc0104> bird", "none", 0),
    ("detect", "<loc0008><loc0008><loc0104><loc0104> bird", "<loc0008><loc0032><loc0104><loc0128> fish", 1),
    ("detect", "<loc0008><loc0008><loc0104><loc0104> bird", "<loc0008><loc0072><loc0104><loc0168> bird", 0),
    ("detect", "<loc0008><loc0008><loc0104><loc0104> bird ; <loc0504><loc0504><loc0600><loc0600> bird",
     "<loc0504><loc0504><loc0600><loc0600> bird", 0.5),
    ("click", "<loc0504><loc0504> Login", "<loc0552><loc0616> Login", 1),
    ("click", "<loc0504><loc0504> Login", "<loc0568><loc0504> Login", 0), ("click", "<loc0504><loc0504> Login", "", 0),
    ("describe", "A red bird in the tree.", "A blue bird in the tree.", 5 / 7),
    ("count", "3", "3", 1), ("count", "3", "13", 0), ("ocr", "Tea | Milk", "tea | milk", 1)]
TOPICS = [("Detect the bird on the roof.", "detect"), ("How many bars are there?", "count"), ("caption en", "describe"),
          ("What is the highest value?", "chart"), ("What is in the tree?", "on"), ("What is the total?", "other"),
          ("What is the first line?", "ocr"), ("Is this image dangerous?", "safety"), ("click Men", "click")]


def digest(pixels: bytes, questions: list) -> str:
    return hashlib.sha256(pixels + json.dumps(questions).encode()).hexdigest()[:32]


def digests_of_scenes() -> dict[str, str]:
    """Blocks of ten seeds of each kind, worn with labels and clean at 512 pixels, and of the mix."""
    found = {}
    for first in (0, 10, 20, 30, 40, 50, 77_000_000, 5_000_000_000):
        seeds = range(first, first + 10)
        for kind in (*DRAWERS, None):
            worn = [scene(seed, kind) for seed in seeds]
            found[f"{kind or 'mix'} {first}"] = digest(
                b"".join(part.tobytes() for s in worn for part in (s.image, s.kind, s.color, s.box)),
                [s.questions for s in worn])
        for kind in DRAWERS:
            clean = [drawing(seed, kind, 2) for seed in seeds]
            found[f"{kind} {first} clean"] = digest(b"".join(image.tobytes() for image, _ in clean),
                                                    [questions for _, questions in clean])
    return found


def check_exam() -> int:
    failed = 0
    for asked, wanted, got, expected in SCORES:
        if abs(exam.score(asked, wanted, got) - expected) > 1e-9:
            failed += 1
            print(f"{asked}: {got!r} for {wanted!r} scores {exam.score(asked, wanted, got)}, not {expected}")
    for question, expected in TOPICS:
        if exam.topic(question) != expected:
            failed += 1
            print(f"{question!r} is {exam.topic(question)}, not {expected}")
    return failed


def main() -> int:
    failed = check_exam()
    reason = f"no font {missing[0]}" if (missing := missing_fonts()) else why_inexact()
    if reason:
        print(f"scenes not checked: {reason}")
        return 1 if failed else SKIPPED
    if sys.argv[1:] == ["--write"]:
        DIGESTS.write_text(json.dumps(digests_of_scenes(), indent=1) + "\n")
        return 0
    committed = json.loads(DIGESTS.read_text())
    found = digests_of_scenes()
    for name in sorted(found.keys() | committed.keys()):
        if found.get(name) != committed.get(name):
            failed += 1
            print(f"{name}: another picture or other questions than before")
    failed += redraw_samples(ROOT / "data" / "samples", only_check=True)
    print(f"{len(found)} blocks of ten scenes, {len(SCORES)} scores, {len(TOPICS)} topics: {failed} wrong")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
