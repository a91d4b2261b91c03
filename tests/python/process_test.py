"""The interpreter around the library: its lock, signals, forks, threads, types."""

import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import tapetum
from support import ON_ROOF, ROOF, ROOT, YARD, nano

PACKAGE = pathlib.Path(tapetum.__file__).parent


def ask_in_child(pipe):
    try:
        pipe.send(("answered", nano().chat(ROOF, ON_ROOF).text))
    except tapetum.TapetumError as error:
        pipe.send((type(error).__name__, str(error)))


class Process(unittest.TestCase):
    def test_other_threads_run_while_the_library_works(self):
        yard = tapetum.picture(YARD)  # what follows lets the lock go in one place only
        nano().chat(yard, "Describe the image.")
        counted, over = [0], threading.Event()

        def count():
            while not over.is_set():
                counted[0] += 1
                time.sleep(0)

        thread = threading.Thread(target=count)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(30)  # nobody takes the lock from a thread that keeps it
        thread.start()
        try:
            before = counted[0]
            nano().batch([(yard, "Describe the image.")] * 4)
            during = counted[0] - before
        finally:
            over.set()
            sys.setswitchinterval(interval)
            thread.join()
        self.assertGreater(during, 100)

    def test_threads_share_a_model(self):
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(nano().chat(ROOF, ON_ROOF).text)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(answers, ["A white bird"] * 4)

    def interrupted(self, work):
        """A process that does `work`, which takes minutes, ends by SIGINT, and its model is usable behind it."""
        program = f"""
import sys, tapetum
model = tapetum.load()
picture = tapetum.picture({str(YARD)!r})
print("ready", flush=True)
try:
    {work}
except KeyboardInterrupt:
    print("interrupted", model.chat(picture, "Describe the image.").text[:2], flush=True)
    sys.exit(7)
"""
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        try:
            self.assertEqual(child.stdout.readline(), "ready\n")
            time.sleep(0.3)
            child.send_signal(signal.SIGINT)
            line = child.stdout.readline()
            self.assertEqual(child.wait(20), 7)
        finally:
            child.kill()
            child.stdout.close()
            child.wait()
        self.assertEqual(line, "interrupted A \n")

    def test_control_c_ends_answers(self):
        self.interrupted("while True: model.chat(picture, 'Describe the image.')")

    def test_control_c_ends_a_single_call(self):
        self.interrupted("model.batch([(picture, 'Describe the image.')] * 10000)")

    def test_a_forked_child_is_told_and_a_spawned_one_answers(self):
        self.assertEqual(nano().chat(ROOF, ON_ROOF).text, "A white bird")
        for method, expected in (("fork", "UnsupportedError"), ("spawn", "answered")):
            context = multiprocessing.get_context(method)
            here, there = context.Pipe()
            child = context.Process(target=ask_in_child, args=(there,))
            child.start()
            self.assertTrue(here.poll(60), f"{method}: no word from the child")
            kind, words = here.recv()
            child.join()
            self.assertEqual((method, kind), (method, expected), words)
        self.assertEqual(words, "A white bird")

    def test_a_model_that_lives_to_the_end_leaves_no_words(self):
        program = f"import tapetum\nmodel = tapetum.load()\nsession = model.session()\nstream = session.stream('Describe the image.', {str(ROOF)!r})\nnext(stream)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_neither_pillow_nor_a_test_package_is_needed(self):
        program = f"""
import sys
for name in ("PIL", "jinja2", "jsonschema", "nanobind", "transformers", "torch"):
    sys.modules[name] = None
import tapetum
print(tapetum.load().chat({str(ROOF)!r}, "What is on the roof?"))
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.stdout, "A white bird\n", done.stderr)

    def test_the_types_hold(self):
        with tempfile.TemporaryDirectory() as folder:
            user = pathlib.Path(folder) / "user.py"
            user.write_text("""
import tapetum
model: tapetum.Model = tapetum.load("nano", threads=1)
answer: tapetum.Answer = model.chat("roof.png", "What?", max_tokens=3)
texts: list[str] = [one.text for one in model.batch([("roof.png", "What?")])]
piece: str = next(model.stream("roof.png", "What?"))
boxes: list[tuple[float, float, float, float]] = [one.box for one in model.detect("roof.png", "bird")]
flagged: bool = model.guard("roof.png").flagged
""")
            environment = {**os.environ, "MYPYPATH": str(PACKAGE.parent)}
            cache = f"--cache-dir={folder}/cache"
            done = subprocess.run([sys.executable, "-m", "mypy", "--strict", cache, str(PACKAGE), str(user)],
                                  cwd=folder, env=environment, capture_output=True, text=True, timeout=110)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            user.write_text("import tapetum\nwrong: int = tapetum.load().chat('roof.png', 'What?')\n")
            done = subprocess.run([sys.executable, "-m", "mypy", "--strict", cache, str(user)],
                                  cwd=folder, env=environment, capture_output=True, text=True, timeout=110)
            self.assertIn('expression has type "Answer"', done.stdout)

    def test_the_stubs_name_what_the_extension_has(self):
        stub = {}
        where = None
        for line in (ROOT / "python/tapetum/_core.pyi").read_text().splitlines():
            if line.startswith("class "):
                where = stub.setdefault(line[6:].rstrip(":"), set())
            elif line.startswith("def "):
                stub[line[4:line.index("(")]] = None
            elif where is not None and line.startswith("    ") and (word := line.strip()) and not word.startswith(("@", "thresholds", "at_once")):
                where.add(word.removeprefix("def ").split("(")[0].split(":")[0])
        from tapetum import _core
        real = {name: {key for key in vars(value) if not key.startswith("_")} if isinstance(value, type) else None
                for name, value in vars(_core).items() if not name.startswith("_") and name != "version"}
        self.assertEqual(stub, real)


if __name__ == "__main__":
    unittest.main()
