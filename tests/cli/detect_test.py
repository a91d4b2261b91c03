"""detect, segment and count: several things, many pictures, the files they write, and what they refuse."""

import json
import unittest
import xml.etree.ElementTree

import numpy
from PIL import Image
from pycocotools.coco import COCO

from support import FAMILIES, SAMPLES, Case

ROOF, YARD, WINTER = (SAMPLES / f"{name}.png" for name in ("roof", "yard", "winter"))


class Things(Case):
    def test_several_things_in_one_step(self):
        result = self.good_json("detect", "Detect the bird on the roof; sun and how many trees are there?", ROOF)
        self.assertEqual([one["label"] for one in result["objects"]], ["bird", "sun", "tree"])
        self.assertEqual(len(result["prompt_sent"]), 4)
        self.assertIn("detect bird on the roof<", result["prompt_sent"][0])
        self.assertIs(result["objects"][0]["primary"], True)
        self.assertEqual(result["counted"], [{"label": "tree", "count": 1, "boxes": 1, "answered": 1, "agree": True}])

    def test_the_same_prompt_however_it_is_worded(self):
        plain = self.good_json("detect", "bird on the roof", ROOF)
        for words in ("Detect the bird on the roof.", "please find the Bird on the roof!", "where is the bird on the roof?"):
            worded = self.good_json("detect", words, ROOF)
            self.assertEqual((worded["prompt_sent"], worded["objects"][0]["box"]), (plain["prompt_sent"], plain["objects"][0]["box"]))
        raw = self.good_json("detect", "Detect the bird on the roof.", ROOF, "--raw-prompt")
        self.assertIn("Detect the bird on the roof.", raw["prompt_sent"])
        self.assertEqual(raw["objects"][0]["label"], "bird")

    def test_count_says_when_its_two_ways_disagree(self):
        self.assertEqual(self.good("count", "trees", YARD).splitlines()[0], "trees: 1")
        both = self.good_json("count", "birds", ROOF)["counted"][0]
        self.assertEqual((both["boxes"], both["answered"], both["agree"]), (2, 1, False))
        self.assertIn("birds: 1 (boxes: 2)", self.good("count", "birds", ROOF))

    def test_what_a_model_cannot_is_one_line(self):
        self.bad("segment", "bird", ROOF, says=["nano", "no masks", "PaliGemma"])
        self.bad("detect", "bird", ROOF, "--points", says=["nano", "no points"])
        self.bad("segment", "bird", ROOF, "-m", FAMILIES / "paligemma/checkpoint", says=["--mask-weights", "vae-oid.npz"])
        self.bad("segment", "bird", ROOF, "-m", FAMILIES / "paligemma/checkpoint", "--mask-weights", self.folder / "no.npz", says="no.npz")
        self.bad("detect", "bird", ROOF, "-m", FAMILIES / "smolvlm/checkpoint", says="cannot say where things are")
        self.bad("detect", "the", ROOF, code=2, says="say what to look for")
        self.bad("detect", "bird", ROOF, "--format", "csv", code=2, says="coco, yolo, voc, labelme")
        self.bad("detect", "bird", ROOF, "--loc-div", "1000", code=2, says="1023, 1024")

    def test_random_checkpoints_of_every_family_give_results(self):
        for family in ("paligemma", "paligemma2", "qwen2_5_vl", "gemma3"):
            result = self.good_json("detect", "bird", ROOF, "-m", FAMILIES / family / "checkpoint", "--max-tokens", "24", "-q")
            self.assertEqual((result["width"], result["height"]), (768, 768))
            self.assertIsInstance(result["invalid"], int)

    def test_requests_of_a_batch(self):
        requests = [{"task": "count", "image": str(YARD), "thing": "trees"}, {"task": "detect", "image": str(ROOF), "thing": "bird ; sun"},
                    {"task": "segment", "image": str(ROOF), "thing": "bird"}]
        done = self.run_program("batch", "-", stdin="".join(json.dumps(r) + "\n" for r in requests))
        results = {r["index"]: r for r in map(json.loads, done.stdout.decode().splitlines())}
        self.assertEqual(results[0]["counted"][0]["count"], 1)
        self.assertEqual(len(results[1]["objects"]), 3)
        self.assertIn("no masks", results[2]["error"]["message"])


