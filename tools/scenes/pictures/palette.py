"""Colours, kinds of things and words of the scenes. Their order is part of the contract: draws pick by place."""
from __future__ import annotations

Rgb = tuple[int, int, int]

COLORS: dict[str, Rgb] = {
    "red": (220, 38, 38), "green": (34, 160, 60), "blue": (40, 80, 220), "yellow": (240, 205, 30),
    "purple": (140, 50, 190), "orange": (245, 130, 25), "black": (25, 25, 25), "white": (245, 245, 245),
    "pink": (245, 130, 180), "brown": (125, 80, 40), "gray": (130, 130, 130)}

SHAPES = ["circle", "square", "triangle", "star", "hexagon", "diamond", "cross", "heart"]
THINGS = ["bird", "house", "tree", "sun", "car", "cat", "fish", "flower", "boat", "person", "cloud", "cup", "ball",
          "key"]
HAZARDS = ["knife", "gun", "bomb", "skull"]
LABELS = ["background"] + SHAPES + THINGS + HAZARDS + ["roof", "bar", "button", "text"]

MENU_WORDS = (
    "Men Women Kids Sale Home Cart Login Search Help Menu Next Back Buy Save Open Close Shop News About Contact Shoes "
    "Shirts Hats Bags Coats Socks Orders Profile Settings Delete Send Reply Music Photos Files Maps").split()
GOODS = "coffee tea bread milk apple pears rice paper pens lamp chair desk cable mouse soap towel honey salt".split()
LETTERS_AND_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def stands_out(color: Rgb, ground: Rgb) -> bool:
    """Whether a thing of this colour is easy to see on that ground."""
    return sum(abs(a - b) for a, b in zip(color, ground)) > 120


def colors_on(ground: Rgb) -> list[str]:
    """The colours that stand out on a ground, in palette order."""
    return [name for name, rgb in COLORS.items() if stands_out(rgb, ground)]
