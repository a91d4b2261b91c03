"""What can be asked about a scene of things, and the true answers."""
from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from .canvas import SIZE, Box, Point
from .palette import HAZARDS, SHAPES, THINGS

LOCATION_BINS = 64    # of the 1024 location tokens the centres of 64 bins are used
PLURALS = {"fish": "fish", "person": "people", "knife": "knives", "cross": "crosses"}


class Question(NamedTuple):
    question: str
    answer: str


@dataclass
class Thing:
    kind: str
    color: str
    box: Box
    size: str = ""     # "large", "small" or not said
    where: str = ""    # a relation such as "on the roof"

    @property
    def name(self) -> str:
        return f"{self.color} {self.kind}" if self.color else self.kind

    @property
    def center(self) -> Point:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def area(self) -> float:
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    @property
    def place(self) -> str:
        """Where it is: by its relation if it has one, else by the third of the picture that its centre is in."""
        if self.where:
            return self.where
        x, y = self.center
        across = "left" if x < SIZE / 3 else "right" if x > SIZE * 2 / 3 else "center"
        down = "top" if y < SIZE / 3 else "bottom" if y > SIZE * 2 / 3 else "middle"
        if down != "middle":
            return f"at the {down} {across}"
        return "in the center" if across == "center" else f"on the {across}"


def location(v: float) -> str:
    """The location token of a coordinate (0 to 256)."""
    place = min(LOCATION_BINS - 1, max(0, round(v / SIZE * LOCATION_BINS - 0.5)))
    return f"<loc{place * 16 + 8:04d}>"


def box_locations(box: Box) -> str:
    """The four location tokens of a box: y first."""
    return location(box[1]) + location(box[0]) + location(box[3]) + location(box[2])


def plural(kind: str) -> str:
    return PLURALS.get(kind, kind + "s")


def with_article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def found(things: list[Thing], label: str) -> str:
    """The answer to a detection: the boxes from the top down."""
    in_order = sorted(things, key=lambda t: (t.box[1], t.box[0]))
    return " ; ".join(f"{box_locations(t.box)} {label}" for t in in_order)


def description(things: list[Thing]) -> str:
    """One sentence that names every thing, the biggest first."""
    in_order = sorted(things, key=lambda t: (-round(t.area / 600), t.box[0]))
    parts = [f"{with_article((t.size + ' ' if t.size else '') + t.name)} {t.place}" for t in in_order]
    words = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return words[0].upper() + words[1:] + "."


def about_things(things: list[Thing], rng: random.Random, together: str) -> list[Question]:
    """Questions about any scene of things; `together` is the word for all of them ("shapes", "objects")."""
    ask = rng.choice(["Describe the image.", "Can you describe this image?", "What is in the image?", "caption en"])
    asked = [Question(ask, description(things))]
    kinds = sorted({t.kind for t in things})

    kind = rng.choice(kinds)
    asked.append(Question(f"How many {plural(kind)} are there?", str(sum(t.kind == kind for t in things))))
    color = rng.choice([t.color for t in things])
    asked.append(Question(f"How many {color} objects are there?", str(sum(t.color == color for t in things))))
    ask = rng.choice([f"How many {together} are there?", "How many objects are there?"])
    asked.append(Question(ask, str(len(things))))

    absent = rng.choice([k for k in SHAPES + THINGS if k not in kinds])
    is_there = rng.random() < 0.5
    asked.append(Question(f"Is there {with_article(kind if is_there else absent)}?", "Yes" if is_there else "No"))

    alone = [t for t in things if sum(u.kind == t.kind for u in things) == 1]
    if alone:
        one = rng.choice(alone)
        asked.append(Question(f"What color is the {one.kind}?", one.color.capitalize()))
        asked.append(Question(f"Where is the {one.kind}?", one.place.capitalize()))

    asked += detections(things, absent, rng)
    ask = rng.choice(["Does this image violate the dangerous content policy?", "Is this image dangerous?"])
    asked.append(Question(ask, "Yes" if any(t.kind in HAZARDS for t in things) else "No"))
    return asked


def detections(things: list[Thing], absent: str, rng: random.Random) -> list[Question]:
    """Detect a kind, a kind of one colour, a kind at one place, and one that is not there."""
    one = rng.choice(things)
    alike = [t for t in things if t.kind == one.kind]
    ask = rng.choice(["detect {}", "Detect the {}.", "detect {}"]).format(one.kind)
    asked = [Question(ask, found(alike, one.kind)),
             Question(f"detect {one.name}", found([t for t in alike if t.color == one.color], one.name))]
    if one.where:
        ask = rng.choice([f"detect {one.kind} {one.where}", f"Detect the {one.kind} {one.where}."])
        asked.append(Question(ask, found([t for t in alike if t.where == one.where], one.kind)))
    asked.append(Question(f"detect {absent}", "none"))
    return asked
