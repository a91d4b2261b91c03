"""What the program says about pictures, in every form."""

import json
import shutil
import struct

from PIL import Image

from support import FAMILIES, SAMPLES, Case, environment, write_safetensors

REFERENCE = json.loads((SAMPLES / "reference.json").read_text())["answers"]


class Answers(Case):
    def test_answers_in_f32_equal_the_reference(self):
        # Two questions of every sample; the unit tests go through all of them.
        for name, answers in REFERENCE.items():
            for answer in answers[:2]:
                if answer["least_margin"] <= 0.01:
                    continue
                result = self.good_json(SAMPLES / f"{name}.png", answer["q"], "--dtype", "f32", "--max-tokens", "80", "--temperature", "0")
                self.assertEqual(result["text"], answer["text"].strip(), f"{name}: {answer['q']}")

    def test_a_question_has_the_promised_shape(self):
        result = self.good_json(SAMPLES / "roof.png", "What is on the roof?")
        self.assertEqual(set(result), {"image", "width", "height", "model", "prompt_sent", "text", "finish_reason", "tokens", "lookup", "ms"})
        self.assertEqual((result["width"], result["height"], result["model"]), (768, 768, "nano"))
        self.assertEqual(set(result["tokens"]), {"prompt", "image", "output"})
        self.assertEqual(result["tokens"]["image"], 25)
        self.assertEqual(result["finish_reason"], "stop")
        self.assertIn("What is on the roof?", result["prompt_sent"])
        for stage in ("load", "preprocess", "encode", "prefill", "decode"):
            self.assertGreaterEqual(result["ms"][stage], 0)

    def test_looked_up_drafts_change_no_answer_and_are_counted(self):
        ask = (SAMPLES / "roof.png", "What is on the roof?", "--regex", "(a white bird, ){30}")
        plain = self.good_json(*ask, "--lookup", "off")
        drafted = self.good_json(*ask)
        self.assertEqual((drafted["text"], drafted["tokens"]), (plain["text"], plain["tokens"]))
        self.assertEqual(plain["lookup"], {"drafted": 0, "accepted": 0})
        self.assertGreaterEqual(drafted["lookup"]["drafted"], drafted["lookup"]["accepted"])
        self.assertIn("--lookup HOW", self.good("--help"))

    def test_plain_output_is_the_answer_and_a_newline(self):
        text = self.good(SAMPLES / "roof.png", "What is on the roof?")
        self.assertEqual(text, self.good_json(SAMPLES / "roof.png", "What is on the roof?")["text"] + "\n")

    def test_describe_several_gives_an_array_in_order(self):
        results = self.good_json("describe", SAMPLES / "roof.png", SAMPLES / "yard.png")
        self.assertEqual([r["image"] for r in results], [str(SAMPLES / "roof.png"), str(SAMPLES / "yard.png")])
        self.assertEqual(results[1]["text"], self.good_json("describe", SAMPLES / "yard.png")["text"])

    def test_a_picture_comes_from_stdin(self):
        picture = (SAMPLES / "roof.png").read_bytes()
        self.assertEqual(self.good("-", "What is on the roof?", stdin=picture), self.good(SAMPLES / "roof.png", "What is on the roof?"))

    def test_max_tokens_and_stop_end_an_answer(self):
        cut = self.good_json("describe", SAMPLES / "roof.png", "--max-tokens", "3")
        self.assertEqual((cut["finish_reason"], cut["tokens"]["output"]), ("length", 3))
        whole = self.good_json("describe", SAMPLES / "roof.png")["text"]
        stop = whole[10:14]
        stopped = self.good_json("describe", SAMPLES / "roof.png", "--stop", stop)
        self.assertEqual((stopped["text"], stopped["finish_reason"]), (whole[: whole.index(stop)], "stop"))

    def test_a_seed_gives_the_same_answer_again(self):
        args = ("describe", SAMPLES / "yard.png", "--temperature", "1.5", "--seed", "7")
        self.assertEqual(self.good(*args), self.good(*args))
        others = {self.good("describe", SAMPLES / "yard.png", "--temperature", "1.5", "--seed", str(seed)) for seed in range(6)}
        self.assertGreater(len(others), 1)

    def test_every_dtype_answers(self):
        for dtype in ("f32", "bf16", "q8", "q4"):
            self.assertIn("bird", self.good(SAMPLES / "roof.png", "What is on the roof?", "--dtype", dtype), dtype)

    def test_one_thread_and_two_agree(self):
        args = ("describe", SAMPLES / "roof.png", "--dtype", "f32")
        self.assertEqual(self.good(*args, "--threads", "1"), self.good(*args, "--threads", "2"))


