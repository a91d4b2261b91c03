"""Checkpoints that were made to harm: every file of one, damaged in every way of the catalogue."""

import json
import os
import shutil
import subprocess
import zipfile

from support import NANO, PROGRAM, SAMPLES, SANITIZED, Case, environment

ROOF = SAMPLES / "roof.png"
MOST_EXTRA_KB = 256 * 1024


class Checkpoint(Case):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        self.model.mkdir()
        for file in NANO.iterdir():
            (self.model / file.name).symlink_to(file)

    def put(self, name, content):
        (self.model / name).unlink(missing_ok=True)
        (self.model / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    def peak_kb(self, *args):
        """Exit code, stderr and the peak of resident memory of one run."""
        with subprocess.Popen([PROGRAM, *map(os.fspath, args)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()) as process:
            text = process.stderr.read().decode(errors="replace")
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, text, usage.ru_maxrss

    def bad_and_small(self, *says):
        """One line, exit code 1, and no more than 256 MiB beyond what an ordinary run takes."""
        self.bad("-m", self.model, ROOF, "x", says=says)
        if SANITIZED:
            return
        code, _, peak = self.peak_kb("-m", self.model, ROOF, "x")
        self.assertEqual(code, 1)
        self.assertLess(peak, self.peak_kb(ROOF, "x")[2] + MOST_EXTRA_KB)

    def test_B05_json_files_that_are_no_json(self):
        names = ["config.json", "tokenizer.json", "preprocessor_config.json", "processor_config.json", "generation_config.json", "chat_template.json"]
        self.put("model.safetensors.index.json", "{}")
        self.assertTrue(all((self.model / name).exists() for name in names), os.listdir(self.model))
        damage = {
            "deep": lambda text: '{"a":' * 100_000,
            "double key": lambda text: '{"model":{},"model":{},"a":1,"a":2}',
            "NaN": lambda text: text[:-1] + ', "more": NaN}',
            "byte order mark": lambda text: "\ufeff" + text,
            "lone surrogate": lambda text: text[:-1] + ', "more": "\\ud800"}',
            "cut": lambda text: text[: len(text) // 2],
            "not UTF-8": lambda text: text.encode()[:-1] + b', "more": "\xff"}',
            "empty": lambda text: "",
            "a list": lambda text: "[]",
        }
        for name in names:
            whole = (self.model / name).read_text().rstrip()
            for kind, change in damage.items():
                with self.subTest(file=name, damage=kind):
                    self.put(name, change(whole))
                    self.bad("-m", self.model, ROOF, "x", says=name)
            self.put(name, whole)
        self.good("-m", self.model, ROOF, "x", "--max-tokens", "1")

    def test_B05_an_index_that_is_no_json(self):
        (self.model / "model.safetensors").unlink()
        for text in ('{"a":' * 100_000, '{"weight_map":{"a":"b","a":"b"}}', '{"weight_map":NaN}', '\ufeff{"weight_map":{}}', '{"weight_map":{"a":"\\ud800"}}', "", "[]", "{}", '{"weight_map":[]}',
                     '{"weight_map":{"a":7}}', '{"weight_map":{"a":"../b"}}'):
            with self.subTest(text=text[:40]):
                self.put("model.safetensors.index.json", text)
                self.bad("-m", self.model, ROOF, "x", says="model.safetensors.index.json")

    def test_B06_values_of_the_catalogue_are_refused_by_key(self):
        config = json.loads((NANO / "config.json").read_text())
        for scope, key, value in (("text_config", "hidden_size", 0), ("vision_config", "hidden_size", 0), ("vision_config", "num_attention_heads", 7), ("text_config", "vocab_size", 2**31),
                                  ("text_config", "num_hidden_layers", -1), ("vision_config", "num_hidden_layers", -1), ("vision_config", "patch_size", 0)):
            with self.subTest(key=f"{scope}.{key}"):
                self.put("config.json", json.dumps({**config, scope: {**config[scope], key: value}}))
                self.bad("-m", self.model, ROOF, "x", says=["config.json", f"{scope}.{key} is {value}"])
        config["text_config"]["rope_theta"] = float("nan")
        self.put("config.json", json.dumps(config))
        self.bad("-m", self.model, ROOF, "x", says=["config.json", "not valid JSON"])

    def test_B08_tokenizers_that_were_made_to_harm(self):
        tokenizer = json.loads((NANO / "tokenizer.json").read_text())
        hanging = json.loads(json.dumps(tokenizer))
        hanging["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False},
                                                                          {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}
        self.put("tokenizer.json", json.dumps(hanging))
        self.bad("tokenize", self.model, "a" * 5000 + "b", says=["tokenizer.json: pre_tokenizer.pretokenizers[0].pattern.Regex", "limit"])
        odd = json.loads(json.dumps(tokenizer))
        odd["added_tokens"][-1]["content"] = "<0x-1>"
        self.put("tokenizer.json", json.dumps(odd))
        ids = self.good("tokenize", self.model, "say <0x-1>")
        self.assertEqual(self.good("tokenize", self.model, ids, "--decode"), "say <0x-1>\n")
        unknown = json.loads(json.dumps(tokenizer))
        unknown["model"]["merges"][3] = "zzz yyy"
        self.put("tokenizer.json", json.dumps(unknown))
        self.bad("-m", self.model, ROOF, "x", says=["tokenizer.json", "merges[3]", "zzz"])
        far = json.loads(json.dumps(tokenizer))
        far["added_tokens"].append({**far["added_tokens"][0], "id": 2**31, "content": "<far>"})
        self.put("tokenizer.json", json.dumps(far))
        self.bad("-m", self.model, ROOF, "x", says=["tokenizer.json", "2147483648"])

    def test_B09_templates_that_were_made_to_harm(self):
        for source in (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{{ 'a' * 1000000000 }}",
            "{% set ns = namespace(s='ab') %}{% for i in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
            "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        ):
            with self.subTest(source=source):
                self.put("chat_template.json", json.dumps({"chat_template": source}))
                self.bad_and_small("chat_template")

    def test_B10_an_archive_is_never_unpacked(self):
        with zipfile.ZipFile(self.folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as bomb:
            bomb.writestr("data.pkl", bytes(300 << 20))
        self.put("model.safetensors", (self.folder / "bomb.zip").read_bytes())
        self.bad_and_small("model.safetensors", "ZIP")

    def test_B10_a_link_to_a_device_or_a_folder_is_refused(self):
        for target in ("/dev/zero", "/dev/full", str(self.folder)):
            for name in ("model.safetensors", "config.json", "tokenizer.json"):
                with self.subTest(name=name, target=target):
                    (self.model / name).unlink()
                    (self.model / name).symlink_to(target)
                    self.bad("-m", self.model, ROOF, "x", says=name)
                    (self.model / name).unlink()
                    (self.model / name).symlink_to(NANO / name)


class Weights(Case):
    def test_B01_a_header_longer_than_any_file_is_refused(self):
        model = self.folder / "model"
        shutil.copytree(NANO, model)
        for length in (2**63, 2**64 - 1, 65 << 20, 11_000_000_000):
            (model / "model.safetensors").write_bytes(length.to_bytes(8, "little") + b"{}" + bytes(100))
            self.bad("-m", model, ROOF, "x", says=["model.safetensors", "header"])
