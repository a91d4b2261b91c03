"""The things that a scene is made of, each drawn into a square.

A pictogram is a function of a Square; it returns the box it fills where that is not the whole square. Coordinates are
fractions of the square's side. How a coordinate is computed matters to the last bit (a pixel may flip): shapes that
are symmetric count from the centre, as `middle` does.
"""
from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import Callable, Sequence

from .canvas import Box, Canvas, Point
from .palette import Rgb

INK: Rgb = (10, 10, 10)
DARK: Rgb = (20, 20, 20)
EDGE: Rgb = (90, 90, 90)
CHALK: Rgb = (250, 250, 250)
WINDOW: Rgb = (190, 225, 245)
TROUSERS: Rgb = (45, 55, 90)


@dataclass(frozen=True)
class Square:
    """Where a pictogram goes, its colours and the fraction coordinates inside; `flip_about` mirrors left and right."""
    canvas: Canvas
    rng: random.Random
    rgb: Rgb
    outline: Rgb | None
    left: float
    top: float
    side: float
    flip_about: float | None = None

    @property
    def dark(self) -> Rgb:
        return tuple(int(v * 0.55) for v in self.rgb)

    @property
    def center(self) -> Point:
        return self.left + self.side / 2, self.top + self.side / 2

    def middle(self) -> Square:
        """The same square with x counted from its vertical axis: -0.5 to 0.5."""
        return replace(self, left=self.center[0])

    def either_way(self) -> Square:
        """This square or its mirror image, by a throw."""
        return replace(self, flip_about=self.center[0]) if self.rng.random() < 0.5 else self

    def at(self, x: float, y: float) -> Point:
        across = self.left + self.side * x
        if self.flip_about is not None:
            across = 2 * self.flip_about - across
        return across, self.top + self.side * y

    def box(self, x1: float, y1: float, x2: float, y2: float) -> Box:
        (a, top), (b, bottom) = self.at(x1, y1), self.at(x2, y2)
        return min(a, b), top, max(a, b), bottom

    def polygon(self, points: Sequence[Point], fill: Rgb | None = None, outline: Rgb | None = None) -> None:
        self.canvas.polygon([self.at(*p) for p in points], fill or self.rgb, outline)

    def ellipse(self, x1: float, y1: float, x2: float, y2: float, fill: Rgb | None = None,
                outline: Rgb | None = None) -> None:
        self.canvas.ellipse(self.box(x1, y1, x2, y2), fill or self.rgb, outline)

    def rectangle(self, x1: float, y1: float, x2: float, y2: float, fill: Rgb | None = None,
                  outline: Rgb | None = None, radius: float = 0) -> None:
        self.canvas.rectangle(self.box(x1, y1, x2, y2), fill or self.rgb, outline, self.side * radius)

    def line(self, points: Sequence[Point], width: float, fill: Rgb | None = None) -> None:
        self.canvas.line([self.at(*p) for p in points], fill or self.rgb, self.side * width)


def draw(canvas: Canvas, kind: str, rgb: Rgb, x: float, y: float, side: float, rng: random.Random) -> Box:
    """Draws a pictogram into the square at (x, y) and returns the box it fills."""
    outlined = rng.random() < 0.5
    square = Square(canvas, rng, rgb, None, x, y, side)
    if outlined:
        square = replace(square, outline=square.dark)
    return PICTOGRAMS[kind](square) or (x, y, x + side, y + side)


def regular_polygon(center: Point, radius: float, corners: int) -> list[Point]:
    """The corners of a regular polygon, the first to the right of the centre."""
    angles = [2 * math.pi * i / corners for i in range(corners)]
    return [(center[0] + radius * math.cos(a), center[1] + radius * math.sin(a)) for a in angles]


def circle(s: Square) -> None:
    s.ellipse(0, 0, 1, 1, outline=s.outline)


def square(s: Square) -> None:
    s.rectangle(0, 0, 1, 1, outline=s.outline)


def triangle(s: Square) -> None:
    s.polygon([(0.5, 0), (1, 1), (0, 1)], outline=s.outline)


def star(s: Square) -> None:
    cx, cy = s.center
    radii = [s.side / 2 if i % 2 == 0 else s.side / 2 * 0.42 for i in range(10)]
    tips = [(cx + r * math.sin(math.pi * i / 5), cy - r * math.cos(math.pi * i / 5)) for i, r in enumerate(radii)]
    s.canvas.polygon(tips, s.rgb, s.outline)


def hexagon(s: Square) -> None:
    s.canvas.polygon(regular_polygon(s.center, s.side / 2, 6), s.rgb, s.outline)


def diamond(s: Square) -> None:
    s.polygon([(0.5, 0), (0.85, 0.5), (0.5, 1), (0.15, 0.5)], outline=s.outline)


