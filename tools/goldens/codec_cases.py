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


def add_webps() -> None:
    rng = np.random.default_rng(8)
    s = Image.fromarray(scene(61, 43, 3))
    rgba = Image.merge("RGBA", (*s.split(), Image.fromarray(rng.integers(0, 256, (43, 61), dtype=np.uint8))))
    add("lossy.webp", saved(s, "WEBP", quality=70))
    add("lossy_low.webp", saved(s, "WEBP", quality=5))
    add("lossless.webp", saved(s, "WEBP", lossless=True))
    add("lossless_palette.webp", saved(s.quantize(9).convert("RGB"), "WEBP", lossless=True))
    add("lossy_alpha.webp", saved(rgba, "WEBP", quality=80))
    add("lossless_alpha.webp", saved(rgba, "WEBP", lossless=True, exact=True))
    for w, h in ((1, 1), (1, 200), (200, 1)):
        add(f"webp_{w}x{h}.webp", saved(Image.fromarray(scene(w, h)), "WEBP", lossless=True))
    for o in (0, 3, 6, 9):
        add(f"exif_{o}.webp", saved(Image.fromarray(scene(13, 9, 6)), "WEBP", lossless=True, exif=tiff(o, big=o % 2 == 1)))
    frames = [Image.fromarray(scene(31, 23, seed)) for seed in range(4)]
    add_frames("movie.webp", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=40, quality=60))
    frames = []
    for i in range(5):  # parts that come and go on a transparent canvas
        frame = Image.new("RGBA", (33, 21), (0, 0, 0, 0))
        frame.paste(Image.fromarray(scene(12, 9, i)), (4 * i, 2 * i))
        frame.putpixel((32, 20), (10 * i, 0, 0, 100))
        frames.append(frame)
    add_frames("sprite.webp", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=40, lossless=True))


def bmp(width: int, height: int, bits: int, data: bytes, compression: int = 0, palette: bytes = b"", masks: bytes = b"", size: int = 40, colors: int = 0) -> bytes:
    header = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, compression, len(data), 0, 0, colors, 0)
    if size == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    if size > 40:
        header += masks.ljust(size - 40, b"\0")
        masks = b""
    at = 14 + len(header) + len(masks) + len(palette)
    return b"BM" + struct.pack("<IHHI", at + len(data), 0, 0, at) + header + masks + palette + data


