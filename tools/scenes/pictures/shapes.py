"""One to six shapes and pictograms, nowhere touching, on a plain ground."""
from __future__ import annotations

import random

from .canvas import SIZE, Box, Canvas, Point
from .palette import COLORS, HAZARDS, SHAPES, THINGS, Rgb, colors_on
from .pictograms import draw
from .questions import Question, Thing, about_things

GROUNDS: list[Rgb] = [(255, 255, 255), (235, 235, 235), (250, 245, 225), (205, 225, 245), (60, 60, 70), (30, 30, 40),
                      (210, 235, 210), (245, 220, 220)]
MARGIN = 4
GAP = 3


def shapes(rng: random.Random, scale: int) -> tuple[Canvas, list[Question]]:
    ground = jittered(rng.choice(GROUNDS), 12, rng)
    canvas = Canvas(ground, scale)
    things: list[Thing] = []
    taken: list[Box] = []
    pool = kinds_to_draw(rng)
    usual = [rng.choice(pool)] if rng.random() < 0.35 else pool    # now and then nearly all are of one kind
    for _ in range(rng.choice([1, 1, 2, 2, 3, 3, 4, 5, 6])):
        big = rng.random() < 0.45
        side = rng.uniform(64, 100) if big else rng.uniform(28, 48)
        at = free_place(side, taken, rng)
        if at is None:
            continue
        kind = rng.choice(usual) if rng.random() < 0.8 else rng.choice(pool)
        color = rng.choice(colors_on(ground))
        box = draw(canvas, kind, jittered(COLORS[color], 14, rng), *at, side, rng)
        canvas.label(kind, color, box)
        taken.append((at[0], at[1], at[0] + side, at[1] + side))
        things.append(Thing(kind, color, box, "large" if big else "small"))
    together = "shapes" if all(t.kind in SHAPES for t in things) else "objects"
    return canvas, about_things(things, rng, together)


def jittered(rgb: Rgb, most: int, rng: random.Random) -> Rgb:
    """The colour with each channel moved by at most `most`."""
    return tuple(max(0, min(255, v + rng.randint(-most, most))) for v in rgb)


def kinds_to_draw(rng: random.Random) -> list[str]:
    """Shapes alone, shapes and things, or with hazards; a kind listed more than once comes more often."""
    drawn = [k for k in THINGS if k != "house"]
    if rng.random() < 0.4:
        return SHAPES
    return SHAPES + drawn * 2 if rng.random() < 0.7 else SHAPES + drawn + HAZARDS * 3


def free_place(side: float, taken: list[Box], rng: random.Random) -> Point | None:
    """A place for a square that touches none of the taken ones, or None after 40 throws."""
    for _ in range(40):
        x, y = rng.uniform(MARGIN, SIZE - side - MARGIN), rng.uniform(MARGIN, SIZE - MARGIN - side)
        if all(x + side + GAP < b[0] or x > b[2] + GAP or y + side + GAP < b[1] or y > b[3] + GAP for b in taken):
            return x, y
    return None