def cross(s: Square) -> None:
    cx, cy = s.center
    arm = s.side * 0.34
    x1, y1, x2, y2 = s.box(0, 0, 1, 1)
    s.canvas.rectangle((cx - arm / 2, y1, cx + arm / 2, y2), s.rgb)
    s.canvas.rectangle((x1, cy - arm / 2, x2, cy + arm / 2), s.rgb)


def heart(s: Square) -> None:
    s.ellipse(0, 0.08, 0.52, 0.58)
    s.ellipse(0.48, 0.08, 1, 0.58)
    s.polygon([(0.04, 0.43), (0.96, 0.43), (0.5, 0.97)])


def bird(s: Square) -> None:
    b = s.either_way()
    legs = (200, 120, 20)
    b.polygon([(0, 0.30), (0.3, 0.5), (0.25, 0.65)], s.dark)                          # tail
    b.ellipse(0.15, 0.35, 0.75, 0.8)                                                  # body
    b.ellipse(0.58, 0.15, 0.88, 0.47)                                                 # head
    b.polygon([(0.86, 0.25), (1, 0.32), (0.86, 0.38)], (245, 160, 30))                # beak
    b.ellipse(0.72, 0.24, 0.78, 0.30, INK)                                            # eye
    b.polygon([(0.3, 0.5), (0.6, 0.5), (0.35, 0.7)], s.dark)                          # wing
    b.line([(0.42, 0.78), (0.42, 1)], 0.04, legs)
    b.line([(0.54, 0.78), (0.54, 1)], 0.04, legs)


def tree(s: Square) -> None:
    s.middle().rectangle(-0.1, 0.55, 0.1, 1, (110, 70, 35))
    if s.rng.random() < 0.5:
        s.ellipse(0.1, 0, 0.9, 0.68)
    else:
        s.polygon([(0.5, 0), (0.9, 0.45), (0.1, 0.45)])
        s.polygon([(0.5, 0.25), (1, 0.75), (0, 0.75)])


def sun(s: Square) -> None:
    cx, cy = s.center
    r = s.side / 2
    for i in range(8):
        angle = math.pi * i / 4
        s.canvas.line([(cx, cy), (cx + r * math.cos(angle), cy + r * math.sin(angle))], s.rgb, s.side * 0.06)
    s.ellipse(0.2, 0.2, 0.8, 0.8)


def car(s: Square) -> Box:
    s.polygon([(0.2, 0.5), (0.32, 0.25), (0.68, 0.25), (0.82, 0.5)])
    s.polygon([(0.3, 0.48), (0.37, 0.31), (0.63, 0.31), (0.72, 0.48)], WINDOW)
    s.rectangle(0, 0.47, 1, 0.72, radius=0.05)
    for x in (0.24, 0.76):
        s.ellipse(x - 0.12, 0.6, x + 0.12, 0.84, (25, 25, 25))
        s.ellipse(x - 0.05, 0.67, x + 0.05, 0.77, (180, 180, 180))
    return s.box(0, 0.25, 1, 0.84)


def cat(s: Square) -> None:
    m = s.middle()
    s.polygon([(0.18, 0.42), (0.22, 0), (0.48, 0.24)])
    s.polygon([(0.82, 0.42), (0.78, 0), (0.52, 0.24)])
    s.ellipse(0.1, 0.15, 0.9, 0.98)
    for x in (0.34, 0.66):
        s.ellipse(x - 0.07, 0.42, x + 0.07, 0.58, (250, 250, 190))
        s.ellipse(x - 0.025, 0.44, x + 0.025, 0.56, INK)
    m.polygon([(-0.05, 0.65), (0.05, 0.65), (0, 0.72)], (240, 120, 140))
    for way in (-1, 1):
        for y in (0.68, 0.76):
            m.line([(way * 0.12, 0.72), (way * 0.42, y)], 0.015, DARK)    # whiskers


def fish(s: Square) -> Box:
    f = s.either_way()
    f.polygon([(0, 0.25), (0.35, 0.5), (0, 0.75)], s.dark)
    f.ellipse(0.22, 0.27, 1, 0.73)
    f.ellipse(0.8, 0.4, 0.87, 0.47, INK)
    return s.box(0, 0.25, 1, 0.75)


def flower(s: Square) -> Box:
    m = s.middle()
    petal = s.side * 0.13
    m.line([(0, 0.4), (0, 1)], 0.06, (30, 130, 50))
    for i in range(6):
        angle = math.pi * i / 3
        x, y = s.center[0] + s.side * 0.2 * math.cos(angle), s.top + s.side * 0.33 + s.side * 0.2 * math.sin(angle)
        s.canvas.ellipse((x - petal, y - petal, x + petal, y + petal), s.rgb)
    m.ellipse(-0.1, 0.23, 0.1, 0.43, (250, 210, 60))
    return m.box(-0.33, 0, 0.33, 1)


