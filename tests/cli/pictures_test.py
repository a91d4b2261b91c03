"""Pictures of every format on the command line: frames, orientation, refusals, memory."""

import os
import struct
import subprocess

from PIL import Image, ImageDraw

from support import PROGRAM, ROOT, SAMPLES, SANITIZED, Case, environment

CODEC = ROOT / "tests/data/codec"


class Formats(Case):
    def test_every_format_answers(self):
        picture = Image.open(SAMPLES / "roof.png").convert("RGB")
        want = None
        for kind, options in (("png", {}), ("gif", {}), ("webp", {"lossless": True}), ("bmp", {}), ("ppm", {}), ("tiff", {}), ("avif", {"quality": 95})):
            path = self.folder / f"roof.{kind}"
            picture.save(path, **options)
            result = self.good_json(path, "What is on the roof?")
            self.assertEqual((result["width"], result["height"]), picture.size)
            if options.get("quality") or kind == "gif":
                continue  # these change pixels
            want = want or result["text"]
            self.assertEqual(result["text"], want, kind)

    def test_B19_the_content_decides_and_not_the_name(self):
        path = self.folder / "roof.jpg"
        Image.open(SAMPLES / "roof.png").save(path, "WEBP", lossless=True)
        done = self.run_program("describe", path, "-v")
        self.assertEqual(done.returncode, 0)
        self.assertIn("roof.jpg: is WebP whatever its name says", done.stderr.decode())

    def test_what_stays_refused_is_named(self):
        known = "PNG, JPEG, GIF, WebP, BMP, PPM, TIFF and AVIF are"
        for kind, data in (("ICO", b"\0\0\1\0\1\0"), ("JPEG XL", b"\xff\x0a\0\0"), ("JPEG 2000", b"\xff\x4f\xff\x51\0")):
            path = self.folder / "picture.jpg"
            path.write_bytes(data)
            self.bad("describe", path, says=f"picture.jpg: {kind} is not supported: {known}")


class Frames(Case):
    def frames(self, kind, **options):
        """Three frames of 40 x 30 to 60 x 30: a red square that moves."""
        pages = []
        for i in range(3):
            page = Image.new("RGB", (60, 30), "white")
            ImageDraw.Draw(page).rectangle((20 * i, 5, 20 * i + 15, 20), fill="red")
            pages.append(page)
        path = self.folder / f"pages.{kind}"
        pages[0].save(path, save_all=True, append_images=pages[1:], **options)
        return path, pages

    def test_B17_B18_frame_picks_one_of_many(self):
        for kind, options in (("gif", {}), ("webp", {"lossless": True}), ("tiff", {})):
            path, pages = self.frames(kind, **options)
            for i, page in enumerate(pages):
                single = self.folder / "single.png"
                page.save(single)
                got = self.good_json("describe", path, "--frame", str(i), "--max-tokens", "8")
                self.assertEqual(got["text"], self.good_json("describe", single, "--max-tokens", "8")["text"], (kind, i))

    def test_B17_a_frame_after_the_last_names_the_number(self):
        path, _ = self.frames("gif")
        self.bad("describe", path, "--frame", "3", says=["pages.gif", "has no frame 3: it holds 3 frames, counted from 0"])
        self.bad("detect", "bird", SAMPLES / "roof.png", "--frame", "1", says="it holds 1 frame, counted from 0")
        self.bad(path, "What?", "--frame", "-1", code=2, says="--frame")

    def test_B17_a_gif_without_frames(self):
        path = self.folder / "none.gif"
        path.write_bytes(b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0) + b";")
        self.bad("describe", path, says="none.gif: GIF: no picture in the file")


class Memory(Case):
    def peak_kib(self, *args, code):
        process = subprocess.Popen([PROGRAM, *map(os.fspath, args)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, code, args)
        return usage.ru_maxrss

    def test_hostile_pictures_take_at_most_256_mib(self):
        if SANITIZED:
            self.skipTest("sanitizers hold memory of their own")
        idle = self.peak_kib("describe", SAMPLES / "roof.png", "--max-tokens", "2", code=0)
        huge = self.folder / "huge.avif"
        data = (CODEC / "yuv_444_full.avif").read_bytes()
        at = data.index(b"ispe") + 8
        huge.write_bytes(data[:at] + struct.pack(">II", 8000, 8000) + data[at + 8 :])
        far = self.folder / "far.gif"
        far.write_bytes(b"GIF89a" + struct.pack("<HHBBB", 8000, 8000, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\0;")  # a frame without data
        strip = self.folder / "strip.tif"
        tags = {256: 6600, 257: 6600, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: 6600, 279: 8}
        strip.write_bytes(b"II*\0" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", k, 4, 1, v) for k, v in tags.items()) + bytes(4))
        for path in (huge, far, strip):
            self.assertLessEqual(self.peak_kib("describe", path, code=1), idle + 256 * 1024, path.name)
