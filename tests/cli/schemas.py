"""JSON Schemas as people write them: by hand, out of pydantic and zod, for OpenAI's strict mode."""

import enum
import typing

import pydantic


def obj(required=None, **properties):
    """As strict mode wants it: all members required, no others."""
    return {"type": "object", "properties": properties, "required": list(properties) if required is None else required, "additionalProperties": False}


def text(**more):
    return {"type": "string", **more}


SHORT = text(maxLength=12)
INT = {"type": "integer", "minimum": 0, "maximum": 99}


class Color(str, enum.Enum):
    red = "red"
    green = "green"


class Point(pydantic.BaseModel):
    x: float = pydantic.Field(ge=0, le=1)
    y: float = pydantic.Field(ge=0, le=1)


class Thing(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=10)
    color: Color
    at: Point
    tags: list[typing.Literal["big", "small"]] = pydantic.Field(max_length=2)
    parent: typing.Optional[Point] = None


class Cat(pydantic.BaseModel):
    kind: typing.Literal["cat"]
    lives: int = pydantic.Field(ge=1, le=9)


class Dog(pydantic.BaseModel):
    kind: typing.Literal["dog"]
    good: bool


class Owner(pydantic.BaseModel):
    pet: typing.Union[Cat, Dog] = pydantic.Field(discriminator="kind")


class Node(pydantic.BaseModel):
    value: int = pydantic.Field(ge=0, le=9)
    children: list["Node"] = pydantic.Field(max_length=2)


class Scores(pydantic.BaseModel):
    scores: dict[str, int]
    when: typing.Optional[str] = None


