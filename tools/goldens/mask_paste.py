"""Pastes a mask whose values lie on both sides of 0, as big_vision's evaluator does: Pillow resizes it as floats.

    python tools/goldens/mask_paste.py tests     # writes data/mask_paste/pillow.safetensors there

The mask is the second of families/paligemma_masks/decode.safetensors less 0.21: no resized value is nearer to 0 than
1e-5, so rounding decides no pixel. Needs numpy and Pillow 13."""

import json
import pathlib
import struct
import sys

import numpy as np
from PIL import Image

BOXES = {"wide": (11, 39, 71, 151), "small": (3, 5, 40, 24)}  # y1, x1, y2, x2
TYPES = {"float32": "F32", "uint8": "U8", "int64": "I64"}


def read(path, tensor):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8 : 8 + length])[tensor]
    begin, end = (8 + length + offset for offset in entry["data_offsets"])
    return np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])


def write(path, tensors):
    header, data = {}, b""
    for name, tensor in tensors.items():
        offsets = [len(data), len(data) + tensor.nbytes]
        header[name] = {"dtype": TYPES[tensor.dtype.name], "shape": tensor.shape, "data_offsets": offsets}
        data += tensor.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    tests = pathlib.Path(sys.argv[1])
    mask = read(tests / "families/paligemma_masks/decode.safetensors", "masks")[1] - np.float32(0.21)
    tensors = {"mask": mask}
    for name, (y1, x1, y2, x2) in BOXES.items():
        resized = np.asarray(Image.fromarray(mask).resize((x2 - x1, y2 - y1), Image.Resampling.BILINEAR))
        assert np.abs(resized).min() > 1e-5
        canvas = np.zeros((80, 160), np.uint8)
        canvas[y1:y2, x1:x2] = resized > 0
        tensors |= {name: canvas, name + "_box": np.array(BOXES[name])}
    write(tests / "data/mask_paste/pillow.safetensors", tensors)


main()
