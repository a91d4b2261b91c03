"""Procedural scenes with exact ground truth: shapes, yards, charts, screens and documents.

The order of random draws is the contract: a seed gives the same picture and the same questions for ever.
"""
from .canvas import missing_fonts, why_inexact
from .questions import Question
from .scene import DRAWERS, Scene, drawing, scene

__all__ = ["DRAWERS", "Question", "Scene", "drawing", "missing_fonts", "scene", "why_inexact"]
