"""Random schemas and regexes against random logits on several tokenizers: every finished answer must be valid.

Usage: check_grammars.py GRAMMAR_BATCH [COUNT]   (COUNT schemas, 300 unless said)
"""

import json
import pathlib
import random
import re
import subprocess
import sys

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOKENIZERS = ["qwen", "gemma3", "smollm", "kimi", "llama3"]
FORMATS = ["date", "uuid", "ipv4", "email", "hostname", "ipv6"]
PATTERNS = ["^[a-z]+$", "[0-9]{2}", "^(red|green)$", "^#[0-9a-f]{6}$", "é+", "^\\w+( \\w+)*$", "a|^b", "\\S$", "^[^\\s]{2,}$", "[^\\w\\s]", "[^\"\\\\]x"]
REGEXES = ["(yes|no)( please)?", "[0-9]{4}-[0-9]{2}", "[A-J]", "(é|日本|😀){1,5}", "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,3})?", "[^\\n]{3,20}", "\\w+@\\w+\\.(com|org)", "(\\d{1,3}\\.){3}\\d{1,3}", "\\S{2,9}", "[^\\s]{2,9}", "[^\\W_]{3,12}", "[^\\d ]{4}", " +x"]
WORDS = ["name", "x", "y", "kind", "é", "a\"b", "tab\t", "count", "日本", "$ref", "type"]