class Detect(Case):
    def test_boxes_are_in_source_pixels(self):
        result = self.good_json("detect", "sun", SAMPLES / "roof.png", "--dtype", "f32")
        self.assertEqual(set(result), {"image", "width", "height", "model", "prompt_sent", "objects", "counts", "text", "invalid", "cut"})
        self.assertEqual(len(result["objects"]), 1)
        thing = result["objects"][0]
        self.assertEqual((thing["label"], result["counts"], result["invalid"]), ("sun", {"sun": 1}, 0))
        self.assertTrue(0 < thing["score"] < 1)
        # Truth: <loc0056><loc0008><loc0216><loc0168>, in 768 pixels.
        for got, want in zip(thing["box"], (8 * 0.75, 56 * 0.75, 168 * 0.75, 216 * 0.75)):
            self.assertLess(abs(got - want), 25)

    def test_nothing_found_is_no_failure(self):
        result = self.good_json("detect", "ball", SAMPLES / "roof.png", "--dtype", "f32")
        self.assertEqual((result["objects"], result["counts"]), ([], {}))
        self.assertEqual(self.good("detect", "ball", SAMPLES / "roof.png", "--dtype", "f32"), "nothing found\n")

    def test_a_drawing_is_a_png_of_the_same_size(self):
        out = self.folder / "out.png"
        self.good("detect", "tree", SAMPLES / "roof.png", "-o", out)
        with Image.open(out) as drawn, Image.open(SAMPLES / "roof.png") as source:
            self.assertEqual((drawn.format, drawn.size), ("PNG", source.size))
            self.assertNotEqual(drawn.convert("RGB").tobytes(), source.convert("RGB").tobytes())

    def test_a_wide_picture_has_its_boxes_in_its_own_pixels(self):
        wide = self.folder / "wide.png"
        with Image.open(SAMPLES / "roof.png") as source:
            source.convert("RGB").resize((1200, 400), Image.Resampling.BICUBIC).save(wide)
        square = self.good_json("detect", "tree", SAMPLES / "roof.png", "--dtype", "f32")
        result = self.good_json("detect", "tree", wide, "--dtype", "f32")
        self.assertEqual((result["width"], result["height"]), (1200, 400))
        (a, b) = (square["objects"][0]["box"], result["objects"][0]["box"])
        for i, (got, want) in enumerate(zip(b, a)):
            scale = 1200 / 768 if i % 2 == 0 else 400 / 768
            self.assertLess(abs(got - want * scale), 60)

    def test_a_rotated_picture_is_read_upright(self):
        rotated = self.folder / "rotated.jpg"
        with Image.open(SAMPLES / "roof.png") as source:
            upright = source.convert("RGB").resize((768, 512))
            exif = Image.Exif()
            exif[0x0112] = 6  # stored turned, to be shown turned back by 90 degrees clockwise
            upright.rotate(90, expand=True).save(rotated, quality=95, exif=exif.tobytes())
            upright.save(self.folder / "upright.png")
        result = self.good_json("detect", "tree", rotated, "--dtype", "f32")
        self.assertEqual((result["width"], result["height"]), (768, 512))
        want = self.good_json("detect", "tree", self.folder / "upright.png", "--dtype", "f32")
        for got, expected in zip(result["objects"][0]["box"], want["objects"][0]["box"]):
            self.assertLess(abs(got - expected), 40)
        self.assertEqual(self.good_json("describe", rotated)["width"], 768)