class Comparing(Case):
    def test_models_side_by_side(self):
        smol = FAMILIES / "smolvlm/checkpoint"
        text = self.good("compare", "nano", smol, ROOF, "What is on the roof?", "--max-tokens", "6", "--temperature", "0", "-q")
        self.assertIn("A white bird", text)
        self.assertIn(" | ", text)
        same = self.good_json("compare", "nano", "nano", ROOF, "What is on the roof?")
        self.assertIs(same["same"], True)
        self.assertEqual([answer["text"] for answer in same["answers"]], ["A white bird"] * 2)
        self.bad("compare", "nano", ROOF, "What?", code=2, says="compare takes models")
        self.bad("compare", "nano", "nowhere", ROOF, "What?", says="nowhere")
        self.bad("compare", "nano", "nano", "nowhere.png", "What?", says="nowhere.png")


class Explaining(Case):
    def test_a_picture_of_where_the_model_looked(self):
        out = self.folder / "seen.png"
        self.assertEqual(self.good(YARD, "What color is the car?", "--explain", out), "Green\n")
        with Image.open(out) as seen, Image.open(YARD) as source:
            self.assertEqual(seen.size, source.size)
            light = numpy.asarray(seen.convert("L")).astype(int) - numpy.asarray(source.convert("L")) * 0.35
            self.assertGreater(light[500:600, :200].mean(), light[100:200, 300:600].mean() + 20)
        result = self.good_json(YARD, "What color is the car?", "--explain", out)
        self.assertEqual((result["attention"]["rows"], len(result["attention"]["heat"])), (5, 25))
        self.bad(YARD, ROOF, "What?", "--explain", out, code=2, says="takes one picture")
        self.bad(YARD, "What?", "--explain", self.folder / "none/seen.png", says="seen.png")


class Acting(Case):
    def test_nano_clicks_and_others_say_that_they_cannot(self):
        screen = SAMPLES / "screen.png"
        result = self.good_json("act", "Click on Sale.", screen)
        self.assertIn("click Sale<", result["prompt_sent"])
        (action,) = result["actions"]
        self.assertEqual(action["action"], "click")
        self.assertEqual(len(action["start"]), 2)
        self.assertRegex(self.good("act", "click Sale", screen), r"^click \d+,\d+\n$")
        self.bad("act", "click Sale", screen, "-m", FAMILIES / "gemma3/checkpoint", says="cannot use a screen")
        self.bad("act", " ", screen, code=2, says="say what to do")
        self.bad("act", "click Sale", code=2, says="act takes an instruction and a screenshot")

    def test_ui_tars_is_asked_as_it_was_trained(self):
        line = self.bad("act", "Open the menu", SAMPLES / "screen.png", "-m", FAMILIES / "qwen2_5_vl/checkpoint", "--max-tokens", "4", "--temperature", "0")
        self.assertIn("screen.png: ", line)  # a random checkpoint asks for nothing


class Upright(Case):
    def test_B16_boxes_of_all_orientations_are_in_the_upright_picture(self):
        with Image.open(ROOF) as source:
            upright = source.convert("RGB").resize((768, 512))
        stored = {1: [], 2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180], 4: [Image.Transpose.FLIP_TOP_BOTTOM],
                  5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90], 7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270]}
        wanted = None
        for orientation in (1, 2, 3, 4, 5, 6, 7, 8, 0, 9):
            image = upright
            for step in stored.get(orientation, []):
                image = image.transpose(step)
            exif = Image.Exif()
            exif[0x0112] = orientation
            path = self.folder / f"{orientation}.png"
            image.save(path, exif=exif)
            result = self.good_json("detect", "tree", path)
            wanted = wanted or result
            self.assertEqual((result["width"], result["height"]), (768, 512), orientation)
            self.assertEqual(result["objects"], wanted["objects"], orientation)

    def test_B16_exif_that_loops_or_points_outside_is_no_orientation(self):
        loops = b"Exif\0\0II*\0\x08\0\0\0" + b"\x01\0" + b"\x69\x87\x04\0\x01\0\0\0\x08\0\0\0" + b"\x08\0\0\0"
        outside = b"Exif\0\0II*\0\xff\xff\xff\x7f"
        with Image.open(ROOF) as source:
            plain = source.convert("RGB").resize((300, 200))
        for number, exif in enumerate((loops, outside)):
            path = self.folder / f"{number}.jpg"
            plain.save(path, exif=exif, quality=95)
            self.assertEqual(self.good_json("detect", "tree", path)["width"], 300)


