"""Guards: what they refuse, what they are told, and that nothing refused comes out."""

import base64
import io
import json
import unittest

from PIL import Image, ImageOps

from support import FAMILIES, ROOT, SAMPLES, Case

ROOF = SAMPLES / "roof.png"
DANGER = ROOT / "tests/data/guard/dangerous.png"  # nano gives it about 0.66, the samples next to nothing
TEXT_GUARD = FAMILIES / "shieldgemma1/checkpoint"  # random weights: its scores mean nothing, and are the same every time
PICTURE_GUARD = FAMILIES / "shieldgemma2/checkpoint"
NANO_IN = "nano:0.3@in"


class Verdicts(Case):
    def test_exit_code_3_says_that_something_was_refused(self):
        self.assertIn("roof.png: passed (dangerous 0.0", self.good("guard", ROOF))
        done = self.run_program("guard", ROOF, DANGER)
        self.assertEqual(done.returncode, 3, done.stderr)
        lines = done.stdout.decode().splitlines()
        self.assertIn("passed", lines[0])
        self.assertIn("dangerous.png: refused (dangerous 0.6", lines[1])

    def test_json_has_scores_categories_and_what_was_checked(self):
        done = self.run_program("guard", DANGER, "--json", "--threshold", "0.6")
        self.assertEqual(done.returncode, 3)
        result = json.loads(done.stdout)
        self.assertEqual(result["checked"], ["image"])
        self.assertIs(result["flagged"], True)
        self.assertEqual(result["categories"], {"dangerous": True})
        self.assertEqual(result["results"][0]["threshold"], 0.6)
        self.assertAlmostEqual(result["results"][0]["p_violates"], result["category_scores"]["dangerous"])
        self.assertEqual(self.run_program("guard", DANGER, "--threshold", "0.9").returncode, 0)

    def test_pictures_and_texts_go_to_the_guard_that_can_judge_them(self):
        done = self.run_program("guard", ROOF, "a harmless text", "--guard", PICTURE_GUARD, "--guard", TEXT_GUARD, "--json", "-q")
        self.assertIn(done.returncode, (0, 3))
        picture, text = json.loads(done.stdout)
        self.assertEqual(picture["checked"], ["image"])
        self.assertEqual(list(picture["categories"]), ["dangerous", "sexual", "violence"])
        self.assertEqual(text["checked"], ["text"])
        self.assertEqual(list(text["categories"]), ["dangerous", "harassment", "hate", "sexual"])

    def test_a_policy_of_ones_own(self):
        done = self.run_program("guard", "a text", "-m", TEXT_GUARD, "--policy", "cats", "--policy-text", "cats=No cats.", "--json", "-q")
        self.assertEqual(list(json.loads(done.stdout)["categories"]), ["cats"])

    def test_a_text_for_a_guard_of_pictures_is_an_error_that_names_one_of_texts(self):
        self.bad("guard", "how do I build a bomb", says=["nano judges pictures, not texts", "google/shieldgemma-2b"])
        self.bad("guard", ROOF, "-m", TEXT_GUARD, says=["judges texts, not pictures", "google/shieldgemma-2-4b-it"])

    def test_unknown_policies_and_thresholds_out_of_range(self):
        self.bad("guard", ROOF, "--policy", "gore", code=2, says=['no policy "gore"', "it has dangerous"])
        self.bad("guard", ROOF, "--threshold", "1.5", code=2, says=["1.5", "from 0 to 1"])
        self.bad("guard", ROOF, "--threshold", "nan", code=2, says=["nan", "from 0 to 1"])
        self.bad("guard", ROOF, "--policy-text", "cats=No cats.", says=["nano", "takes no others"])
        self.bad("guard", ROOF, "--policy-text", "cats", code=2, says="NAME=TEXT")
        self.bad("guard", ROOF, "-m", FAMILIES / "gemma3/checkpoint", says=["is no guard"])
        self.bad(ROOF, "?", "--guard", "nano:2@in", code=2, says=["2", "from 0 to 1"])
        self.bad(ROOF, "?", "--guard", ":0.5", code=2, says="names no model")
        self.bad(ROOF, "?", "--guard", "nano:", code=2, says="a threshold follows the colon")

    def test_one_that_cannot_be_judged_is_no_pass(self):
        broken = self.folder / "broken.png"
        broken.write_bytes(DANGER.read_bytes()[:100])
        done = self.run_program("guard", ROOF, broken)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"broken.png", done.stderr)


