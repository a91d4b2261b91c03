"""What the tests of the Python package share."""

import functools
import pathlib

import tapetum

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "data/samples"
ROOF, YARD = SAMPLES / "roof.png", SAMPLES / "yard.png"
DANGER = ROOT / "tests/data/guard/dangerous.png"
TEXT_GUARD = ROOT / "tests/families/shieldgemma1/checkpoint"
ON_ROOF = "What is on the roof?"


@functools.cache
def nano():
    return tapetum.load(dtype="q8")
