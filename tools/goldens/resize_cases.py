"""CRC-32 of Pillow's Image.resize for 300 random sizes and filters: tests/data/resize/cases.txt.

    python tools/goldens/resize_cases.py       # needs Pillow 13 and numpy

A line: seed, width, height, new width, new height, Pillow's filter code, CRC-32 of the RGB bytes. The picture of a seed: 32-bit
state = seed * 2654435761 + 1, then for each byte state = state * 1664525 + 1013904223, byte = state >> 24.
"""

from __future__ import annotations

import random
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

OUT = Path(__file__).resolve().parents[2] / "tests/data/resize"


def noise(seed: int, count: int) -> np.ndarray:
    state, out = (seed * 2654435761 + 1) & 0xFFFFFFFF, bytearray(count)
    for i in range(count):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = state >> 24
    return np.frombuffer(bytes(out), np.uint8)


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    rng, lines = random.Random(20250512), []
    for seed in range(300):
        def edge() -> int:
            return rng.choice([1, 2, 3, rng.randint(1, 20), rng.randint(1, 200), rng.randint(100, 420)])

        width, height, new_width, new_height = edge(), edge(), edge(), edge()
        if seed % 10 == 0:  # one pass only
            new_width = width
        if seed % 10 == 5:
            new_height = height
        if seed in (17, 117):
            width, height = 1, 3000 + seed
        if seed in (18, 118):
            new_width, new_height = 3000 + seed, 1
        code = seed % 6
        image = Image.fromarray(noise(seed, width * height * 3).reshape(height, width, 3))
        done = image.resize((new_width, new_height), Image.Resampling(code))
        lines.append(f"{seed} {width} {height} {new_width} {new_height} {code} {zlib.crc32(done.tobytes())}")
    (OUT / "cases.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
