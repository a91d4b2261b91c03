"""The window of a program: a bar with a menu and one to four buttons below each other."""
from __future__ import annotations

import random

from .canvas import SANS, SANS_BOLD, SIZE, Box, Canvas
from .palette import COLORS, MENU_WORDS, Rgb
from .questions import Question, box_locations, location

BAR_HEIGHT = 34
MENU_TEXT_PX, BUTTON_TEXT_PX = 17, 18
GREY_BAR: Rgb = (225, 228, 235)
GREY_BUTTON: Rgb = (210, 214, 222)
WHITE: Rgb = (255, 255, 255)

Item = tuple[str, Box]    # a word that can be clicked, and where


def screen(rng: random.Random, scale: int) -> tuple[Canvas, list[Question]]:
    background = (35, 38, 45) if rng.random() < 0.3 else rng.choice([(250, 250, 252), (240, 243, 248)])
    canvas = Canvas(background, scale)
    accent = COLORS[rng.choice(["blue", "red", "green", "purple", "orange", "black"])]
    words = rng.sample(MENU_WORDS, 9)
    menu = draw_menu(canvas, words, accent, rng)
    buttons = draw_buttons(canvas, words[4:], accent, rng)
    items = menu + buttons
    asked: list[Question] = []
    for word, box in rng.sample(items, min(3, len(items))):
        ask = rng.choice([f"click {word}", f"Click on {word}."])
        asked.append(Question(ask, f"{location((box[1] + box[3]) / 2)}{location((box[0] + box[2]) / 2)} {word}"))
        if rng.random() < 0.4:
            asked.append(Question(f"detect {word}", f"{box_locations(box)} {word}"))
    asked += [Question("What can be clicked?", ", ".join(word for word, _ in items)),
              Question("How many buttons are there?", str(len(buttons))),
              Question("What kind of image is this?", "A screen")]
    return canvas, asked


def readable_on(rgb: Rgb) -> Rgb:
    return WHITE if sum(rgb) < 400 else (20, 20, 20)


def draw_menu(canvas: Canvas, words: list[str], accent: Rgb, rng: random.Random) -> list[Item]:
    """The bar with two to four words, fewer where they do not fit."""
    fill = accent if rng.random() < 0.6 else GREY_BAR
    canvas.rectangle((0, 0, SIZE, BAR_HEIGHT), fill)
    items: list[Item] = []
    x = 8.0
    for word in words[:rng.randint(2, 4)]:
        width = canvas.text_width(word, MENU_TEXT_PX, SANS_BOLD)
        if x + width > SIZE - 6:
            break
        canvas.text(x, 7, word, MENU_TEXT_PX, readable_on(fill), SANS_BOLD)
        items.append((word, (x - 3, 4, x + width + 3, 31)))
        x += width + rng.uniform(14, 26)
    return items


def draw_buttons(canvas: Canvas, words: list[str], accent: Rgb, rng: random.Random) -> list[Item]:
    """One to four buttons from the top down, fewer where they do not fit."""
    items: list[Item] = []
    y = rng.uniform(48, 66)
    for word in words[:rng.randint(1, 4)]:
        w, h = rng.uniform(90, 140), rng.uniform(28, 38)
        x = rng.uniform(10, SIZE - w - 10)
        fill = rng.choice([accent, GREY_BUTTON, WHITE])
        box = (x, y, x + w, y + h)
        canvas.rectangle(box, fill, (120, 125, 135), radius=rng.choice([0, 5, 10]))
        canvas.label("button", "", box)
        width = canvas.text_width(word, BUTTON_TEXT_PX, SANS)
        canvas.text(x + (w - width) / 2, y + h / 2 - BUTTON_TEXT_PX * 0.6, word, BUTTON_TEXT_PX, readable_on(fill),
                    SANS)
        items.append((word, box))
        y += h + rng.uniform(8, 20)
        if y > SIZE - 44:
            break
    return items
