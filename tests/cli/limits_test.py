"""docs/limits.md tells the truth: for every row, an input just too large makes the program print the row's message."""

import json
import os
import re
import struct
import zlib

from support import NANO, ROOT, SAMPLES, SANITIZED, Case

ROOF = SAMPLES / "roof.png"


def rows():
    """id to message, of the table on the page."""
    found = {}
    for line in (ROOT / "docs/limits.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split(" | ")]
        if len(cells) == 4 and cells[0].startswith("| ") and not cells[0].startswith("| id"):
            found[cells[0][2:]] = cells[3].rstrip("| ").strip("`")
    return found


def png(width, height, size=0):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", bytes(size)) + chunk(b"IEND", b"")


class Limits(Case):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        self.model.mkdir()
        for file in NANO.iterdir():
            (self.model / file.name).symlink_to(file)

    def put(self, name, content=b"", size=None):
        """A file of the checkpoint; `size` makes it that long without filling the disk."""
        (self.model / name).unlink(missing_ok=True)
        (self.model / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        if size is not None:
            os.truncate(self.model / name, size)

    def changed(self, name, change):
        value = json.loads((NANO / name).read_text())
        change(value)
        self.put(name, json.dumps(value))

    def model_run(self):
        return ("-m", self.model, ROOF, "x")

    def template(self, source):
        self.put("chat_template.jinja", source)
        return ("render", self.model, "--messages", "-"), {"stdin": '{"messages":[]}'}

    def picture(self, content, size=None):
        path = self.folder / "p.png"
        path.write_bytes(content)
        if size is not None:
            os.truncate(path, size)
        return (path, "x")

    def file(self, name, content):
        (self.folder / name).write_text(content)
        return self.folder / name

    def over(self, name):
        """The arguments of a run beyond the limit, and what else run_program takes."""
        tokenizer = "tokenizer.json"
        if name == "json-bytes":
            self.put("config.json", b"{}", (16 << 20) + 1)
        elif name == "json-depth":
            self.put("config.json", "[" * 129 + "]" * 129)
        elif name == "json-values":
            self.put("config.json", '{"a":[' + "0," * 4_000_000 + "0]}")
        elif name == "config-integer":
            self.changed("config.json", lambda c: c["text_config"].update(vocab_size=2**31))
        elif name == "config-head-dim":
            self.changed("config.json", lambda c: c["text_config"].update(head_dim=1026))
        elif name == "config-size":
            self.changed("preprocessor_config.json", lambda c: c.update(size={"longest_edge": 65537}))
        elif name == "config-tile":
            self.changed("preprocessor_config.json", lambda c: c.update(max_image_size={"longest_edge": 4097}))
        elif name == "weights-header":
            self.put("model.safetensors", struct.pack("<Q", (64 << 20) + 1) + b"{", 100 << 20)
        elif name == "weights-tensors":
            header = ("{" + ",".join(f'"{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in range(200_001)) + "}").encode()
            self.put("model.safetensors", struct.pack("<Q", len(header)) + header)
        elif name == "weights-axes":
            header = json.dumps({"a": {"dtype": "U8", "shape": [1] * 17, "data_offsets": [0, 1]}}).encode()
            self.put("model.safetensors", struct.pack("<Q", len(header)) + header + b"\0")
        elif name == "weights-shards":
            (self.model / "model.safetensors").unlink()
            self.put("model.safetensors.index.json", json.dumps({"weight_map": {str(i): f"{i}.safetensors" for i in range(513)}}))
        elif name == "tokenizer-bytes":
            self.put(tokenizer, b"{}", (64 << 20) + 1)
        elif name == "tokenizer-added":
            self.changed(tokenizer, lambda t: t["added_tokens"][0].update(content="x" * 513))
        elif name == "tokenizer-ids":
            self.changed(tokenizer, lambda t: t["added_tokens"][0].update(id=1 << 22))
        elif name == "tokenizer-parts":
            self.changed(tokenizer, lambda t: t.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}] * 65}))
        elif name == "tokenizer-steps":
            split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
            self.changed(tokenizer, lambda t: t.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [split, {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}))
            return ("tokenize", self.model, "a" * 5000 + "b"), {}
        elif name == "template-bytes":
            return ("render", self.file("t.jinja", "x" * ((1 << 20) + 1)), "--messages", "-"), {"stdin": '{"messages":[]}'}
        elif name == "template-syntax":
            return self.template("{{ " + "(" * 65 + "1" + ")" * 65 + " }}")
        elif name == "template-steps":
            return self.template("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")
        elif name == "template-calls":
            return self.template("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}")
        elif name == "template-string":
            return self.template("{{ 'a' * 4194305 }}")
        elif name == "picture-bytes":
            return self.picture(png(2, 2), (256 << 20) + 1), {}
        elif name == "picture-edge":
            return self.picture(png(70_000, 2)), {}
        elif name == "picture-pixels":
            return self.picture(png(10_000, 8001)), {}
        elif name == "picture-frames":
            return (ROOF, "x", "--frame", "1"), {}
        elif name == "prompt":
            return (ROOF, "x " * 20_000), {}
        elif name == "stop":
            return (ROOF, "x", *[word for i in range(65) for word in ("--stop", f"s{i}")]), {"code": 2}
        elif name == "regex-bytes":
            return (ROOF, "x", "--regex", "a" * 65_537), {"code": 2}
        elif name == "regex-groups":
            return (ROOF, "x", "--regex", "(" * 65 + "a" + ")" * 65), {"code": 2}
        elif name == "regex-count":
            return (ROOF, "x", "--regex", "a{1000001}"), {"code": 2}
        elif name == "schema-depth":
            schema = {"type": "integer"}
            for _ in range(60):
                schema = {"type": "array", "items": {"type": "array", "items": schema}}
            return (ROOF, "x", "--schema", self.file("s.json", json.dumps(schema).replace(" ", ""))), {}
        elif name == "grammar-bytes":
            return (ROOF, "x", "--grammar", self.file("g.gbnf", "#" * 262_145)), {}
        elif name == "grammar-rules":
            return (ROOF, "x", "--grammar", self.file("g.gbnf", "".join(f'r{i} ::= "a"\n' for i in range(4097)))), {}
        elif name == "grammar-groups":
            return (ROOF, "x", "--grammar", self.file("g.gbnf", "root ::= " + "(" * 65 + '"a"' + ")" * 65)), {}
        elif name == "grammar-size":
            return (ROOF, "x", "--regex", "(?:a{1000}b{1000}){1000}"), {"code": 2}
        elif name == "url-bytes":
            return ("http://h.example/" + "a" * 8192, "x"), {}
        elif name == "url-host":
            return ("http://" + "a." * 128 + "example/", "x"), {}
        elif name == "request-bytes":
            path = self.file("r.jsonl", '{"question":"' + "x" * (16 << 20) + '"}\n')
            return ("batch", path), {"lines": True}
        elif name == "request-pictures":
            return ("batch", self.file("r.jsonl", json.dumps({"images": ["x.png"] * 257, "question": "x"}) + "\n")), {"lines": True}
        elif name == "messages-bytes":
            path = self.file("m.json", "{}")
            os.truncate(path, (64 << 20) + 1)
            return ("render", NANO, "--messages", path), {}
        else:
            self.fail(f"docs/limits.md: the row {name} is tried by no test")
        return self.model_run(), {}

    def check(self, *prefixes):
        tried = 0
        for name, message in rows().items():
            if name.split("-")[0] not in prefixes:
                continue
            if SANITIZED and name == "template-steps":
                continue  # the limit of processor time comes first in a slow build
            with self.subTest(limit=name):
                args, more = self.over(name)
                pattern = ".*".join(re.escape(part) for part in message.split("…"))
                if more.pop("lines", False):  # requests fail one by one
                    done = self.run_program(*args, **more)
                    self.assertNotEqual(done.returncode, 0)
                    self.assertRegex((done.stdout + done.stderr).decode(), pattern)
                else:
                    self.assertRegex(self.bad(*args, **more), "^tapetum: " + pattern)
            tried += 1
            for file in NANO.iterdir():
                (self.model / file.name).unlink(missing_ok=True)
                (self.model / file.name).symlink_to(file)
            (self.model / "chat_template.jinja").unlink(missing_ok=True)
        self.assertGreater(tried, 0)

    groups = (("json", "config"), ("weights",), ("tokenizer",), ("template", "messages"), ("picture", "prompt", "stop"), ("regex", "schema", "grammar"), ("url", "request"))

    def test_limits_of_configs(self):
        self.check("json", "config")

    def test_limits_of_weights(self):
        self.check("weights")

    def test_limits_of_tokenizers(self):
        self.check("tokenizer")

    def test_limits_of_templates(self):
        self.check("template", "messages")

    def test_limits_of_pictures_and_prompts(self):
        self.check("picture", "prompt", "stop")

    def test_limits_of_constraints(self):
        self.check("regex", "schema", "grammar")

    def test_limits_of_urls_and_requests(self):
        self.check("url", "request")

    def test_every_row_is_tried(self):
        tried = {prefix for group in self.groups for prefix in group}
        self.assertEqual({name.split("-")[0] for name in rows()} - tried, set())
        self.assertGreater(len(rows()), 30)
