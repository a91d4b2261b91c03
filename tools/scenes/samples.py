"""The sample pictures: drawn again from the seeds that stand beside them in truth.json."""
from __future__ import annotations

import json
from pathlib import Path

from PIL import Image, ImageChops

from pictures import drawing

SAMPLE_SCALE = 3    # 768 pixels a side


def redraw_samples(folder: Path, only_check: bool) -> int:
    """Writes each sample that is absent or differs from its drawing (only_check: says so); returns how many differ.

    A picture with the right pixels is left alone: another zlib would pack it into other bytes.
    """
    differ = 0
    for name, truth in json.loads((folder / "truth.json").read_text()).items():
        picture, questions = drawing(truth["seed"], truth["scene"].removesuffix("_scene"), SAMPLE_SCALE)
        path = folder / f"{name}.png"
        if [{"q": q, "a": a} for q, a in questions] != truth["questions"]:
            print(f"{path}: the questions in truth.json are others than the seed's")
            differ += 1
        elif same_picture(path, picture):
            print(f"{path}: the same")
        else:
            differ += 1
            print(f"{path}: {'differs' if only_check else 'drawn'}")
            if not only_check:
                picture.save(path)
    return differ


def same_picture(path: Path, picture: Image.Image) -> bool:
    """Whether the file shows exactly these pixels."""
    if not path.is_file():
        return False
    with Image.open(path) as there:
        return (there.size == picture.size and there.mode == picture.mode
                and ImageChops.difference(there, picture).getbbox() is None)
