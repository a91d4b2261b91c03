"""Memory and disks that fail in the middle of a run: one line that names it, and nothing damaged."""

import json
import random

from support import NANO, SAMPLES, Case, with_fault

ROOF = SAMPLES / "roof.png"
DESCRIBE = ("describe", ROOF, "--max-tokens", "3", "--threads", "1")


class Memory(Case):
    def check(self, *args, **kwargs):
        """Lets the n-th operator new fail, for n that grow until the run needs no more."""
        seed = random.randrange(2**31)
        choose = random.Random(seed)
        n, failed = 1, 0
        for _ in range(200):
            done = self.run_program(*args, env=with_fault(f"new:{n}"), **kwargs)
            if done.returncode == 0:
                break
            with self.subTest(n=n, seed=seed):
                text = done.stderr.decode()
                self.assertEqual(done.returncode, 1, text)
                self.assertIn("out of memory", text)
                self.assertEqual(text.count("\n"), 1, text)
                self.assertTrue(text.startswith("tapetum: "), text)
                failed += 1
            n += 1 + choose.randrange(1 + n // 3)
        else:
            self.fail("the runs never ended")
        self.assertGreater(failed, 10)

    def test_F05_operator_new_fails_while_describing(self):
        self.check(*DESCRIBE)

    def test_F05_operator_new_fails_while_showing_a_model(self):
        self.check("show", NANO)

    def test_F05_operator_new_fails_while_tokenizing(self):
        self.check("tokenize", NANO, "Is there a cat?")

    def test_F05_operator_new_fails_while_rendering(self):
        messages = {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hi"}]}], "add_generation_prompt": True}
        self.check("render", NANO, "--messages", "-", stdin=json.dumps(messages))

    def test_F05_operator_new_fails_while_drawing(self):
        out = self.folder / "out.png"
        out.write_bytes(b"old")
        for n in (10, 1000, 5000, 20_000, 30_000, 40_000):
            done = self.run_program("detect", "tree", ROOF, "-o", out, "--threads", "1", env=with_fault(f"new:{n}"))
            if done.returncode:
                self.assertIn(b"out of memory", done.stderr)
                self.assertEqual(out.read_bytes(), b"old")
            self.assertEqual([p.name for p in self.folder.iterdir()], ["out.png"])
            out.write_bytes(b"old")


class Reading(Case):
    def test_F03_weights_that_cannot_be_read_are_named(self):
        for n in (1, 2, 3, 5, 20, 60):
            line = self.bad(*DESCRIBE, env=with_fault(f"pread:{n}:EIO:{NANO}"), says=["model.safetensors", "Input/output error"])
            self.assertIn("reading at byte", line)

    def test_F03_short_reads_change_nothing(self):
        want = self.good(*DESCRIBE)
        for n in (1, 2, 7, 40):
            self.assertEqual(self.good(*DESCRIBE, env=with_fault(f"pread:{n}:short:{NANO}")), want)

    def test_F03_text_files_that_cannot_be_read_are_named(self):
        for name in ("config.json", "tokenizer.json", "preprocessor_config.json", "chat_template.json", "generation_config.json"):
            if (NANO / name).exists():
                self.bad(*DESCRIBE, env=with_fault(f"read:1:EIO:{NANO / name}"), says=[name, "Input/output error"])

    def test_F03_a_picture_that_cannot_be_read_is_named(self):
        self.bad(*DESCRIBE, env=with_fault(f"read:1:EIO:{ROOF}"), says=["roof.png", "Input/output error"])
        self.assertEqual(self.good(*DESCRIBE, env=with_fault(f"read:1:short:{ROOF}")), self.good(*DESCRIBE))


class Writing(Case):
    def test_F02_a_write_that_fails_keeps_the_old_picture(self):
        out = self.folder / "out.png"
        out.write_bytes(b"old")
        for fault, reason in (("write:1:ENOSPC", "No space left"), ("write:1:EIO", "Input/output error"), ("fsync:1:EIO", "Input/output error"), ("rename:1:ENOSPC", "No space left")):
            self.bad("detect", "tree", ROOF, "-o", out, env=with_fault(f"{fault}:{self.folder.resolve()}"), says=["out.png", reason])
            self.assertEqual(out.read_bytes(), b"old")
            self.assertEqual([p.name for p in self.folder.iterdir()], ["out.png"])

    def test_F02_a_write_in_two_parts_is_the_same_picture(self):
        whole, parts = self.folder / "whole.png", self.folder / "parts.png"
        self.good("detect", "tree", ROOF, "-o", whole)
        self.good("detect", "tree", ROOF, "-o", parts, env=with_fault(f"write:1:short:{self.folder.resolve()}"))
        self.assertEqual(whole.read_bytes(), parts.read_bytes())