def add_bmps() -> None:
    rng = np.random.default_rng(10)
    s = Image.fromarray(scene(29, 19))
    add("rgb.bmp", saved(s, "BMP"))
    add("grey.bmp", saved(s.convert("L"), "BMP"))
    add("bilevel.bmp", saved(s.convert("1"), "BMP"))
    add("palette.bmp", saved(s.convert("P", palette=Image.Palette.ADAPTIVE), "BMP"))
    add("rgba.bmp", saved(Image.merge("RGBA", (*s.split(), s.getchannel(0))), "BMP"))
    for w, h in ((1, 1), (1, 200), (200, 1)):
        add(f"bmp_{w}x{h}.bmp", saved(Image.fromarray(scene(w, h)), "BMP"))

    def rows(bits: int, height: int = 11, width: int = 13) -> bytes:
        return rng.bytes(((width * bits + 31) // 32 * 4) * height)

    for bits in (1, 4, 8):
        palette = rng.bytes(4 << bits)
        add(f"index_{bits}.bmp", bmp(13, 11, bits, rows(bits), palette=palette))
        add(f"index_{bits}_top_down.bmp", bmp(13, -11, bits, rows(bits), palette=palette))
        add(f"index_{bits}_os2.bmp", bmp(13, 11, bits, rows(bits), palette=rng.bytes(3 << bits), size=12))
    add("index_8_of_100.bmp", bmp(13, 11, 8, bytes(v % 100 for v in rows(8)), palette=rng.bytes(400), colors=100))
    add("rgb_os2.bmp", bmp(13, 11, 24, rows(24), size=12))
    add("bits_15.bmp", bmp(13, 11, 16, rows(16)))
    add("bits_32.bmp", bmp(13, -11, 32, rows(32)))
    words = lambda *values: struct.pack(f"<{len(values)}I", *values)
    add("fields_565.bmp", bmp(13, 11, 16, rows(16), 3, masks=words(0xF800, 0x7E0, 0x1F)))
    add("fields_555.bmp", bmp(13, 11, 16, rows(16), 3, masks=words(0x7C00, 0x3E0, 0x1F), size=52))
    add("fields_24.bmp", bmp(13, 11, 24, rows(24), 3, masks=words(0xFF0000, 0xFF00, 0xFF)))
    add("fields_bgrx.bmp", bmp(13, 11, 32, rows(32), 3, masks=words(0xFF000000, 0xFF0000, 0xFF00)))
    add("fields_bgra.bmp", bmp(13, 11, 32, rows(32), 3, masks=words(0xFF0000, 0xFF00, 0xFF, 0xFF000000), size=108))
    add("fields_rgba.bmp", bmp(13, 11, 32, rows(32), 3, masks=words(0xFF, 0xFF00, 0xFF0000, 0xFF000000), size=124))
    add("fields_none.bmp", bmp(13, 11, 32, rows(32), 3, masks=words(0, 0, 0, 0), size=56))
    for bits, name in ((8, "rle8"), (4, "rle4")):
        for top_down in (False, True):
            data = b""
            for y in range(11):
                left = 13
                while left > 0:
                    kind = rng.integers(3)
                    count = int(rng.integers(1, left + 1))
                    if kind == 0 and count >= 3:  # plain
                        size = count if bits == 8 else (count + 1) // 2
                        data += bytes([0, count]) + rng.bytes(size) + b"\0" * (size % 2)
                    elif kind == 1 and y < 10:  # a step to the right
                        data += bytes([0, 2, count, 0])
                    else:
                        data += bytes([count]) + rng.bytes(1)
                    left -= count
                data += b"\0\0"
            add(f"{name}{'_top_down' * top_down}.bmp", bmp(13, -11 if top_down else 11, bits, data + b"\0\1", 1 if bits == 8 else 2, palette=rng.bytes(4 << bits)))


def add_ppms() -> None:
    rng = np.random.default_rng(11)
    s = Image.fromarray(scene(29, 19))
    for kind, mode in (("ppm", "RGB"), ("pgm", "L"), ("pbm", "1")):
        add(f"plain_bytes.{kind}", saved(s.convert(mode), "PPM"))
    for w, h in ((1, 1), (1, 200), (200, 1)):
        add(f"ppm_{w}x{h}.ppm", saved(Image.fromarray(scene(w, h)), "PPM"))
    words = lambda top, count: " ".join(str(v) for v in rng.integers(0, top + 1, count)).encode()
    add("text.pbm", b"P1\n# a comment\n13 11\n" + bytes(rng.choice([48, 49, 32, 10], 400).tolist()) + b"# more\n" + b"1" * 143)
    add("text.pgm", b"P2 13 # width\n11\n100\n" + words(100, 143) + b"\n")
    add("text.ppm", b"P3\n13 11 31\n" + words(31, 60) + b"\n#between\n" + words(31, 369))
    add("deep_text.ppm", b"P3 13 11 1000\n" + words(1000, 429))
    for top in (1, 7, 100, 254):
        add(f"top_{top}.pgm", b"P5 13 11 %d\n" % top + rng.bytes(143))
        add(f"top_{top}.ppm", b"P6 13 11 %d\n" % top + rng.bytes(429))
    for top in (256, 1023, 65535):
        add(f"top_{top}.ppm", b"P6 13 11 %d\n" % top + rng.integers(0, top + 1, 429).astype(">u2").tobytes())
        add(f"top_{top}.pgm", b"P5 13 11 %d\n" % top + rng.integers(0, top + 1, 143).astype(">u2").tobytes(), grey16=True)


def tiff_file(pages: list[tuple[dict, list[bytes]]], big_endian: bool = False, wide: bool = False) -> bytes:
    """Pages of tags (number: values, or bytes) and strips or tiles; wide: with 64-bit offsets."""
    e = ">" if big_endian else "<"
    mark = b"MM" if big_endian else b"II"
    out = bytearray(mark + (struct.pack(e + "HHHQ", 43, 8, 0, 0) if wide else struct.pack(e + "HI", 42, 0)))
    link = len(out) - (8 if wide else 4)
    offset = "Q" if wide else "I"
    for tags, parts in pages:
        tags = dict(tags)
        tiled = 322 in tags
        places = []
        for part in parts:
            places.append(len(out))
            out += part + b"\0" * (len(part) % 2)
        tags[324 if tiled else 273] = places
        tags[325 if tiled else 279] = [len(part) for part in parts]
        entries = []
        for tag, values in sorted(tags.items()):
            kind = "I" if tag in (273, 279, 324, 325) else "H"
            data = values if isinstance(values, bytes) else struct.pack(f"{e}{len(values)}{kind}", *values)
            number, count = (1, len(values)) if isinstance(values, bytes) else (4 if kind == "I" else 3, len(values))
            if len(data) > (8 if wide else 4):
                at = len(out)
                out += data + b"\0" * (len(data) % 2)
                data = struct.pack(e + offset, at)
            entries.append(struct.pack(f"{e}HH{offset}", tag, number, count) + data.ljust(8 if wide else 4, b"\0"))
        struct.pack_into(e + offset, out, link, len(out))
        out += struct.pack(e + ("Q" if wide else "H"), len(entries)) + b"".join(entries)
        link = len(out)
        out += struct.pack(e + offset, 0)
    return bytes(out)


def tiff_page(pixels: np.ndarray, photometric: int, big_endian: bool = False, tile: int = 0, rows: int = 4, planar: bool = False, deflate: bool = False, tags: dict | None = None) -> tuple[dict, list[bytes]]:
    """[height, width, samples] of u8, u16, i16, u32, i32 or f32."""
    height, width, samples = pixels.shape
    form = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    pixels = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<"))
    parts = []
    for plane in [pixels[..., i : i + 1] for i in range(samples)] if planar else [pixels]:
        if tile:
            padded = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)))
            parts += [padded[y : y + tile, x : x + tile].tobytes() for y in range(0, height, tile) for x in range(0, width, tile)]
        else:
            parts += [plane[y : y + rows].tobytes() for y in range(0, height, rows)]
    if deflate:
        parts = [zlib.compress(part, 9) for part in parts]
    found = {256: [width], 257: [height], 258: [pixels.dtype.itemsize * 8] * samples, 259: [8 if deflate else 1], 262: [photometric], 277: [samples], 284: [2 if planar else 1], 339: [form] * samples}
    found |= {322: [tile], 323: [tile]} if tile else {278: [rows]}
    return found | (tags or {}), parts


