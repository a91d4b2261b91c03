"""check_runs.py RLE_BATCH: our runs of 1000 random masks are pycocotools' own, to the character."""
import subprocess
import sys

import numpy as np
from pycocotools import mask as coco

rng = np.random.default_rng(1)
masks = []
for i in range(1000):
    h, w = rng.integers(1, 90, 2)
    if i % 3 == 0:  # noise
        m = rng.random((h, w)) < rng.random()
    else:  # blobs
        y, x = np.mgrid[:h, :w]
        m = np.zeros((h, w), bool)
        for _ in range(rng.integers(0, 4)):
            m |= ((y - rng.integers(0, h)) ** 2 / (1 + rng.integers(0, 900)) + (x - rng.integers(0, w)) ** 2 / (1 + rng.integers(0, 900))) < 1
    masks.append(np.asfortranarray(m.astype(np.uint8)))
lines = "".join(f"{m.shape[0]} {m.shape[1]} {''.join(map(str, m.reshape(-1, order='C')))}\n" for m in masks)
got = subprocess.run([sys.argv[1]], input=lines, capture_output=True, text=True, check=True).stdout.splitlines()
assert len(got) == len(masks)
for m, line in zip(masks, got):
    text, *numbers = line.split(" ")
    wanted = coco.encode(m)
    assert wanted["counts"].decode() == text, (wanted, text)
    assert (coco.decode({"size": list(m.shape), "counts": text.encode()}) == m).all()
    area, *box = map(int, numbers)
    assert area == int(coco.area(wanted))
    assert box == list(map(int, coco.toBbox(wanted))), (box, coco.toBbox(wanted))
print(f"{len(masks)} masks: runs, areas and boxes equal")
