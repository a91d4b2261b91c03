"""A sheet of paper with a receipt, a few words or strings without meaning."""
from __future__ import annotations

import random

from .canvas import FONTS, SIZE, Canvas
from .palette import GOODS, LETTERS_AND_DIGITS, MENU_WORDS, Rgb
from .questions import Question

PAPERS: list[Rgb] = [(255, 255, 255), (252, 250, 240), (240, 240, 245)]
INKS: list[Rgb] = [(15, 15, 15), (30, 30, 90), (60, 20, 20)]


def document(rng: random.Random, scale: int) -> tuple[Canvas, list[Question]]:
    paper, ink = rng.choice(PAPERS), rng.choice(INKS)
    canvas = Canvas(paper, scale)
    which_font = rng.randrange(len(FONTS))
    height = rng.choice([18, 20, 22, 24])
    y, x = rng.uniform(8, 26), rng.uniform(8, 24)
    style = rng.random()
    asked: list[Question] = []
    if style < 0.45:
        lines, asked = receipt(rng)
    elif style < 0.7:
        lines = [" ".join(rng.sample(MENU_WORDS + GOODS, rng.randint(1, 2))) for _ in range(rng.randint(1, 4))]
    else:
        lines = ["".join(rng.choice(LETTERS_AND_DIGITS) for _ in range(rng.randint(3, 8)))
                 for _ in range(rng.randint(1, 3))]
        height = rng.choice([22, 26, 30, 34])
    widest = max(canvas.text_width(line, height, which_font) for line in lines)
    if widest > SIZE - x - 4:    # too wide for the sheet: smaller letters, from the left edge
        x, height = 6, max(12, int(height * (SIZE - 12) / max(widest, SIZE - 12)))
    for line in lines:
        canvas.label("text", "", canvas.text(x, y, line, height, ink, which_font))
        y += height * rng.uniform(1.35, 1.7)
    asked.append(Question(rng.choice(["Read the text.", "ocr", "What does the text say?"]), " | ".join(lines)))
    asked.append(Question("What is the first line?", lines[0]))
    asked.append(Question("How many lines of text are there?", str(len(lines))))
    return canvas, asked


def receipt(rng: random.Random) -> tuple[list[str], list[Question]]:
    """A heading with a number, one to three goods with prices, and a total that is not their sum."""
    heading = rng.choice(["Invoice", "Receipt", "Order", "Bill"])
    number = str(rng.randint(100, 9999))
    goods = rng.sample(GOODS, rng.randint(1, 3))
    prices = [price(rng) for _ in goods]
    total = price(rng)
    lines = [f"{heading} {number}", *(f"{g} {p}" for g, p in zip(goods, prices)), f"Total {total}"]
    asked = [Question("What is the total?", total),
             Question(rng.choice([f"What is the {heading.lower()} number?", "What is the number?"]), number)]
    i = rng.randrange(len(goods))
    asked.append(Question(f"How much is the {goods[i]}?", prices[i]))
    asked.append(Question("What kind of document is this?", heading))
    return lines, asked


def price(rng: random.Random) -> str:
    return f"{rng.randint(1, 999)}.{rng.randint(0, 99):02d}"
