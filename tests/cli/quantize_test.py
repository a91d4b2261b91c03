"""tapetum quantize: the folder it writes, its report, and what it refuses."""

import json
import shutil
import struct

from support import FAMILIES, NANO, SAMPLES, Case, with_fault

ROOF = SAMPLES / "roof.png"
SMOLVLM = FAMILIES / "smolvlm/checkpoint"


class Quantize(Case):
    def quantize(self, dtype="q8", *more, model=SMOLVLM, name="new"):
        return self.good_json("quantize", "-m", model, "--dtype", dtype, self.folder / name, *more)

    def header(self, file="new/model.safetensors"):
        with open(self.folder / file, "rb") as data:
            return json.loads(data.read(struct.unpack("<Q", data.read(8))[0]))

    def rewrite(self, change):
        """Writes the weights again with a header that `change` changed; the data stays."""
        path = self.folder / "new/model.safetensors"
        data = path.read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    def test_a_quantized_folder_answers_as_the_source_in_that_type(self):
        for dtype in ("q8", "q4"):
            report = self.quantize(dtype, model=NANO, name=dtype)
            self.assertLess(report["bytes"], 0.6 * report["source_bytes"])
            for question in ("What is on the roof?", "How many objects are there?"):
                def ask(*model):
                    return self.good_json(*model, ROOF, question, "--logprobs")
                stored, rounded = ask("-m", self.folder / dtype), ask("--dtype", dtype)
                for key in ("text", "logprobs"):
                    self.assertEqual(stored[key], rounded[key])
            self.assertEqual(self.good("-m", self.folder / dtype, "--dtype", dtype, ROOF, "What is on the roof?"),
                             self.good("--dtype", dtype, ROOF, "What is on the roof?"))

    def test_the_folder_holds_the_other_files_and_says_what_it_is(self):
        self.quantize("q4")
        config = json.loads((self.folder / "new/config.json").read_text())
        self.assertEqual(config.pop("quantization_config"), {"quant_method": "tapetum", "dtype": "q4", "version": 1})
        self.assertEqual(config, json.loads((SMOLVLM / "config.json").read_text()))
        for file in SMOLVLM.iterdir():
            if file.name not in ("config.json", "model.safetensors"):
                self.assertEqual((self.folder / "new" / file.name).read_bytes(), file.read_bytes())
        self.assertEqual(self.header()["__metadata__"], {"tapetum.quantized": "q4", "tapetum.quantized_version": "1"})
        shown = self.good_json("show", self.folder / "new")
        self.assertEqual((shown["weights_as"], shown["quantized"], list(shown["memory_bytes"])), ("q4", True, ["q4"]))
        for dtype in ("q8", "q4"):
            self.quantize(dtype, model=NANO, name=dtype)
            self.assertEqual(self.good_json("show", self.folder / dtype)["parameters"], self.good_json("show", NANO)["parameters"])

    def test_the_report_has_every_matrix_and_every_text(self):
        text = self.folder / "text.txt"
        text.write_text("A white bird sits on the roof. " * 40)
        report = self.quantize("q4", "--text", text, ROOF, "--question", "What is on the roof?", model=NANO)
        self.assertEqual(len(report["matrices"]), 73)
        for matrix in report["matrices"]:
            self.assertEqual(matrix["type"], "q4" if matrix["name"].startswith(("model.text_model", "lm_head")) else "q8", matrix)
            self.assertLess(matrix["relative_rms"], 0.1 if matrix["type"] == "q4" else 0.02, matrix)
        self.assertEqual(report["exact"], ["model.vision_model.embeddings.patch_embedding.weight"])
        answer = report["answer"]
        self.assertEqual([row["name"] for row in answer["texts"]], [str(text), str(ROOF)])
        self.assertEqual(answer["tokens"], sum(row["tokens"] for row in answer["texts"]))
        picture = answer["texts"][1]
        self.assertEqual(picture["top1_agreement"], 1)  # nano is sure of this answer
        self.assertLess(picture["perplexity"]["f32"], 1.1)
        self.assertLess(picture["perplexity"]["q4"], 1.2)
        shown = self.good("quantize", "-m", NANO, "--dtype", "q4", self.folder / "new", "--force", "--quiet")
        self.assertIn("73 matrices, the 10 worst", shown)
        self.assertEqual(shown.count("%\n"), 10 + 1)
        self.assertIn("built-in text", shown)

    def test_types_that_quantize_nothing_are_refused(self):
        for dtype in ("f32", "bf16"):
            self.bad("quantize", "--dtype", dtype, self.folder / "new", code=2, says=[f"--dtype {dtype}", "q8 or q4"])
        self.bad("quantize", self.folder / "new", code=2, says="needs --dtype q8 or --dtype q4")
        self.bad("quantize", "--dtype", "q5", self.folder / "new", code=2, says="--dtype is \"q5\"")
        self.bad("quantize", "--dtype", "q4", code=2, says="the folder to write")
        self.bad("quantize", "--dtype", "q4", self.folder / "new", "--question", "What?", code=2, says="--question")
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_folder_that_holds_something_stays(self):
        out = self.folder / "out"
        out.mkdir()
        (out / "notes.txt").write_text("mine")
        self.bad("quantize", "--dtype", "q4", out, says=["out", "not empty", "--force"])
        self.bad("quantize", "--dtype", "q4", out, "--force", says=["out", "something else than a quantized model"])
        (self.folder / "file").write_text("mine")
        self.bad("quantize", "--dtype", "q4", self.folder / "file", says="is a file")
        self.bad("quantize", "--dtype", "q4", self.folder / "none/new", says=["none/new", "No such file"])
        self.assertEqual([p.name for p in out.iterdir()], ["notes.txt"])
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["file", "out"])

    def test_what_is_given_is_read_before_anything_is_written(self):
        self.bad("quantize", "--dtype", "q4", self.folder / "new", "--text", self.folder / "none.txt", says="none.txt")
        self.bad("quantize", "--dtype", "q4", self.folder / "new", "none.png", says="none.png")
        self.bad("quantize", "-m", FAMILIES / "gemma3_text/checkpoint", "--dtype", "q4", self.folder / "new", ROOF, says="reads text only")
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_F02_a_full_disk_leaves_nothing(self):
        for n in (1, 2, 30, 90):
            line = self.bad("quantize", "-m", SMOLVLM, "--dtype", "q4", self.folder / "new", "--quiet",
                            env=with_fault(f"write:{n}:ENOSPC:{self.folder.resolve()}"), says=["new/", "No space left"])
            self.assertNotIn(".tmp-", line)
            self.assertEqual(list(self.folder.iterdir()), [])
        for fault in ("fsync:1:EIO", "rename:1:ENOSPC"):
            self.bad("quantize", "-m", SMOLVLM, "--dtype", "q4", self.folder / "new", "--quiet", env=with_fault(f"{fault}:{self.folder.resolve()}"))
            self.assertEqual(list(self.folder.iterdir()), [])

    def test_F03_a_source_that_cannot_be_read_is_named(self):
        for n in (3, 40):
            self.bad("quantize", "-m", SMOLVLM, "--dtype", "q8", self.folder / "new", "--quiet",
                     env=with_fault(f"pread:{n}:EIO:{SMOLVLM}"), says=["model.safetensors", "Input/output error"])
            self.assertEqual(list(self.folder.iterdir()), [])

    def test_another_type_of_a_quantized_folder_is_refused(self):
        self.quantize("q8")
        new = self.folder / "new"
        for dtype in ("f32", "bf16", "q4"):
            self.bad("-m", new, "--dtype", dtype, ROOF, "x", says=["stored in q8", f"--dtype {dtype}"])
        self.bad("quantize", "-m", new, "--dtype", "q8", self.folder / "again", says="is quantized to q8 already")
        self.bad("quantize", "-m", new, "--dtype", "q4", self.folder / "again", says="stored in q8")
        self.assertEqual([p.name for p in self.folder.iterdir()], ["new"])

    def test_B03_damaged_folders_are_one_line(self):
        self.quantize("q8")
        new, weights = self.folder / "new", self.folder / "new/model.safetensors"
        whole = weights.read_bytes()
        scale = next(n for n in self.header() if n.endswith(".q8_scale"))

        weights.write_bytes(whole[:-100])
        self.bad("-m", new, ROOF, "x", says=["model.safetensors", "100 bytes are missing"])
        weights.write_bytes(whole)

        self.rewrite(lambda header: header.__setitem__("other", header.pop(scale)))
        self.bad("-m", new, ROOF, "x", says=["model.safetensors", f"{scale}: missing, want F32"])
        weights.write_bytes(whole)

        def reshape(header):
            header[scale]["shape"].append(1)
        self.rewrite(reshape)
        self.bad("-m", new, ROOF, "x", says=["model.safetensors", f"{scale}: F32 [", "want F32 ["])
        weights.write_bytes(whole)

        self.rewrite(lambda header: header["__metadata__"].update({"tapetum.quantized_version": "2"}))
        self.bad("-m", new, ROOF, "x", says=["model.safetensors", "version"])
        self.rewrite(lambda header: header.pop("__metadata__"))
        self.bad("-m", new, ROOF, "x", says=["config.json", "do not belong together"])
        shutil.copyfile(SMOLVLM / "model.safetensors", weights)
        self.bad("-m", new, ROOF, "x", says=["config.json", "do not belong together"])

    def test_a_link_to_a_folder_is_written_through(self):
        (self.folder / "there").mkdir()
        (self.folder / "link").symlink_to("there")
        self.quantize("q8", name="link")
        self.assertTrue((self.folder / "link").is_symlink())
        self.assertTrue((self.folder / "there/model.safetensors").exists())
