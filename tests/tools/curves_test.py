"""bench/curves: a recorded measurement is drawn whole, and one that was interrupted goes on."""
import json
import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CURVES = ROOT / "bench/curves"
RECORD = ROOT / "tests/data/curves.json"
SVG = "{http://www.w3.org/2000/svg}"

# Stands in for bench/steps: an answer for each command, which is written down in LOG; dies at the command of BREAK.
FAKE_STEPS = """#!/usr/bin/env python3
import json, os, sys
print(json.dumps({"load_s": 0.1}), flush=True)
for line in sys.stdin:
    open(os.environ["LOG"], "a").write(line)
    if line.strip() == os.environ["BREAK"]:
        sys.exit(1)
    kind = line.split()[0]
    print(json.dumps({"limits": {"isa": "avx2", "threads": 2, "bf16_gops": 400.0, "int8_gops": 800.0, "read_gbs": 30.0},
                      "memory": {"peak_mb": 400, "cache_mb": 5.0}}.get(kind, {"s": 0.5})), flush=True)
"""


def draw(record, out, copies=("q4",)):
    files = []
    for dtype in copies:
        files.append(out / f"{dtype}.json")
        files[-1].write_text(json.dumps(record | {"dtype": dtype}))
    done = subprocess.run([sys.executable, "-B", CURVES / "draw", *files, "--out", out], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout, [xml.parse(out / name).getroot() for name in ("curves.svg", "roofline.svg")]


class Draw(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = Path(folder.name)
        self.record = json.loads(RECORD.read_text())

    def test_every_point_is_drawn_and_in_the_tables(self):
        words, (curves, roofline) = draw(self.record, self.out, ("q4", "q8"))
        says = [title.text for title in curves.iter(f"{SVG}title")]
        for point in self.record["points"]:
            self.assertIn(f"\n| {point['size']} | ", words)
            if point["size"] in (200, 1000):  # no doublings: of the roofline
                continue
            for dtype in ("q4", "q8"):
                title = f"{point['work']}{' at 200' * (point['work'] == 'batch')} {point['size']} {dtype}: "
                self.assertTrue(any(said.startswith(title) for said in says), title)
        pieces = " ".join(title.text for title in roofline.iter(f"{SVG}title"))
        for piece in ("encode 1 q4", "prefill 512 q4", "prefill 1024 q8", "decode 200 q8", "decode 1000 q4"):
            self.assertIn(piece, pieces)

    def test_nothing_lies_outside_the_view_box(self):
        for point in self.record["points"]:
            point["peak_mb"] += 8000
        _, drawings = draw(self.record, self.out, ("q4", "q8", "bf16"))
        for drawing in drawings:
            _, _, width, height = map(float, drawing.get("viewBox").split())
            labels = list(drawing.iter(f"{SVG}text"))
            self.assertGreater(len(labels), 20)
            for label in labels:
                long = 6.5 * len(label.text)
                left = float(label.get("x")) - long * {"start": 0, "middle": 0.5, "end": 1}[label.get("text-anchor")]
                self.assertGreaterEqual(left, 0, label.text)
                self.assertLessEqual(left + long, width, label.text)
                self.assertTrue(10 <= float(label.get("y")) <= height - 3, label.text)
            for dot in drawing.iter(f"{SVG}circle"):
                self.assertTrue(0 < float(dot.get("cx")) < width and 0 < float(dot.get("cy")) < height)

    def test_a_bend_is_the_last_size_before_the_rate_falls(self):
        one = {"work": "prefill", "peak_mb": 1, "cache_mb": 1, "others": 0}
        self.record["points"] = [one | {"size": size, "s": [size / rate]}
                                 for size, rate in ((128, 100), (256, 90), (512, 70), (1024, 35))]
        words, (curves, _) = draw(self.record, self.out)
        self.assertIn("q4: bends at 256: the rate of 512 is 22% less", words)
        self.assertEqual(1, sum(dot.get("fill") == "none" for dot in curves.iter(f"{SVG}circle")))

    def test_work_is_counted_as_the_engine_counts_it(self):
        words, _ = draw(self.record, self.out)  # figures of `tapetum bench` for this shape
        rows = {cells[2]: cells for cells in ([c.strip() for c in line.split("|")] for line in words.splitlines())
                if len(cells) > 8}
        self.assertEqual(["215", "338", "709"], [rows[work][3] for work in ("encode 1", "prefill 512", "prefill 1024")])
        self.assertEqual(["234", "267"], [rows[work][4] for work in ("decode 200", "decode 1000")])


class Measure(unittest.TestCase):
    def test_an_interrupted_measurement_goes_on_where_it_stopped(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            (folder / "config.json").write_text(json.dumps(json.loads(RECORD.read_text())["config"]))
            steps, log, out = folder / "steps", folder / "log", folder / "out.json"
            steps.write_text(FAKE_STEPS)
            steps.chmod(0o755)

            def measure(breaks):
                log.write_text("")
                done = subprocess.run([sys.executable, "-B", CURVES / "measure", folder, "--out", out, "--steps", steps,
                                       "--most", "256", "--tiles", "2", "--users", "1"],
                                      env=os.environ | {"LOG": str(log), "BREAK": breaks}, capture_output=True,
                                      text=True)
                found = [(p["work"], p["size"]) for p in json.loads(out.read_text())["points"]]
                return done.returncode, found, log.read_text().split("\n")

            first = [("encode", 1), ("encode", 2), ("batch", 1), ("prefill", 128), ("decode", 128), ("decode", 200)]
            status, found, asked = measure("prefill 256")
            self.assertNotEqual(0, status)
            self.assertEqual(first, found)
            status, found, asked = measure("never")
            self.assertEqual(0, status)
            self.assertEqual([*first, ("prefill", 256), ("decode", 256)], found)
            self.assertEqual(["prefill 128", "decode 128", "prefill 256"], asked[:3])  # after a warm-up
            self.assertEqual(1, asked.count("limits"))
            self.assertEqual((0, found, [""]), measure("never"))


if __name__ == "__main__":
    unittest.main()