class Verify(Case):
    def test_smolvlm_passes(self):
        rows = self.good_json("verify", FAMILIES / "smolvlm")
        self.assertEqual({row["status"] for row in rows}, {"passed"})
        self.assertEqual({row["case"] for row in rows}, {"split", "two_images", "no_split", "upscaled_small"})
        self.assertTrue({"ids", "pixels", "vision_hidden", "features", "logits", "greedy"} <= {row["stage"] for row in rows})
        self.assertEqual({row["from"] for row in rows}, {"golden", "end"})

    def test_other_dtypes_measure_their_errors_and_judge_what_is_exact(self):
        errors, logits = [], []
        for dtype in ("f32", "bf16", "q8", "q4"):
            rows = self.good_json("verify", FAMILIES / "smolvlm", "--dtype", dtype)
            self.assertEqual({row["status"] for row in rows}, {"passed"} if dtype == "f32" else {"passed", "measured"})
            self.assertTrue(all(row["status"] == "passed" for row in rows if row["stage"] in ("ids", "pixels")))
            def worst(stage):
                return max(row["relative"] for row in rows if row["stage"] == stage and row["from"] == "end")
            errors.append(worst("features"))
            logits.append(worst("logits"))
        self.assertEqual(errors, sorted(errors))
        self.assertLess(errors[0], 1e-5)
        self.assertTrue(0.001 < errors[1] < errors[2] < 0.05, errors)
        self.assertEqual(errors[2], errors[3])  # a tower beside q4 text is q8
        self.assertGreater(logits[3], 2 * logits[2])

    def test_smolvlm_passes_at_every_level_of_this_cpu(self):
        levels = ("scalar", "sse4", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx")
        ran = []
        for level in levels:
            done = self.run_program("verify", FAMILIES / "smolvlm", env=environment(TAPETUM_ISA=level))
            if done.returncode == 2:  # not on this CPU: said so, with the ones that are
                self.assertIn(b"TAPETUM_ISA", done.stderr)
                continue
            self.assertEqual(done.returncode, 0, level)
            ran.append(level)
        self.assertGreaterEqual(len(ran), 2)

    def test_a_stage_that_cannot_be_checked_passes_only_when_it_is_named(self):
        self.good("verify", FAMILIES / "smolvlm2")
        pictures_only = self.copied("smolvlm2")
        settings = pictures_only / "checkpoint/preprocessor_config.json"
        config = json.loads(settings.read_text())
        del config["video_sampling"]
        settings.write_text(json.dumps(config))
        done = self.run_program("verify", pictures_only)
        self.assertEqual(done.returncode, 1)
        self.assertIn("video", done.stdout.decode())
        self.good("verify", pictures_only, "--allow-unchecked", "video:ids", "--allow-unchecked", "video:pixels")

    def test_a_changed_golden_fails_and_is_named(self):
        copy = self.copied("smolvlm")
        case = copy / "split.safetensors"
        data = bytearray(case.read_bytes())
        size = struct.unpack("<Q", data[:8])[0]
        begin, _ = json.loads(data[8 : 8 + size])["logits"]["data_offsets"]
        at = 8 + size + begin + 4 * 1000
        data[at : at + 4] = struct.pack("<f", struct.unpack("<f", data[at : at + 4])[0] + 0.01)
        case.write_bytes(data)
        done = self.run_program("verify", copy, "--json")
        self.assertEqual(done.returncode, 1)
        failed = [row for row in json.loads(done.stdout) if row["status"] == "failed"]
        self.assertEqual({(row["case"], row["stage"]) for row in failed}, {("split", "logits")})
        self.assertTrue(all(0.009 < row["max_abs"] < 0.011 for row in failed))

    def test_an_unknown_tensor_is_reported_only(self):
        copy = self.copied("smolvlm")
        case = copy / "no_split.safetensors"
        data = case.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + size])
        header.pop("__metadata__", None)
        tensors = {k: (v["dtype"], v["shape"], data[8 + size + v["data_offsets"][0] : 8 + size + v["data_offsets"][1]]) for k, v in header.items()}
        tensors["mystery"] = ("F32", [1], struct.pack("<f", 1))
        write_safetensors(case, tensors)
        rows = self.good_json("verify", copy)
        self.assertEqual([row["stage"] for row in rows if row["status"] == "unknown"], ["mystery"])

    def changed_manifest(self, change):
        copy = self.copied("smolvlm")
        manifest = json.loads((copy / "manifest.json").read_text())
        change(manifest)
        (copy / "manifest.json").write_text(json.dumps(manifest))
        return copy

    def test_a_listed_tensor_must_be_there_as_listed(self):
        copy = self.changed_manifest(lambda m: m["cases"][0]["tensors"].update(lost=["float32", [1]]))
        self.bad("verify", copy, says=["manifest.json", "split", "lost"])
        shutil.rmtree(copy)
        copy = self.changed_manifest(lambda m: m["cases"][0]["tensors"].update(logits=["float32", [1, 2]]))
        self.bad("verify", copy, says=["manifest.json", "split", "logits"])

    def test_a_manifest_that_checks_nothing_is_refused(self):
        for change in (lambda m: m.update(cases=[]), lambda m: m.update(max_abs_tolerance=0), lambda m: m.update(max_abs_tolerance="x"), lambda m: m.pop("checkpoint")):
            copy = self.changed_manifest(change)
            self.bad("verify", copy, says="manifest.json")
            shutil.rmtree(copy)

    def test_an_excuse_for_no_stage_is_wrong_use(self):
        self.bad("verify", FAMILIES / "smolvlm", "--allow-unchecked", "split:nothing", code=2, says="split:nothing")

    def test_a_folder_without_a_manifest_is_named(self):
        self.bad("verify", self.folder, says="manifest.json")

    def copied(self, family):
        target = self.folder / "unseen name"
        shutil.copytree(FAMILIES / family, target)
        for path in [target, *target.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        return target
