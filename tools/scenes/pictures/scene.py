"""A scene from its seed: the picture, the questions with their true answers, and what stands in each patch."""
from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Callable

import numpy as np
from PIL import Image

from .canvas import Canvas
from .chart import chart
from .document import document
from .outdoor import outdoor
from .questions import Question
from .screen import screen
from .shapes import shapes

Drawer = Callable[[random.Random, int], tuple[Canvas, list[Question]]]
DRAWERS: dict[str, Drawer] = {f.__name__: f for f in (shapes, outdoor, chart, screen, document)}
MIX = {"shapes": 0.40, "outdoor": 0.22, "document": 0.18, "chart": 0.08, "screen": 0.12}
WORN_SCALE = 2    # worn pictures are drawn at twice their size and reduced


@dataclass
class Scene:
    image: np.ndarray           # [256, 256, 3] bytes
    questions: list[Question]
    kind: np.ndarray            # [16, 16]: place in palette.LABELS
    color: np.ndarray           # [16, 16]: place in palette.COLORS + 1, 0 = none
    box: np.ndarray             # [16, 16, 4]: x1, y1, x2, y2 of what stands there, 0 to 1


def scene(seed: int, kind: str | None = None) -> Scene:
    """The scene of a seed as models are trained and examined: 256 x 256, worn. Without a kind, the mix chooses."""
    rng = random.Random(seed)
    if kind is None:
        kind = rng.choices(list(MIX), list(MIX.values()))[0]
    canvas, questions = DRAWERS[kind](rng, WORN_SCALE)
    image = canvas.worn(rng, np.random.RandomState(seed & 0x7FFFFFFF))
    return Scene(image, questions, *canvas.patch_labels())


def drawing(seed: int, kind: str, scale: int) -> tuple[Image.Image, list[Question]]:
    """The scene of a seed without wear, 256 * scale pixels a side.

    Letters keep to whole pixels, so that a box around text may differ a little from one scale to another.
    """
    canvas, questions = DRAWERS[kind](random.Random(seed), scale)
    return canvas.image, questions