def add_tiffs() -> None:
    rng = np.random.default_rng(12)
    s = Image.fromarray(scene(29, 19))
    array = np.asarray(s)
    alpha = rng.integers(0, 256, (19, 29, 1), dtype=np.uint8)
    four = np.concatenate([array, alpha], -1)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma", "zstd"):
        add(f"rgb_{compression.removeprefix('tiff_')}.tif", saved(s, "TIFF", compression=compression))
    add("group4.tif", saved(s.convert("1"), "TIFF", compression="group4"))
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "F", "I"):
        image = Image.fromarray(four, "RGBA") if mode == "RGBA" else s.convert(mode)
        add(f"mode_{mode.lower()}.tif", saved(image, "TIFF", compression="tiff_lzw"))
    add("jpeg_ycbcr.tif", saved(s, "TIFF", compression="jpeg", quality=85))
    add("jpeg_grey.tif", saved(s.convert("L"), "TIFF", compression="jpeg", quality=85))
    add("ycbcr_lzw.tif", saved(s.convert("YCbCr"), "TIFF", compression="tiff_lzw"))
    raw = saved(s.convert("YCbCr"), "TIFF")  # converted by Pillow's own tables: not equal but close, see tiff_test.cpp
    (OUT / "ycbcr_raw.tif").write_bytes(raw)
    add("ycbcr_raw_as_pillow.ppm", saved(Image.open(io.BytesIO(raw)).convert("RGB"), "PPM"))
    for o in range(10):
        add(f"exif_{o}.tif", saved(Image.fromarray(scene(13, 9, 6)), "TIFF", tiffinfo={274: o}))
    for w, h in ((1, 1), (1, 200), (200, 1)):
        add(f"tiff_{w}x{h}.tif", saved(Image.fromarray(scene(w, h)), "TIFF"))
    pages = [Image.fromarray(scene(20 + i, 12 + 2 * i, i)).convert(mode) for i, mode in enumerate(("RGB", "L", "1", "CMYK"))]
    add_frames("pages.tif", saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw"))

    def one(name: str, *args, grey16: bool = False, big_endian: bool = False, wide: bool = False, **options) -> None:
        add(f"{name}.tif", tiff_file([tiff_page(*args, big_endian=big_endian, **options)], big_endian, wide), grey16)

    for big_endian, end in ((False, "le"), (True, "be")):
        one(f"rgb_{end}", array, 2, big_endian=big_endian)
        one(f"deep_grey_{end}", rng.integers(0, 65536, (19, 29, 1), dtype=np.uint16), 1, big_endian=big_endian, grey16=True)
        one(f"deep_rgb_{end}", rng.integers(0, 65536, (19, 29, 3), dtype=np.uint16), 2, big_endian=big_endian, deflate=True)
        one(f"deep_rgba_{end}", rng.integers(0, 65536, (19, 29, 4), dtype=np.uint16), 2, big_endian=big_endian, tags={338: [2]})
        one(f"float_{end}", rng.uniform(-100, 400, (19, 29, 1)).astype(np.float32), 1, big_endian=big_endian)
        one(f"signed_{end}", rng.integers(-300, 600, (19, 29, 1), dtype=np.int16), 1, big_endian=big_endian)
        one(f"signed_32_{end}", rng.integers(-300, 600, (19, 29, 1), dtype=np.int32), 1, big_endian=big_endian)
    one("deep_cmyk", rng.integers(0, 65536, (19, 29, 4), dtype=np.uint16), 5)
    one("float_deflate", rng.uniform(-100, 400, (19, 29, 1)).astype(np.float32), 1, deflate=True)
    one("float_odd", np.array([np.nan, np.inf, -np.inf, 254.99, 255, 0.5, -0.0, 1e30], np.float32).reshape(1, 8, 1), 1)
    one("tiles_rgb", array, 2, tile=16)
    one("tiles_rgba", four, 2, tile=16, deflate=True, tags={338: [2]})
    one("tiles_planar", array, 2, tile=16, planar=True)
    one("planar", array, 2, planar=True, deflate=True)
    one("planar_rgba", four, 2, planar=True, tags={338: [2]})
    one("wide", array, 2, wide=True)
    one("wide_tiles", array, 2, wide=True, tile=16, deflate=True)
    one("rgb_extra", four, 2, tags={338: [0]})
    one("rgb_no_extra_tag", four, 2)
    one("rgb_premultiplied", four, 2, tags={338: [1]})
    one("grey_alpha", four[..., 2:], 1, tags={338: [2]})
    one("grey_extra", four[..., 2:], 1, tags={338: [0]})
    one("white_is_zero", alpha, 0)
    one("one_strip", array, 2, rows=19, deflate=True)
    palette = {320: [int(v) for v in rng.integers(0, 65536, 768)]}
    one("palette_16bit_entries", alpha, 3, tags=palette)
    for bits in (1, 2, 4):
        row = (29 * bits + 7) // 8
        for photometric, name in ((0, "white"), (1, "black"), (3, "palette")):
            tags = {256: [29], 258: [bits]} | ({320: palette[320][: 3 << bits]} if photometric == 3 else {})
            one(f"small_{bits}_{name}", rng.integers(0, 256, (19, row, 1), dtype=np.uint8), photometric, tags=tags)
    one("fill_order", rng.integers(0, 256, (19, 4, 1), dtype=np.uint8), 1, tags={256: [29], 258: [1], 266: [2]})


def add_large() -> None:
    """Grey pictures that just fit into 256 MiB with what their decoders hold; not in cases.txt."""
    sizes = {"gif": 8000, "webp": 5700, "tif": 6500, "avif": 6500}
    options = {"webp": {"lossless": True, "method": 0}, "tif": {"compression": "zstd", "strip_size": 1 << 30}, "avif": {"speed": 10, "quality": 30}}
    medium = Image.new("RGB", (3900, 3900), (77, 77, 77))  # the largest for libaom
    (OUT / "medium.avif").write_bytes(saved(medium, "AVIF", **options["avif"]))
    for kind, edge in sizes.items():
        image = Image.new("L" if kind == "gif" else "RGB", (edge, edge), 77 if kind == "gif" else (77, 77, 77))
        (OUT / f"large.{kind}").write_bytes(saved(image, {"tif": "TIFF"}.get(kind, kind.upper()), **options.get(kind, {})))


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def boxes_of(data: bytes) -> dict[bytes, bytes]:
    """The bodies of a run of boxes, by kind."""
    found = {}
    while data:
        size = int.from_bytes(data[:4], "big")
        found[data[4:8]] = data[8:size]
        data = data[size:]
    return found


def avif_grid(width: int, height: int) -> bytes:
    """2 x 2 pictures of 64 x 64, cut to width x height."""
    tiles, properties = [], {}
    for seed in range(4):
        found = boxes_of(saved(Image.fromarray(scene(64, 64, seed)), "AVIF", quality=80, subsampling="4:4:4"))
        tiles.append(found[b"mdat"])
        properties = boxes_of(boxes_of(boxes_of(found[b"meta"][4:])[b"iprp"])[b"ipco"])
    ispe = lambda w, h: box(b"ispe", struct.pack(">III", 0, w, h))
    shared = b"".join(box(kind, properties[kind]) for kind in (b"av1C", b"pixi", b"colr"))
    ipco = box(b"ipco", ispe(width, height) + ispe(64, 64) + shared)
    uses = {1: (1, 4, 5)} | {item: (2, 3, 4, 5) for item in range(2, 6)}
    ipma = box(b"ipma", struct.pack(">II", 0, 5) + b"".join(struct.pack(">HB", item, len(of)) + bytes(of) for item, of in uses.items()))
    infe = lambda item, kind: box(b"infe", struct.pack(">IHH4sB", 2 << 24, item, 0, kind, 0))
    iinf = box(b"iinf", struct.pack(">IH", 0, 5) + infe(1, b"grid") + b"".join(infe(item, b"av01") for item in range(2, 6)))
    iref = box(b"iref", struct.pack(">I", 0) + box(b"dimg", struct.pack(">6H", 1, 4, 2, 3, 4, 5)))
    data = [struct.pack(">BBBBHH", 0, 0, 1, 1, width, height), *tiles]
    ftyp = box(b"ftyp", b"avif" + struct.pack(">I", 0) + b"avifmif1miaf")

    def meta(start: int) -> bytes:
        places = b""
        for item, part in enumerate(data, 1):
            places += struct.pack(">HHHII", item, 0, 1, start, len(part))
            start += len(part)
        iloc = box(b"iloc", struct.pack(">IBBH", 0, 0x44, 0, 5) + places)
        hdlr = box(b"hdlr", struct.pack(">II4s12sB", 0, 0, b"pict", b"", 0))
        return box(b"meta", b"\0\0\0\0" + hdlr + box(b"pitm", struct.pack(">IH", 0, 1)) + iloc + iinf + iref + box(b"iprp", ipco + ipma))

    return ftyp + meta(len(ftyp) + len(meta(0)) + 8) + box(b"mdat", b"".join(data))


def add_avifs() -> None:
    rng = np.random.default_rng(13)
    s = Image.fromarray(scene(61, 43, 3))
    rgba = Image.merge("RGBA", (*s.split(), Image.fromarray(rng.integers(0, 256, (43, 61), dtype=np.uint8))))
    for subsampling in ("4:4:4", "4:2:2", "4:2:0", "4:0:0"):
        for values in ("full", "limited"):
            name = f"yuv_{subsampling.replace(':', '')}_{values}.avif"
            add(name, saved(s, "AVIF", quality=80, subsampling=subsampling, range=values))
    add("rgba.avif", saved(rgba, "AVIF", quality=90, subsampling="4:4:4"))
    add("rgba_420.avif", saved(rgba, "AVIF", quality=90, subsampling="4:2:0"))
    for w, h in ((1, 1), (1, 200), (200, 1)):
        add(f"avif_{w}x{h}.avif", saved(Image.fromarray(scene(w, h)), "AVIF", subsampling="4:4:4"))
    for o in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = o
        add(f"exif_{o}.avif", saved(Image.fromarray(scene(13, 9, 6)), "AVIF", quality=90, subsampling="4:4:4", exif=exif))
    frames = [Image.fromarray(scene(31, 23, seed)) for seed in range(4)]
    add("grid.avif", avif_grid(128, 96))
    add_frames("movie.avif", saved(frames[0], "AVIF", save_all=True, append_images=frames[1:], duration=40, subsampling="4:4:4"))


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
    add_webps()
    add_bmps()
    add_ppms()
    add_tiffs()
    add_avifs()
    add_large()
    (OUT / "frame_cases.txt").write_text("\n".join(frame_rows) + "\n")
    (OUT / "cases.txt").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
