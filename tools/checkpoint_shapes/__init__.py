"""Families that tools/random_checkpoint can write: one module each, one line each in FAMILIES.

A module gives MODEL_TYPES (values of config.json's model_type), SHAPES (name to config), tensors(config), which yields
(name, shape, kind) with kind one of "normal", "ones", "zeros", and files(config, shape), the other files by name as
JSON values (or str, written as it is).
"""
from . import gemma, smolvlm

FAMILIES = [smolvlm, gemma]