class Hiding(Case):
    """Pictures that hide the one to refuse from whoever looks at the first frame, as stored, on white only."""

    def refused(self, *args, **kwargs):
        done = self.run_program("guard", *args, "--threshold", "0.3", "--json", **kwargs)
        self.assertEqual(done.returncode, 3, done.stdout.decode() + done.stderr.decode())
        return json.loads(done.stdout)

    def setUp(self):
        super().setUp()
        self.danger = Image.open(DANGER).convert("RGB")
        self.roof = Image.open(ROOF).convert("RGB").resize(self.danger.size)

    def save(self, name, image, **options):
        path = self.folder / name
        image.save(path, **options)
        return path

    def test_frame_7_of_a_gif_and_of_a_webp_and_page_3_of_a_tiff(self):
        frames = [self.roof.rotate(i) for i in range(12)]
        frames[7] = self.danger
        gif = self.save("a.gif", frames[0], save_all=True, append_images=frames[1:])
        result = self.refused(gif)
        self.assertEqual((result["frames"], result["results"][0]["frame"]), (12, 7))
        webp = self.save("a.webp", frames[0], save_all=True, append_images=frames[1:], lossless=True)
        self.assertEqual(self.refused(webp)["results"][0]["frame"], 7)
        tiff = self.save("a.tiff", self.roof, save_all=True, append_images=[self.roof, self.roof, self.danger])
        self.assertEqual(self.refused(tiff)["results"][0]["frame"], 3)
        # and in front of a model, whatever frame it would look at
        self.bad(gif, "What is this?", "--guard", NANO_IN, code=3, says=["refused by nano: dangerous", "frame 7"])

    def test_turned_by_exif(self):
        exif = Image.Exif()
        exif[0x0112] = 6
        turned = self.danger.transpose(Image.Transpose.ROTATE_90)
        path = self.save("turned.png", turned, exif=exif)
        self.assertEqual(ImageOps.exif_transpose(Image.open(path)).tobytes(), self.danger.tobytes())
        self.refused(path)

    def test_visible_on_black_only(self):
        # Premultiplied by hand: what is white on white, and the picture on black.
        pixels = []
        for value in self.danger.convert("L").getdata():
            pixels.append((255, 255, 255, value))
        image = Image.new("RGBA", self.danger.size)
        image.putdata(pixels)
        path = self.save("alpha.png", image)
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        self.assertEqual(white.getextrema(), ((255, 255),) * 3)
        result = json.loads(self.run_program("guard", path, "--json").stdout)
        grey = self.save("grey.png", self.danger.convert("L").convert("RGB"))
        wanted = json.loads(self.run_program("guard", grey, "--json").stdout)
        self.assertGreater(wanted["category_scores"]["dangerous"], 0.02)
        self.assertAlmostEqual(result["category_scores"]["dangerous"], wanted["category_scores"]["dangerous"], places=2)

    def test_cmyk(self):
        self.refused(self.save("cmyk.jpg", self.danger.convert("CMYK"), quality=100, subsampling=0))

    def test_in_a_data_url(self):
        self.refused("data:image/png;base64," + base64.b64encode(DANGER.read_bytes()).decode())

    def test_more_frames_than_can_be_judged(self):
        dot = Image.new("P", (2, 2))
        out = io.BytesIO()
        frames = [dot.point(lambda _, i=i: i % 2) for i in range(1100)]
        frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], optimize=False, disposal=2)
        path = self.folder / "many.gif"
        path.write_bytes(out.getvalue())
        self.bad("guard", path, says=["many.gif", "a guard judges at most 1000"])


class Before(Case):
    def test_a_refused_picture_reaches_no_model(self):
        done = self.run_program(DANGER, "What is this?", "--guard", NANO_IN)
        self.assertEqual((done.returncode, done.stdout), (3, b""))
        self.assertIn(b"dangerous.png: refused by nano: dangerous with p 0.6", done.stderr)
        failure = json.loads(self.run_program(DANGER, "What?", "--guard", NANO_IN, "--json", "-q").stdout)
        self.assertEqual(failure["error"]["code"], "refused")
        self.assertTrue(failure["error"]["item"].endswith("dangerous.png"))

    def test_the_others_are_answered_and_say_what_was_checked(self):
        done = self.run_program("describe", ROOF, DANGER, "--guard", NANO_IN, "--json", "-q")
        self.assertEqual(done.returncode, 3, done.stderr)
        roof, danger = json.loads(done.stdout)
        self.assertEqual(roof["safety"]["input"][0]["checked"], ["image"])
        self.assertEqual(roof["safety"]["output"], [])
        self.assertEqual(danger["error"]["code"], "refused")

    def test_detect_and_batch_and_every_picture_of_a_request(self):
        self.bad("detect", "knife", DANGER, "--guard", NANO_IN, "-q", code=3, says="refused by nano")
        requests = self.folder / "requests.jsonl"
        lines = [{"images": [str(ROOF), str(DANGER)], "question": "What?"}, {"image": str(ROOF), "question": "What is on the roof?"}]
        requests.write_text("".join(json.dumps(line) + "\n" for line in lines))
        out = self.folder / "out.jsonl"
        self.assertEqual(self.run_program("batch", requests, "-o", out, "--guard", NANO_IN).returncode, 3)
        results = {line["index"]: line for line in map(json.loads, out.read_text().splitlines())}
        self.assertEqual(results[0]["error"]["code"], "refused")
        self.assertEqual(results[1]["text"], "A white bird")

    def test_a_picture_in_turn_2_of_a_chat(self):
        lines = f"{ROOF} What is on the roof?\n{DANGER} And here?\nWhat color is the bird?\n"
        done = self.run_program("chat", "--guard", NANO_IN, "--json", "-q", stdin=lines)
        first, second, third = map(json.loads, done.stdout.decode().splitlines())
        self.assertEqual(first["safety"]["input"][0]["checked"], ["image"])
        self.assertEqual(second["error"]["code"], "refused")
        self.assertEqual(third["images"], [])
        self.assertEqual(third["safety"]["input"], [])  # nothing new was judged

    def test_words_alone_need_a_guard_of_texts(self):
        done = self.run_program("chat", "--guard", NANO_IN, "--json", "-q", stdin="Hello there\n")
        failure = json.loads(done.stdout)
        self.assertEqual(failure["error"]["code"], "unsupported")
        self.assertIn("--guard google/shieldgemma-2b@in", failure["error"]["message"])

    def test_a_guard_that_cannot_be_loaded_ends_the_run(self):
        done = self.run_program(ROOF, "What?", "--guard", self.folder / "nowhere@in")
        self.assertEqual((done.returncode, done.stdout), (1, b""))


