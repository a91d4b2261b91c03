"""Small pictures of every format with the RGB bytes that Pillow decodes them to, for tests/data/codec.

    python tools/goldens/codec_cases.py        # needs Pillow 13 and numpy

cases.txt has a line for each: file, width, height, CRC-32 of the RGB bytes with alpha laid on white, and with alpha dropped, both
after exif_transpose. frame_cases.txt has a line for each frame of the files with several: file, frame, frames, and the rest as above.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

OUT = Path(__file__).resolve().parents[2] / "tests/data/codec"
rows: list[str] = []
frame_rows: list[str] = []


def scene(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Gradients, edges and noise, uint8 HWC."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    rgb = np.stack([255 * x / max(1, width - 1), 255 * y / max(1, height - 1), 127 + 120 * np.sin(x / 3 + y / 5)], -1)
    rgb[height // 3 : height // 2, width // 4 : width // 2] = (230, 30, 40)
    return np.clip(rgb + rng.normal(0, 12, rgb.shape), 0, 255).astype(np.uint8)


def crcs(image: Image.Image) -> str:
    """Width, height, CRC on white, CRC with alpha dropped."""
    plain = image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
    return f"{image.width} {image.height} {zlib.crc32(white.tobytes())} {zlib.crc32(plain.tobytes())}"


def add(name: str, data: bytes, grey16: bool = False) -> None:
    """`name` has its suffix, or is a PNG or a JPEG."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if grey16:  # the one departure: the high byte, not clipping
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if "." not in name:
        name += ".png" if data[:4] == b"\x89PNG" else ".jpg"
    (OUT / name).write_bytes(data)
    rows.append(f"{name} {crcs(image)}")


def add_frames(name: str, data: bytes) -> None:
    (OUT / name).write_bytes(data)
    frames = Image.open(io.BytesIO(data)).n_frames
    for frame in range(frames):
        image = Image.open(io.BytesIO(data))
        image.seek(frame)
        frame_rows.append(f"{name} {frame} {frames} {crcs(ImageOps.exif_transpose(image))}")


def saved(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def raw_png(width: int, height: int, depth: int, color: int, lines: list[bytes], extra: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    body = zlib.compress(b"".join(b"\0" + line for line in lines), 9)
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def interlaced_png(pixels: np.ndarray, color: int) -> bytes:
    height, width = pixels.shape[:2]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 1))
    data = b""
    for x0, y0, dx, dy in ADAM7:
        part = pixels[y0::dy, x0::dx]
        if part.size:
            data += b"".join(b"\0" + line.tobytes() for line in part)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def tiff(orientation: int, big: bool = False) -> bytes:
    e = ">" if big else "<"
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(e + "I", 8)
    return head + struct.pack(e + "H", 1) + struct.pack(e + "HHIHH", 0x0112, 3, 1, orientation, 0) + struct.pack(e + "I", 0)


def lzw(indices: list[int], bits: int) -> bytes:
    """GIF's LZW without a growing code: the table is cleared before it would grow."""
    clear = 1 << bits
    codes = []
    for i, index in enumerate(indices):
        codes += [clear, index] if i % (clear - 2) == 0 else [index]
    value = size = 0
    for code in [*codes, clear + 1]:
        value |= code << size
        size += bits + 1
    data = value.to_bytes((size + 7) // 8, "little")
    return bytes([bits]) + b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255)) + b"\0"


def random_gif(seed: int, grey: bool = False, outside: bool = False) -> bytes:
    """Frames of random places, palettes, disposals, transparency and interlacing."""
    rng = np.random.default_rng(seed)
    width, height = (int(v) for v in rng.integers(3, 14, 2))

    def palette(bits: int) -> bytes:
        return bytes(i for i in range(1 << bits) for _ in range(3)) if grey else rng.bytes(3 << bits)

    out = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80 | 2, int(rng.integers(8)), 0) + palette(3)
    for frame in range(8):
        flags = int(rng.integers(0, 5)) << 2 | int(rng.random() < 0.6)
        out += b"!\xf9\4" + struct.pack("<BHBB", flags, 5, int(rng.integers(8)), 0)
        w, h = (width, height) if frame == 0 else (int(rng.integers(1, width + 1)), int(rng.integers(1, height + 1)))
        x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
        if outside and frame >= 3:
            x, y = x + frame, y + 2
        local, interlaced = not grey and rng.random() < 0.4, rng.random() < 0.5
        bits = 4 if local else 3
        out += b"," + struct.pack("<HHHHB", x, y, w, h, 0x80 * local | 0x40 * interlaced | bits - 1)
        out += (palette(bits) if local else b"") + lzw([int(v) for v in rng.integers(0, 1 << bits, w * h)], bits)
    return out + b";"