class Files(Case):
    def find(self, *args):
        return self.good("detect", "bird and tree", ROOF, YARD, WINTER, "--json", *args)

    def test_coco_is_what_pycocotools_reads(self):
        out = self.folder / "coco.json"
        results = json.loads(self.find("--annotations", out))
        coco = COCO(str(out))
        self.assertEqual(len(coco.getImgIds()), 3)
        names = {image["file_name"]: image["id"] for image in coco.loadImgs(coco.getImgIds())}
        for result in results:
            found = coco.loadAnns(coco.getAnnIds(imgIds=names[result["image"]]))
            self.assertEqual(len(found), len(result["objects"]))
            for one, d in zip(found, result["objects"]):
                x1, y1, x2, y2 = d["box"]
                for got, want in zip(one["bbox"], (x1, y1, x2 - x1, y2 - y1)):
                    self.assertLess(abs(got - want), 0.2)
                self.assertEqual(coco.loadCats(one["category_id"])[0]["name"], d["label"])
        self.assertEqual(len(coco.loadRes(json.loads(out.read_text())["annotations"]).getAnnIds()), len(coco.getAnnIds()))

    def test_yolo_voc_and_labelme(self):
        yolo, voc, labelme = (self.folder / name for name in ("yolo", "voc", "labelme"))
        result = json.loads(self.find("--annotations", yolo, "--format", "yolo"))[0]
        classes = (yolo / "classes.txt").read_text().split()
        self.assertEqual(sorted(classes), ["bird", "tree"])
        number, x, y, w, h = (yolo / "roof.txt").read_text().splitlines()[0].split()
        box = result["objects"][0]["box"]
        self.assertEqual(classes[int(number)], result["objects"][0]["label"])
        self.assertLess(abs((float(x) - float(w) / 2) * 768 - box[0]), 0.2)
        self.assertLess(abs((float(y) + float(h) / 2) * 768 - box[3]), 0.2)
        self.find("--annotations", voc, "--format", "voc")
        root = xml.etree.ElementTree.parse(voc / "roof.xml").getroot()
        self.assertEqual(root.find("filename").text, "roof.png")
        self.assertEqual(len(root.findall("object")), len(result["objects"]))
        self.assertEqual(int(root.find("object/bndbox/xmin").text), round(box[0]) + 1)
        self.find("--annotations", labelme, "--format", "labelme")
        shapes = json.loads((labelme / "roof.json").read_text())
        self.assertEqual((shapes["imageWidth"], shapes["shapes"][0]["label"]), (768, "bird"))

    def test_a_folder_of_drawings_is_gone_on_with(self):
        out, coco = self.folder / "drawn", self.folder / "coco.json"
        self.find("-o", f"{out}/", "--annotations", coco)
        self.assertEqual(sorted(p.name for p in out.iterdir()), ["roof.png", "winter.png", "yard.png"])
        before = json.loads(coco.read_text())
        (out / "winter.png").unlink()
        changed = (out / "roof.png").stat().st_mtime_ns
        text = self.good("detect", "bird and tree", ROOF, YARD, WINTER, "-o", out, "--resume")
        self.assertEqual({line.split(":")[0] for line in text.splitlines()}, {str(WINTER)})
        self.assertEqual((out / "roof.png").stat().st_mtime_ns, changed)
        self.assertTrue((out / "winter.png").exists())
        again = self.good("detect", "bird and tree", ROOF, YARD, WINTER, SAMPLES / "shapes.png", "--annotations", coco, "--resume", "--json")
        self.assertEqual([r["image"] for r in json.loads(again)], [str(SAMPLES / "shapes.png")])
        after = json.loads(coco.read_text())
        self.assertEqual(after["images"][:3], before["images"])
        self.assertEqual(len(after["images"]), 4)
        self.assertEqual(self.good("detect", "bird", ROOF, "--annotations", coco, "--resume"), "")

    def test_names_that_would_collide_or_cannot_be_are_refused(self):
        copy = self.folder / "roof.png"
        copy.write_bytes(ROOF.read_bytes())
        self.bad("detect", "bird", ROOF, copy, "-o", self.folder / "out/", code=2, says=["roof.png", "would both be named roof"])
        self.bad("detect", "bird", ROOF, YARD, "-o", self.folder / "one.png", code=2, says=["is one file", "2 pictures"])
        self.bad("detect", "bird", ROOF, "--annotations", self.folder, code=2, says="is one file")
        self.bad("detect", "bird", ROOF, "--resume", code=2, says=["--resume", "--annotations"])
        (self.folder / "bad.json").write_text("{}")
        self.bad("detect", "bird", ROOF, "--annotations", self.folder / "bad.json", "--resume", says=["bad.json", "images"])

    def test_masks_folder_has_a_label_map(self):
        self.good("detect", "bird", ROOF, "--masks", self.folder / "masks")
        with Image.open(self.folder / "masks/roof.labels.png") as labels:
            self.assertEqual((labels.mode[:1], labels.size), ("I", (768, 768)))
            self.assertEqual(numpy.asarray(labels).max(), 0)  # boxes have no masks


if __name__ == "__main__":
    unittest.main()
