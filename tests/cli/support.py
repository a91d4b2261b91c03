"""Runs the built program and holds its errors to the contract: one line, right exit code, no crash, no path of ours."""

import json
import os
import pathlib
import struct
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("TAPETUM", str(ROOT / "build/release/bin/tapetum"))
FAULTS = os.environ.get("TAPETUM_FAULTS", str(ROOT / "build/ci/tests/faults/libtap_faults.so"))
SANITIZED = bool(os.environ.get("TAPETUM_SANITIZED"))
SAMPLES = ROOT / "data/samples"
NANO = ROOT / "data/nano"
FAMILIES = ROOT / "tests/families"


def environment(**changes):
    """The environment of a plain user; None removes a variable."""
    env = {k: v for k, v in os.environ.items()
           if k == "OMP_WAIT_POLICY" or not k.startswith(("HF_", "HUGGINGFACE_", "TAPETUM", "OMP_", "XDG_"))}
    for key, value in changes.items():
        env.pop(key, None)
        if value is not None:
            env[key] = value
    return env


def with_fault(fault, **changes):
    """An environment in which one call of the program fails: "new:17", "pread:3:EIO:/folder" (tests/faults)."""
    env = environment(LD_PRELOAD=FAULTS, TAPETUM_TEST_FAULT=fault, **changes)
    if SANITIZED:
        env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        env["LSAN_OPTIONS"] = f"suppressions={ROOT / 'tests/faults/lsan.supp'}:print_suppressions=0"
    return env


class Case(unittest.TestCase):
    """A test with a scratch folder and the checks that every run must pass."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def run_program(self, *args, stdin=b"", env=None, timeout=100, **kwargs):
        if isinstance(stdin, str):
            stdin = stdin.encode()
        done = subprocess.run([PROGRAM, *map(os.fspath, args)], input=stdin, capture_output=True, env=env or environment(), timeout=timeout, **kwargs)
        self.assertGreaterEqual(done.returncode, 0, f"killed by signal {-done.returncode}: {done.stderr[-2000:]!r}")
        self.assertNotIn(b"Sanitizer", done.stderr, done.stderr.decode(errors="replace")[-4000:])
        self.assertNotIn(b"runtime error", done.stderr, done.stderr.decode(errors="replace")[-4000:])
        return done

    def good(self, *args, **kwargs):
        """Exit code 0; gives stdout as text."""
        done = self.run_program(*args, **kwargs)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return done.stdout.decode()

    def good_json(self, *args, **kwargs):
        return json.loads(self.good(*args, "--json", **kwargs))

    def bad(self, *args, code=1, says=(), **kwargs):
        """Fails with `code` and one line on stderr that contains every text of `says`; gives the line."""
        done = self.run_program(*args, **kwargs)
        text = done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, code, text)
        lines = [line for line in text.splitlines() if not line.startswith("warning: ")]
        self.assertEqual(len(lines), 1, text[:3000])
        self.assertTrue(lines[0].startswith("tapetum: "), text)
        self.assertNotRegex(lines[0], r"0x[0-9a-f]{6,}", "a pointer in a message")
        self.assertLess(len(lines[0]), 2000)
        for part in [says] if isinstance(says, str) else says:
            self.assertIn(part, lines[0])
        return lines[0]


def write_safetensors(path, tensors):
    """tensors: name to (dtype, shape, bytes)."""
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)