def boat(s: Square) -> Box:
    m = s.middle()
    s.polygon([(0, 0.65), (1, 0.65), (0.8, 0.92), (0.2, 0.92)])
    m.line([(0, 0.05), (0, 0.65)], 0.04, (90, 60, 30))
    m.polygon([(0.04, 0.08), (0.42, 0.58), (0.04, 0.58)], CHALK, EDGE)
    return s.box(0, 0.05, 1, 0.92)


def person(s: Square) -> Box:
    m = s.middle()
    m.ellipse(-0.14, 0, 0.14, 0.28, (235, 190, 150))
    m.rectangle(-0.18, 0.28, 0.18, 0.65, radius=0.04)
    m.line([(-0.18, 0.33), (-0.33, 0.58)], 0.08)
    m.line([(0.18, 0.33), (0.33, 0.58)], 0.08)
    m.rectangle(-0.15, 0.65, -0.02, 1, TROUSERS)
    m.rectangle(0.02, 0.65, 0.15, 1, TROUSERS)
    return m.box(-0.36, 0, 0.36, 1)


def cloud(s: Square) -> Box:
    for x, y, r in ((0.25, 0.6, 0.22), (0.5, 0.45, 0.28), (0.75, 0.6, 0.22)):
        s.ellipse(x - r, y - r * 0.8, x + r, y + r * 0.8)
    s.rectangle(0.2, 0.55, 0.8, 0.77)
    return s.box(0, 0.2, 1, 0.78)


def cup(s: Square) -> Box:
    s.ellipse(0.6, 0.3, 0.98, 0.7)
    s.ellipse(0.68, 0.38, 0.9, 0.62, (255, 255, 255))
    s.polygon([(0.1, 0.15), (0.78, 0.15), (0.7, 0.9), (0.18, 0.9)], outline=s.outline)
    s.ellipse(0.1, 0.08, 0.78, 0.22, s.dark)
    return s.box(0.1, 0.08, 0.98, 0.9)


def ball(s: Square) -> None:
    s.ellipse(0, 0, 1, 1, outline=s.dark)
    s.canvas.arc(s.box(-0.35, 0, 0.45, 1), -60, 60, CHALK, s.side * 0.06)
    s.line([(0.02, 0.5), (0.98, 0.5)], 0.06, CHALK)


def key(s: Square) -> Box:
    s.ellipse(0, 0.3, 0.4, 0.7)
    s.ellipse(0.12, 0.42, 0.28, 0.58, (255, 255, 255))
    s.rectangle(0.38, 0.45, 1, 0.55)
    for x in (0.75, 0.9):
        s.rectangle(x, 0.55, x + 0.06, 0.7)
    return s.box(0, 0.3, 1, 0.7)


def knife(s: Square) -> Box:
    s.rectangle(0, 0.46, 0.38, 0.6, (70, 45, 25), radius=0.03)
    s.polygon([(0.38, 0.4), (0.92, 0.4), (1, 0.5), (0.38, 0.6)], outline=EDGE)
    return s.box(0, 0.4, 1, 0.6)


def gun(s: Square) -> Box:
    s.rectangle(0, 0.25, 1, 0.45)
    s.polygon([(0.05, 0.42), (0.3, 0.42), (0.22, 0.85), (0, 0.85)])
    s.line([(0.3, 0.6), (0.45, 0.6), (0.47, 0.44)], 0.04)
    return s.box(0, 0.25, 1, 0.85)


def bomb(s: Square) -> None:
    s.ellipse(0.05, 0.25, 0.8, 1)
    s.rectangle(0.5, 0.18, 0.68, 0.36)
    s.line([(0.6, 0.2), (0.78, 0.05), (0.92, 0.12)], 0.04, (120, 90, 50))
    s.canvas.polygon(regular_polygon(s.at(0.93, 0.12), s.side * 0.08, 5), (250, 170, 30))


def skull(s: Square) -> None:
    m = s.middle()
    s.ellipse(0.1, 0, 0.9, 0.75, outline=(40, 40, 40))
    s.rectangle(0.28, 0.6, 0.72, 0.95, outline=(40, 40, 40))
    for x in (0.34, 0.66):
        s.ellipse(x - 0.12, 0.28, x + 0.12, 0.54, DARK)
    m.polygon([(0, 0.52), (0.06, 0.63), (-0.06, 0.63)], DARK)
    for x in (0.4, 0.5, 0.6):
        s.line([(x, 0.75), (x, 0.95)], 0.02, DARK)


PICTOGRAMS: dict[str, Callable[[Square], Box | None]] = {f.__name__: f for f in (
    circle, square, triangle, star, hexagon, diamond, cross, heart, bird, tree, sun, car, cat, fish, flower, boat,
    person, cloud, cup, ball, key, knife, gun, bomb, skull)}
