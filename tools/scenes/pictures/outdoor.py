"""A yard: ground and sky, a house, a tree, something in the grass, something in the sky, birds and cats above."""
from __future__ import annotations

import random

from .canvas import SIZE, Box, Canvas
from .palette import COLORS, Rgb, colors_on
from .pictograms import draw
from .questions import Question, Thing, about_things, box_locations, with_article

SKIES: list[Rgb] = [(150, 205, 250), (190, 220, 245), (250, 200, 150), (40, 50, 90)]
GROUNDS: list[Rgb] = [(110, 175, 80), (90, 150, 70), (200, 180, 130), (240, 245, 250)]
GLASS: Rgb = (190, 225, 245)
FRAME: Rgb = (60, 60, 60)
ON_ROOF, IN_TREE, IN_SKY = "on the roof", "in the tree", "in the sky"


def outdoor(rng: random.Random, scale: int) -> tuple[Canvas, list[Question]]:
    yard = Yard(rng, scale)
    if rng.random() < 0.85:
        yard.add_house()
    if yard.slots and rng.random() < 0.75:
        yard.add_tree()
    if yard.slots and rng.random() < 0.7:
        yard.add_on_grass()
    if rng.random() < 0.5:
        yard.add_sun()
    elif rng.random() < 0.5:
        yard.add_cloud()
    yard.add_perched()
    if not yard.things:
        yard.add("car", 100, yard.horizon - 30, 60)
    return yard.canvas, yard.questions()


class Yard:
    """The scene while it is drawn: three slots from left to right, and spots where a bird or a cat may sit."""

    def __init__(self, rng: random.Random, scale: int) -> None:
        self.rng = rng
        self.sky = rng.choice(SKIES)
        self.canvas = Canvas(self.sky, scale)
        self.horizon = rng.uniform(165, 200)
        self.ground = rng.choice(GROUNDS)
        self.canvas.rectangle((0, self.horizon, SIZE, SIZE), self.ground)
        self.slots = [0, 1, 2]
        rng.shuffle(self.slots)
        self.things: list[Thing] = []
        self.spots: list[tuple[float, float, str]] = []    # x, y of the feet, relation
        self.roof: tuple[str, Box] | None = None

    def add(self, kind: str, x: float, y: float, side: float, where: str = "", color: str | None = None) -> Box:
        """Draws a thing; without a colour it takes one that stands out where it is."""
        behind = self.ground if y + side / 2 > self.horizon else self.sky
        color = color or self.rng.choice(colors_on(behind))
        box = draw(self.canvas, kind, COLORS[color], x, y, side, self.rng)
        self.canvas.label(kind, color, box)
        self.things.append(Thing(kind, color, box, "", where))
        return box

    def slot_left(self) -> float:
        """Takes the next slot; its left edge."""
        return 6 + self.slots.pop() * 84

    def add_house(self) -> None:
        rng, canvas = self.rng, self.canvas
        left = self.slot_left()
        w, h = rng.uniform(68, 80), rng.uniform(50, 66)
        x = left + rng.uniform(-2, 4)
        y = self.horizon + rng.uniform(2, 18) - h
        wall = rng.choice(["white", "brown", "yellow", "gray", "pink", "blue"])
        roof = rng.choice(["red", "brown", "black", "blue", "purple"])
        rise = rng.uniform(28, 42)
        flat = rng.random() < 0.3
        canvas.rectangle((x, y, x + w, y + h), COLORS[wall], FRAME)
        if flat:
            rise = rise * 0.6
            outline = [(x - 5, y), (x + 5, y - rise), (x + w - 5, y - rise), (x + w + 5, y)]
        else:
            outline = [(x - 5, y), (x + w / 2, y - rise), (x + w + 5, y)]
        canvas.polygon(outline, COLORS[roof], (50, 50, 50))
        canvas.rectangle((x + w * 0.4, y + h * 0.5, x + w * 0.6, y + h), (95, 60, 35))
        for start, end in ((0.1, 0.3), (0.7, 0.9)):
            canvas.rectangle((x + w * start, y + h * 0.2, x + w * end, y + h * 0.45), GLASS, FRAME)
        box, roof_box = (x - 5, y - rise, x + w + 5, y + h), (x - 5, y - rise, x + w + 5, y)
        canvas.label("house", wall, box)
        canvas.label("roof", roof, roof_box)
        self.things.append(Thing("house", wall, box))
        self.roof = roof, roof_box
        self.spots.append((x + w / 2, y - rise, ON_ROOF))

    def add_tree(self) -> None:
        left, side = self.slot_left(), self.rng.uniform(62, 80)
        top = self.horizon + self.rng.uniform(4, 20) - side
        box = self.add("tree", left, top, side, "", self.rng.choice(["green", "green", "orange", "yellow"]))
        self.spots.append(((box[0] + box[2]) / 2, box[1] + 2, IN_TREE))

    def add_on_grass(self) -> None:
        left = self.slot_left()
        kind = self.rng.choice(["car", "person", "cat", "flower", "car"])
        side = self.rng.uniform(44, 66)
        self.add(kind, left, self.horizon + self.rng.uniform(8, 28) - side * 0.7, side)

    def add_sun(self) -> None:
        side = self.rng.uniform(34, 50)
        left, top = self.rng.choice([4, SIZE - side - 4]), self.rng.uniform(4, 18)
        color = self.rng.choice(["yellow", "orange"]) if self.sky[2] > 160 else "yellow"
        self.add("sun", left, top, side, IN_SKY, color)

    def add_cloud(self) -> None:
        side = self.rng.uniform(50, 70)
        left, top = self.rng.uniform(10, SIZE - side - 10), self.rng.uniform(0, 20)
        self.add("cloud", left, top, side, IN_SKY, "white" if self.sky[0] < 200 else "gray")

    def add_perched(self) -> None:
        """Birds or cats on up to two of the spots, where nothing else is in the way."""
        rng = self.rng
        self.spots.append((rng.uniform(90, 170), rng.uniform(62, 84), IN_SKY))
        rng.shuffle(self.spots)
        for x, feet, where in self.spots[:rng.choice([0, 1, 1, 1, 2])]:
            side = rng.uniform(26, 36)
            kind = rng.choice(["bird", "bird", "bird", "cat" if where != IN_SKY else "bird"])
            top = feet - side * 0.96
            box = (x - side / 2, top, x + side / 2, top + side)
            if top < 2 or any(touch(box, t.box) for t in self.things if t.kind in ("sun", "cloud", "bird", "cat")):
                continue
            self.add(kind, x - side / 2, top, side, where,
                     rng.choice([c for c in colors_on(self.sky) if c != "green"]))

    def questions(self) -> list[Question]:
        asked = about_things(self.things, self.rng, "objects")
        for where in (ON_ROOF, IN_TREE, IN_SKY):
            if where == ON_ROOF and not self.roof:
                continue
            there = [t for t in self.things if t.where == where]
            if len(there) <= 1:
                answer = with_article(there[0].name).capitalize() if there else "Nothing"
                asked.append(Question(f"What is {where}?", answer))
        if self.roof:
            color, box = self.roof
            asked.append(Question("What color is the roof?", color.capitalize()))
            asked.append(Question("detect roof", f"{box_locations(box)} roof"))
        return asked


def touch(a: Box, b: Box) -> bool:
    return not (a[2] < b[0] or a[0] > b[2] or a[3] < b[1] or a[1] > b[3])