class Generator:
    def __init__(self, draw):
        self.draw = draw
        self.definitions = {}

    def schema(self):
        root = self.value(0)
        if self.definitions and isinstance(root, dict):
            root["$defs"] = self.definitions
        return root

    def maybe(self, chance=0.5):
        return self.draw.random() < chance

    def literal(self, depth=0):
        kind = self.draw.randrange(8 if depth < 2 else 6)
        if kind == 6:
            return [self.literal(depth + 1) for _ in range(self.draw.randrange(3))]
        if kind == 7:
            return {word: self.literal(depth + 1) for word in self.draw.sample(WORDS, self.draw.randrange(3))}
        return [None, True, 3, -2.5, "text \"quoted\" \u0001", "日本😀"][kind]

    def value(self, depth):
        kinds = ["string", "number", "integer", "boolean", "null", "enum", "const", "list"]
        if depth < 4:
            kinds += ["object"] * 6 + ["array"] * 4 + ["anyOf", "oneOf", "allOf", "ref", "any"]
        return getattr(self, "make_" + self.draw.choice(kinds))(depth)

    def make_string(self, depth):
        out = {"type": "string"}
        kind = self.draw.randrange(4)
        if kind == 1:
            out["pattern"] = self.draw.choice(PATTERNS)
        elif kind == 2:
            out["format"] = self.draw.choice(FORMATS)
        elif kind == 3:
            low = self.draw.randrange(8)
            out["minLength"], out["maxLength"] = low, low + self.draw.randrange(12)
            if self.maybe(0.3):
                out["minLength"], out["maxLength"], out["pattern"] = 3, 9, "^[a-f]+$"
        return out

    def make_number(self, depth):
        out = {"type": "number"}
        low = round(self.draw.uniform(-200, 200), self.draw.randrange(4))
        if self.maybe():
            out[self.draw.choice(["minimum", "exclusiveMinimum"])] = low
        if self.maybe():
            out[self.draw.choice(["maximum", "exclusiveMaximum"])] = round(low + self.draw.choice([0.5, 1, 77, 12345.75]), 4)
        return out

    def make_integer(self, depth):
        out = {"type": "integer"}
        low = self.draw.randrange(-3000, 3000)
        if self.maybe():
            out[self.draw.choice(["minimum", "exclusiveMinimum"])] = low
        if self.maybe():
            out[self.draw.choice(["maximum", "exclusiveMaximum"])] = low + self.draw.choice([60, 100, 4321, 10**7])
        if self.maybe(0.3):
            out["multipleOf"] = self.draw.choice([2, 5, 7, 25])
        return out

    def make_boolean(self, depth):
        return {"type": "boolean"}

    def make_null(self, depth):
        return {"type": "null"}

    def make_enum(self, depth):
        return {"enum": [self.literal() for _ in range(self.draw.randrange(1, 6))]}

    def make_const(self, depth):
        return {"const": self.literal()}

    def make_list(self, depth):
        return {"type": self.draw.sample(["string", "integer", "null", "boolean", "array"], 2), "description": "either"}

    def make_any(self, depth):
        return self.draw.choice([True, {}])

    def make_object(self, depth):
        names = self.draw.sample(WORDS, self.draw.randrange(6))
        out = {"type": "object", "properties": {name: self.value(depth + 1) for name in names}}
        out["required"] = [name for name in names if self.maybe()]
        if self.maybe(0.3):
            out["required"].append("unlisted")
        if self.maybe(0.4):
            out["additionalProperties"] = self.draw.choice([False, True, {"type": "integer"}]) if "unlisted" not in out["required"] else {"type": "integer"}
        if self.maybe(0.2):
            out["patternProperties"] = {"^p_": {"type": "boolean"}}
        return out

    def make_array(self, depth):
        out = {"type": "array", "items": self.value(depth + 1)}
        if self.maybe(0.3):
            out["prefixItems"] = [self.value(depth + 1) for _ in range(self.draw.randrange(1, 4))]
            if self.maybe():
                del out["items"]
        if self.maybe():
            out["minItems"] = self.draw.randrange(3) if "items" in out else 0
        if self.maybe():
            out["maxItems"] = out.get("minItems", 0) + self.draw.randrange(4)
        return out

    def make_anyOf(self, depth):
        out = {"anyOf": [self.value(depth + 1) for _ in range(self.draw.randrange(1, 4))]}
        return out

    def make_oneOf(self, depth):
        tagged = [{"type": "object", "properties": {"kind": {"const": i}, "of": self.value(depth + 1)}, "required": ["kind", "of"]} for i in range(2)]
        return {"oneOf": [{"type": "string"}, {"type": "integer"}, *tagged]}

    def make_allOf(self, depth):
        return {"allOf": [{"type": "object", "properties": {"a": self.value(depth + 1)}, "required": ["a"]}, {"properties": {"b": self.value(depth + 1)}}]}

    def make_ref(self, depth):
        if "tree" not in self.definitions:
            self.definitions["tree"] = True
            self.definitions["tree"] = {"type": "object", "properties": {"value": self.value(4), "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}, "required": ["value"]}
        return {"$ref": "#/$defs/tree"}


def run(program, requests):
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([program], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(requests), f"{len(results)} answers to {len(requests)} requests"
    return results


def main(program, count=300):
    draw = random.Random(20261127)
    requests = []
    for i in range(int(count)):
        where = {"tokenizer": str(ROOT / "tests/data/tokenizers" / TOKENIZERS[i % len(TOKENIZERS)]), "max_tokens": 600}
        schema = Generator(draw).schema()
        requests += [{**where, "schema": schema, "seed": 2 * i + seed} for seed in (0, 1)]
        requests.append({**where, "regex": REGEXES[i % len(REGEXES)], "seed": i})
    finished = cut = 0
    bad, refused = [], []
    for request, result in zip(requests, run(program, requests)):
        if "error" in result:
            refused.append((request.get("schema"), result["error"]))
            if result["code"] == "internal":
                bad.append((request, result))
            continue
        if result["finish"] != "stop":
            cut += 1
            continue
        finished += 1
        try:
            if "regex" in request:
                assert re.fullmatch(request["regex"], result["text"]), "no match"
            else:
                value = json.loads(result["text"], parse_constant=lambda name: 1 / 0)
                jsonschema.validate(value, request["schema"], jsonschema.Draft202012Validator, format_checker=jsonschema.FormatChecker())
        except Exception as error:  # whatever it is, the answer is not valid
            bad.append((request, result["text"], str(error).splitlines()[0]))
    for one in bad[:5]:
        print("not valid:", json.dumps(one, ensure_ascii=False)[:1500])
    for one in refused[:10] if bad or len(refused) * 10 > len(requests) else []:
        print("refused:", json.dumps(one, ensure_ascii=False)[:600])
    print(f"{finished} finished and valid but {len(bad)}, {cut} cut, {len(refused)} refused")
    # A generator that mostly makes what is refused or cut would prove nothing.
    return 1 if bad or finished * 10 < len(requests) * 7 or len(refused) * 10 > len(requests) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
