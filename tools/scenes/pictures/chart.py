"""A bar chart of two to five bars, each a whole number from 1 to 10, on a scale from 0 to 10."""
from __future__ import annotations

import random

from .canvas import SANS, SANS_BOLD, Canvas
from .palette import COLORS, Rgb
from .questions import Question

AXIS: Rgb = (40, 40, 40)
AXIS_X, AXIS_Y, AXIS_END = 34, 218, 250
FULL_HEIGHT = 176    # of a bar of 10


def chart(rng: random.Random, scale: int) -> tuple[Canvas, list[Question]]:
    canvas = Canvas((255, 255, 255), scale)
    n = rng.randint(2, 5)
    names = sorted(rng.sample("ABCDEFGH", n))
    values = rng.sample(range(1, 11), n)
    inks = [c for c in COLORS if c != "white"]
    one_color = rng.choice(inks)
    many_colors = rng.random() < 0.4
    draw_axes(canvas)
    asked: list[Question] = []
    step = 210 / n
    for i, (name, value) in enumerate(zip(names, values)):
        color = rng.choice(inks) if many_colors else one_color
        bar = (AXIS_X + 6 + i * step, AXIS_Y - value * FULL_HEIGHT / 10, AXIS_X + i * step + step * 0.78, AXIS_Y)
        canvas.rectangle(bar, COLORS[color])
        canvas.label("bar", color, bar)
        canvas.text((bar[0] + bar[2]) / 2 - 8, AXIS_Y + 5, name, 22, (20, 20, 20), SANS_BOLD)
        if rng.random() < 0.5:
            asked.append(Question(f"What is the value of {name}?", str(value)))
    i = rng.randrange(n)
    bars = ", ".join(f"{name} is {value}" for name, value in zip(names, values))
    ask_tallest = rng.choice(["Which bar is the tallest?", "Which bar is the highest?"])
    asked += [
        Question(ask_tallest, names[values.index(max(values))]),
        Question("Which bar is the shortest?", names[values.index(min(values))]),
        Question("How many bars are there?", str(n)),
        Question(f"What is the value of {names[i]}?", str(values[i])),
        Question("What is the highest value?", str(max(values))),
        Question("Describe the image.", f"A bar chart with {n} bars: {bars}."),
        Question("What kind of image is this?", "A bar chart")]
    return canvas, asked


def draw_axes(canvas: Canvas) -> None:
    canvas.line([(AXIS_X, 20), (AXIS_X, AXIS_Y), (AXIS_END, AXIS_Y)], AXIS, 1.5)
    for value in range(0, 11, 2):
        y = AXIS_Y - value * FULL_HEIGHT / 10
        canvas.line([(AXIS_X - 4, y), (AXIS_X, y)], AXIS, 1)
        canvas.text(AXIS_X - (26 if value == 10 else 16), y - 8, str(value), 13, AXIS, SANS)