# By name; each allows short answers, so that most end within a few hundred tokens.
SCHEMAS = {
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "string": text(maxLength=20),
    "string of a length": text(minLength=3, maxLength=5),
    "enum": {"enum": ["red", "green", "blue"]},
    "typed enum": text(enum=["a", "b"]),
    "mixed enum": {"enum": [1, 2.5, "three", None, True, ["x"], {"k": 1}]},
    "const": {"const": "fixed"},
    "const object": {"const": {"a": [1, None]}},
    "integer from to": {"type": "integer", "minimum": -5, "maximum": 120},
    "integer beyond": {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10},
    "number from to": {"type": "number", "minimum": 0, "maximum": 1},
    "negative number": {"type": "number", "exclusiveMaximum": 0, "minimum": -1.5},
    "multiples": {"type": "integer", "minimum": 0, "maximum": 100, "multipleOf": 5},
    "type list": {"type": ["integer", "null"]},
    "date": text(format="date"),
    "time": text(format="time"),
    "date-time": text(format="date-time"),
    "uuid": text(format="uuid"),
    "ipv4": text(format="ipv4"),
    "email": text(format="email", maxLength=30),
    "pattern": text(pattern="^[A-Z]{2}-[0-9]{4}$"),
    "pattern of a phone": text(pattern=r"^\+?\d{1,3}[- ]\d{3,5}$"),
    "pattern with alternatives": text(pattern="^(yes|no|maybe)$"),
    "list of integers": {"type": "array", "items": INT, "minItems": 1, "maxItems": 4},
    "list of enums": {"type": "array", "items": {"enum": ["cat", "dog"]}, "maxItems": 3},
    "tuple": {"type": "array", "prefixItems": [SHORT, INT, {"type": "boolean"}], "items": False, "minItems": 3},
    "list of lists": {"type": "array", "items": {"type": "array", "items": INT, "minItems": 2, "maxItems": 2}, "minItems": 1, "maxItems": 2},
    "empty list": {"type": "array", "maxItems": 0},
    "flat object": obj(name=SHORT, age=INT),
    "strict object": {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Answer", "description": "An answer",
                      **obj(reasoning=text(maxLength=20, description="why"), answer={"enum": ["A", "B", "C", "D"]}, confidence={"type": "number", "minimum": 0, "maximum": 1})},
    "optional members": obj(required=["a"], a=INT, b=INT, c={"type": "boolean"}),
    "only optional members": obj(required=[], a=INT, b=INT),
    "empty object": obj(),
    "nested objects": obj(person=obj(name=SHORT, address=obj(city=SHORT, zip=text(pattern="^[0-9]{5}$")))),
    "list of objects": obj(items={"type": "array", "items": obj(label={"enum": ["bird", "roof"]}, box={"type": "array", "items": INT, "minItems": 4, "maxItems": 4}), "minItems": 1, "maxItems": 2}),
    "members by name": {"type": "object", "additionalProperties": INT, "properties": {"known": SHORT}, "required": ["known"]},
    "members by pattern": {"type": "object", "patternProperties": {"^x-[a-z]{1,3}$": INT}, "additionalProperties": False},
    "anyOf of types": {"anyOf": [INT, SHORT, {"type": "null"}]},
    "anyOf null": obj(a={"anyOf": [SHORT, {"type": "null"}], "default": None}),
    "anyOf objects": {"anyOf": [obj(a=INT), obj(b=SHORT)]},
    "oneOf consts": {"oneOf": [obj(t={"const": "a"}, n=INT), obj(t={"const": "b"}, s=SHORT)]},
    "oneOf types": {"oneOf": [INT, {"type": "boolean"}]},
    "allOf": {"allOf": [{"type": "object", "properties": {"a": INT}, "required": ["a"]}, {"properties": {"b": {"type": "boolean"}}, "required": ["b"]}]},
    "$defs": {"$defs": {"small": INT}, **obj(a={"$ref": "#/$defs/small"}, b={"$ref": "#/$defs/small"})},
    "definitions": {"definitions": {"small": INT}, **obj(a={"$ref": "#/definitions/small"})},
    "$ref with words": {"$defs": {"small": INT}, **obj(a={"$ref": "#/$defs/small", "description": "a small one"})},
    "$ref root": {"$ref": "#/$defs/it", "$defs": {"it": obj(a=INT)}},
    "recursive list": {"$defs": {"n": obj(v=INT, next={"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]})}, "$ref": "#/$defs/n"},
    "recursive tree": {**obj(v=INT, kids={"type": "array", "items": {"$ref": "#"}, "maxItems": 2})},
    "expression": {"$defs": {"e": {"anyOf": [INT, obj(op={"enum": ["+", "*"]}, l={"$ref": "#/$defs/e"}, r={"$ref": "#/$defs/e"})]}}, **obj(e={"$ref": "#/$defs/e"})},
    "keys that need escapes": obj(**{"a\"b": INT, "c\\d": INT, "é": INT, "x y": INT}),
    "enum that needs escapes": {"enum": ["a\"b", "tab\t", "日本", "\\"]},
    "no type": {"properties": {"a": INT}, "required": ["a"]},
    "dates of an event": obj(title=SHORT, begin=text(format="date"), end={"anyOf": [text(format="date"), {"type": "null"}]}, everyone={"type": "boolean"}),
    "receipt": obj(shop=SHORT, total={"type": "number", "minimum": 0, "maximum": 999}, currency={"enum": ["EUR", "USD"]},
                   lines={"type": "array", "items": obj(what=SHORT, price={"type": "number", "minimum": 0, "maximum": 99}), "maxItems": 2}),
    "user interface": {"$defs": {"box": obj(kind={"enum": ["div", "button"]}, label=SHORT, children={"type": "array", "items": {"$ref": "#/$defs/box"}, "maxItems": 1})}, "$ref": "#/$defs/box"},
    "draft 7": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {"ok": {"type": "boolean", "default": False, "examples": [True]}}, "required": ["ok"], "additionalProperties": False},
    "pydantic thing": Thing.model_json_schema(),
    "pydantic union": Owner.model_json_schema(),
    "pydantic tree": Node.model_json_schema(),
    "pydantic map": Scores.model_json_schema(),
    "zod": {"type": "object", "properties": {"name": text(minLength=1, maxLength=9), "level": {"type": "integer", "exclusiveMinimum": 0, "maximum": 50}, "tags": {"type": "array", "items": SHORT, "maxItems": 2}},
            "required": ["name", "level"], "additionalProperties": False, "$schema": "http://json-schema.org/draft-07/schema#"},
    "anything": {"type": "object"},
    "true": {"type": "array", "items": True, "maxItems": 2},
}

UNBOUNDED = {"members by name", "pydantic map", "anything", "true"}  # keys or texts of any length: they may not end

# What is refused, and the JSON pointer that the error names.
UNSUPPORTED = {
    "not": ({"type": "object", "properties": {"a": {"not": {"type": "null"}}}}, "#/properties/a/not"),
    "if": ({"type": "object", "if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}}, "#/if"),
    "dependentRequired": ({"type": "object", "dependentRequired": {"a": ["b"]}}, "#/dependentRequired"),
    "contains": ({"type": "array", "contains": {"type": "integer"}}, "#/contains"),
    "propertyNames": ({"type": "object", "properties": {"m": {"type": "object", "propertyNames": {"pattern": "^a"}}}}, "#/properties/m/propertyNames"),
    "unknown format": ({"type": "array", "items": {"type": "string", "format": "hieroglyphs"}}, "#/items/format"),
    "look-ahead": ({"type": "string", "pattern": "^(?=a)b"}, "#/pattern"),
    "remote reference": ({"$ref": "https://example.com/s.json"}, "#/$ref"),
    "missing reference": ({"$defs": {}, "type": "array", "items": {"$ref": "#/$defs/x"}}, "#/items/$ref"),
    "fractions": ({"type": "number", "multipleOf": 0.1}, "#/multipleOf"),
    "unknown keyword": ({"type": "string", "maxLenght": 3}, "#/maxLenght"),
    "unknown type": ({"type": "text"}, "#/type"),
    "overlapping oneOf": ({"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]}, "#/oneOf"),
}