def add_gifs() -> None:
    s = Image.fromarray(scene(29, 19))
    add("rgb.gif", saved(s.convert("P", palette=Image.Palette.ADAPTIVE), "GIF"))
    add("interlaced.gif", saved(s.convert("P", palette=Image.Palette.ADAPTIVE, colors=60), "GIF", interlace=1))
    add("grey.gif", saved(s.convert("L"), "GIF"))
    add("bilevel.gif", saved(s.convert("1"), "GIF"))
    add("transparent.gif", saved(s.convert("P", palette=Image.Palette.ADAPTIVE, colors=16), "GIF", transparency=3))
    for w, h in ((1, 1), (1, 200), (200, 1)):
        add(f"gif_{w}x{h}.gif", saved(Image.fromarray(scene(w, h)).convert("P"), "GIF"))
    frames = [Image.fromarray(scene(31, 23, seed)) for seed in range(5)]
    add_frames("movie.gif", saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=40, disposal=2))
    for seed in range(6):
        add_frames(f"random_{seed}.gif", random_gif(seed))
    add_frames("random_grey.gif", random_gif(6, grey=True))
    add_frames("random_outside.gif", random_gif(9, outside=True))


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    s = Image.fromarray(scene(29, 19))
    alpha = Image.fromarray(rng.integers(0, 256, (19, 29), dtype=np.uint8))
    ramp = np.linspace(0, 255, 29 * 19).astype(np.uint8).reshape(19, 29)

    add("rgb", saved(s, "PNG"))
    add("rgba", saved(Image.merge("RGBA", (*s.split(), alpha)), "PNG"))
    add("grey", saved(s.convert("L"), "PNG"))
    add("la", saved(Image.merge("LA", (s.convert("L"), alpha)), "PNG"))
    add("bilevel", saved(s.convert("1"), "PNG"))
    palette = s.convert("P", palette=Image.Palette.ADAPTIVE, colors=200)
    add("palette", saved(palette, "PNG"))
    add("palette_trns", saved(palette, "PNG", transparency=bytes(rng.integers(0, 256, 200, dtype=np.uint8))))
    for bits in (1, 2, 4):
        add(f"palette_{bits}bit", saved(s.convert("P", palette=Image.Palette.ADAPTIVE, colors=1 << bits), "PNG", bits=bits))
    for bits in (2, 4):
        per = 8 // bits
        values = rng.integers(0, 1 << bits, (11, 13 * per))
        lines = [bytes(int(sum(int(v) << (8 - bits * (i + 1)) for i, v in enumerate(line[j : j + per]))) for j in range(0, len(line), per)) for line in values]
        add(f"grey_{bits}bit", raw_png(13 * per, 11, bits, 0, lines))
    add("grey_trns", raw_png(29, 19, 8, 0, [line.tobytes() for line in ramp], chunk(b"tRNS", struct.pack(">H", 100))))
    rgb = np.asarray(s).copy()
    rgb[4:9, 4:9] = (1, 2, 3)
    add("rgb_trns", raw_png(29, 19, 8, 2, [line.tobytes() for line in rgb], chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))))
    deep = rng.integers(0, 65536, (19, 29), dtype=np.uint16)
    add("grey_16bit", saved(Image.fromarray(deep), "PNG"), grey16=True)
    deep3 = rng.integers(0, 65536, (19, 29, 3)).astype(">u2")
    add("rgb_16bit", raw_png(29, 19, 16, 2, [line.tobytes() for line in deep3]))
    deep4 = rng.integers(0, 65536, (19, 29, 4)).astype(">u2")
    add("rgba_16bit", raw_png(29, 19, 16, 6, [line.tobytes() for line in deep4]))
    deep2 = rng.integers(0, 65536, (19, 29, 2)).astype(">u2")
    add("la_16bit", raw_png(29, 19, 16, 4, [line.tobytes() for line in deep2]))
    add("interlaced_rgb", interlaced_png(np.asarray(s), 2))
    add("interlaced_rgba", interlaced_png(np.asarray(Image.merge("RGBA", (*s.split(), alpha))), 6))
    add("gamma", raw_png(29, 19, 8, 2, [line.tobytes() for line in np.asarray(s)], chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"sRGB", b"\0")))
    for w, h in ((1, 1), (1, 200), (200, 1)):
        add(f"png_{w}x{h}", saved(Image.fromarray(scene(w, h)), "PNG"))
        add(f"jpeg_{w}x{h}", saved(Image.fromarray(scene(w, h)), "JPEG"))

    big = Image.fromarray(scene(61, 43, 3))
    for sub, text in ((0, "444"), (1, "422"), (2, "420")):
        add(f"jpeg_{text}", saved(big, "JPEG", quality=85, subsampling=sub))
        add(f"jpeg_{text}_progressive", saved(big, "JPEG", quality=70, subsampling=sub, progressive=True))
    add("jpeg_keep_rgb", saved(big, "JPEG", quality=90, keep_rgb=True))
    add("jpeg_restart", saved(big, "JPEG", quality=85, restart_marker_blocks=2))
    add("jpeg_grey", saved(big.convert("L"), "JPEG", quality=80))
    add("jpeg_quality5", saved(big, "JPEG", quality=5))
    cmyk = Image.fromarray(np.concatenate([scene(33, 21, 4), scene(33, 21, 5)[..., :1] // 2], -1), "CMYK")
    data = saved(cmyk, "JPEG", quality=90, subsampling=0)
    add("jpeg_cmyk", data)
    at = data.index(b"Adobe") + 11  # transform byte: 0 CMYK, 2 YCCK
    assert data[at] == 0
    add("jpeg_ycck", data[:at] + b"\2" + data[at + 1 :])

    small = Image.fromarray(scene(13, 9, 6))
    for o in range(10):
        add(f"exif_{o}_jpeg", saved(small, "JPEG", quality=90, exif=b"Exif\0\0" + tiff(o, big=o % 2 == 1)))
        png = saved(small, "PNG")
        end = len(png) - 12
        exif = chunk(b"eXIf", tiff(o, big=o % 2 == 0))
        add(f"exif_{o}_png", png[:33] + exif + png[33:] if o < 5 else png[:end] + exif + png[end:])
    add_gifs()
    (OUT / "frame_cases.txt").write_text("\n".join(frame_rows) + "\n")
    (OUT / "cases.txt").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
