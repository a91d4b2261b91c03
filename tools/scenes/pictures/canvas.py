"""The picture being drawn, in units of a 256 x 256 picture whatever its real size, and what stands where in it."""
from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path
from typing import Sequence

import numpy as np
import PIL
from PIL import Image, ImageDraw, ImageFilter, ImageFont, features

from .palette import COLORS, LABELS, Rgb

SIZE = 256       # width and height of every scene in its own units
PATCH_PX = 16    # labels are read at the centres of patches of this size

Point = tuple[float, float]
Box = tuple[float, float, float, float]    # x1, y1, x2, y2

FONT_ROOT = Path("/usr/share/fonts/truetype")
FONTS = ["dejavu/DejaVuSans.ttf", "dejavu/DejaVuSans-Bold.ttf", "dejavu/DejaVuSerif.ttf",
         "liberation/LiberationSans-Regular.ttf", "liberation/LiberationSerif-Regular.ttf",
         "liberation/LiberationMono-Bold.ttf"]
SANS, SANS_BOLD = 0, 1    # places in FONTS
LEAST_PILLOW = (11, 3)    # 9.4 and 10.4 were seen to place some pixels elsewhere


def missing_fonts() -> list[str]:
    """The font files that a scene may need and this machine lacks."""
    return [str(FONT_ROOT / name) for name in FONTS if not (FONT_ROOT / name).is_file()]


def why_inexact() -> str | None:
    """Why this machine may place pixels or letters elsewhere than others do; None when it does not."""
    if tuple(int(v) for v in PIL.__version__.split(".")[:2]) < LEAST_PILLOW:
        return f"Pillow is {PIL.__version__}, before {LEAST_PILLOW[0]}.{LEAST_PILLOW[1]}"
    if not features.check("raqm"):
        return "Pillow finds no Raqm to lay out text (apt install libfribidi0)"
    return None


@lru_cache(maxsize=256)
def font(height_px: int, which: int) -> ImageFont.FreeTypeFont:
    """The font at place `which` of FONTS, height_px pixels high."""
    return ImageFont.truetype(str(FONT_ROOT / FONTS[which]), height_px)


class Canvas:
    """A picture of scale * 256 pixels a side; every length and place that its methods take is in 256ths of the side."""

    def __init__(self, background: Rgb, scale: int) -> None:
        self.scale = scale
        self.image = Image.new("RGB", (SIZE * scale, SIZE * scale), background)
        self._pen = ImageDraw.Draw(self.image)
        self._kind = np.zeros((SIZE, SIZE), np.uint8)
        self._color = np.zeros((SIZE, SIZE), np.uint8)
        self._box = np.zeros((SIZE, SIZE, 4), np.float32)

    def polygon(self, points: Sequence[Point], fill: Rgb, outline: Rgb | None = None) -> None:
        self._pen.polygon(self._scaled(points), fill=fill, outline=outline)

    def ellipse(self, box: Box, fill: Rgb, outline: Rgb | None = None) -> None:
        self._pen.ellipse([v * self.scale for v in box], fill=fill, outline=outline)

    def rectangle(self, box: Box, fill: Rgb, outline: Rgb | None = None, radius: float = 0) -> None:
        self._pen.rounded_rectangle([v * self.scale for v in box], radius=radius * self.scale, fill=fill,
                                    outline=outline)

    def line(self, points: Sequence[Point], fill: Rgb, width: float) -> None:
        self._pen.line(self._scaled(points), fill=fill, width=max(1, int(width * self.scale)), joint="curve")

    def arc(self, box: Box, start_deg: float, end_deg: float, fill: Rgb, width: float) -> None:
        self._pen.arc([v * self.scale for v in box], start_deg, end_deg, fill=fill, width=int(width * self.scale) + 1)

    def text(self, x: float, y: float, words: str, height: int, fill: Rgb, which_font: int) -> Box:
        """Writes words with their top left at (x, y); returns the box of the ink."""
        face = font(height * self.scale, which_font)
        self._pen.text((x * self.scale, y * self.scale), words, font=face, fill=fill)
        left, top, right, bottom = face.getbbox(words)
        return x + left / self.scale, y + top / self.scale, x + right / self.scale, y + bottom / self.scale

    def text_width(self, words: str, height: int, which_font: int) -> float:
        return font(height * self.scale, which_font).getlength(words) / self.scale

    def label(self, kind: str, color: str, box: Box) -> None:
        """Notes that a thing of this kind and colour ("" = none) fills the box; later things cover earlier ones."""
        x1, y1, x2, y2 = [int(max(0, min(SIZE, v))) for v in box]
        self._kind[y1:y2, x1:x2] = LABELS.index(kind)
        self._color[y1:y2, x1:x2] = list(COLORS).index(color) + 1 if color in COLORS else 0
        self._box[y1:y2, x1:x2] = np.array(box, np.float32) / SIZE

    def patch_labels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Kind [16, 16], colour [16, 16] (0 = none) and box [16, 16, 4] (0 to 1) at the centre of each patch."""
        middle = slice(PATCH_PX // 2, None, PATCH_PX)
        return self._kind[middle, middle].copy(), self._color[middle, middle].copy(), self._box[middle, middle].copy()

    def worn(self, rng: random.Random, noise: np.random.RandomState) -> np.ndarray:
        """The picture at 256 x 256 with some blur, noise and another exposure, as models are trained and examined."""
        small = self.image.resize((SIZE, SIZE), Image.Resampling.BOX)
        if rng.random() < 0.3:
            small = small.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8)))
        pixels = np.asarray(small).astype(np.int16)
        if rng.random() < 0.5:
            pixels = pixels + noise.randint(-6, 7, pixels.shape, np.int16) * rng.randint(1, 2)
        if rng.random() < 0.4:
            pixels = (pixels.astype(np.float32) * rng.uniform(0.85, 1.1) + rng.uniform(-10, 10)).astype(np.int16)
        return np.clip(pixels, 0, 255).astype(np.uint8)

    def _scaled(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.scale, y * self.scale) for x, y in points]