class Behind(Case):
    def test_a_guard_of_pictures_behind_a_model_is_an_error(self):
        self.bad(ROOF, "What?", "--guard", "nano", says=["answers are text", "google/shieldgemma-2b", "nano@in"])

    def test_nothing_of_a_refused_answer_comes_out(self):
        for command in ([ROOF, "What is on the roof?"], ["describe", ROOF], ["detect", "bird", ROOF]):
            done = self.run_program(*command, "--guard", f"{TEXT_GUARD}:0@out", "-q")
            self.assertEqual((done.returncode, done.stdout.strip()), (3, b""), command)
            self.assertIn(b"refused by checkpoint", done.stderr)

    def test_an_answer_that_passes_is_the_same_as_without(self):
        free = self.good("describe", ROOF)
        self.assertEqual(self.good("describe", ROOF, "--guard", f"{TEXT_GUARD}:1@out", "-q"), free)
        guarded = self.good_json("describe", ROOF, "--guard", f"{TEXT_GUARD}:1", "-q")
        self.assertEqual(guarded["text"], free.strip())
        self.assertEqual([one["checked"] for one in guarded["safety"]["output"]], [["text"]])
        self.assertEqual([one["checked"] for one in guarded["safety"]["input"]], [["text"]])

    def test_a_chat_holds_its_answers_back(self):
        done = self.run_program("chat", ROOF, "--guard", f"{TEXT_GUARD}:0@out", "-q", stdin="What is on the roof?\n")
        self.assertEqual(done.stdout.strip(), b"")
        self.assertIn(b"the answer: refused by checkpoint", done.stderr)


class Calibrating(Case):
    def test_thresholds_are_measured_written_and_used(self):
        labels = self.folder / "labels.csv"
        rows = [(DANGER, 1), (ROOF, 0), (SAMPLES / "winter.png", "no")]
        labels.write_text("image,policy,violates\n" + "".join(f"{path},dangerous,{truth}\n" for path, truth in rows))
        out = self.folder / "thresholds.json"
        text = self.good("guard", "calibrate", "--labels", labels, "-o", out)
        self.assertIn("dangerous: 3 examples, 1 of them violate", text)
        self.assertIn("best F1", text)
        threshold = json.loads(out.read_text())["thresholds"]["dangerous"]
        self.assertTrue(0.01 < threshold < 0.6, threshold)
        done = self.run_program("guard", DANGER, "--threshold", out, "--json")
        self.assertEqual(json.loads(done.stdout)["results"][0]["threshold"], threshold)
        self.assertEqual(self.run_program(DANGER, "What?", "--guard", f"nano:{out}@in", "-q").returncode, 3)

    def test_bad_labels_and_threshold_files_are_named(self):
        labels = self.folder / "labels.csv"
        labels.write_text("image,policy,violates\nnowhere.png,dangerous,1\n")
        self.bad("guard", "calibrate", "--labels", labels, says="nowhere.png")
        labels.write_text(f"image,policy,violates\n{ROOF},gore,1\n")
        self.bad("guard", "calibrate", "--labels", labels, says=["labels.csv", "line 2", "gore"])
        labels.write_text(f"image,policy,violates\n{ROOF},dangerous,1\n")
        self.bad("guard", "calibrate", "--labels", labels, says=["labels.csv", "1 of its 1 examples"])
        self.bad("guard", "calibrate", code=2, says="--labels")
        self.bad("guard", ROOF, "--labels", labels, code=2, says="calibrate")
        thresholds = self.folder / "thresholds.json"
        thresholds.write_text('{"thresholds": {"dangerous": 7}}')
        self.bad("guard", ROOF, "--threshold", thresholds, says=["thresholds.json", "thresholds.dangerous", "from 0 to 1"])
        thresholds.write_text("[]")
        self.bad("guard", ROOF, "--threshold", thresholds, says=["thresholds.json", "guard calibrate"])


if __name__ == "__main__":
    unittest.main()
