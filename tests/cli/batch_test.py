"""Many pictures and files of requests: the same answers as one by one, results that survive what happens to the run."""

import json
import os
import shutil
import signal
import subprocess
import time

from support import PROGRAM, SAMPLES, SANITIZED, Case, environment

ROOF, YARD = SAMPLES / "roof.png", SAMPLES / "yard.png"
QUESTION = "What is on the roof?"


def program_with(tools, **changes):
    """An environment whose PATH holds only the folder `tools`, and a shell for its scripts."""
    return environment(PATH=f"{tools}:/usr/bin:/bin", **changes)


class Many(Case):
    def setUp(self):
        super().setUp()
        self.shots = self.folder / "shots"
        self.shots.mkdir()
        for name, sample in (("a10.png", ROOF), ("a2.PNG", YARD), ("a1.png", ROOF)):
            shutil.copy(sample, self.shots / name)
        (self.shots / ".hidden.png").write_bytes(b"no picture")
        (self.shots / "notes.txt").write_text("no picture")
        (self.shots / "inner").mkdir()
        shutil.copy(ROOF, self.shots / "inner" / "a3.png")

    def names(self, *args, **kwargs):
        return [item["image"].rpartition("/")[2] for item in self.good_json(*args, "--max-tokens", "2", **kwargs)]

    def test_many_pictures_answer_as_each_alone(self):
        pictures = [ROOF, YARD, ROOF, SAMPLES / "roof.png"]
        alone = [self.good_json(p, QUESTION)["text"] for p in pictures[:2]]
        for batch in ("1", "2", "16"):
            items = self.good_json(*pictures, QUESTION, "--batch", batch)
            self.assertEqual([i["text"] for i in items], [alone[0], alone[1], alone[0], alone[0]])
            self.assertEqual([i["image"] for i in items], list(map(str, pictures)))

    def test_text_comes_in_the_order_given(self):
        one, other = (self.good("describe", p).strip() for p in (ROOF, YARD))
        self.assertEqual(self.good("describe", ROOF, YARD, ROOF), f"{ROOF}: {one}\n{YARD}: {other}\n{ROOF}: {one}\n")

    def test_detect_answers_many(self):
        alone = [self.good_json("detect", "tree", p)["objects"] for p in (ROOF, YARD)]
        items = self.good_json("detect", "tree", ROOF, YARD)
        self.assertEqual([i["objects"] for i in items], alone)
        for line in self.good("detect", "tree", ROOF, YARD).splitlines():
            self.assertRegex(line, r"^\S+\.png: (nothing found|.+: \d+,\d+ to \d+,\d+)$")

    def test_jsonl_gives_each_item_with_its_index(self):
        (self.folder / "bad.png").write_bytes(b"no picture")
        done = self.run_program(ROOF, self.folder / "bad.png", YARD, QUESTION, "--jsonl")
        self.assertEqual(done.returncode, 1)
        items = sorted((json.loads(line) for line in done.stdout.splitlines()), key=lambda item: item["index"])
        self.assertEqual([i["index"] for i in items], [0, 1, 2])
        self.assertEqual(items[1]["error"]["item"], str(self.folder / "bad.png"))
        self.assertEqual(items[0]["text"], self.good_json(ROOF, QUESTION)["text"])

    def test_a_folder_gives_its_pictures_in_natural_order(self):
        self.assertEqual(self.names("describe", self.shots), ["a1.png", "a2.PNG", "a10.png"])
        self.assertEqual(self.names(self.shots, QUESTION), ["a1.png", "a2.PNG", "a10.png"])

    def test_a_folder_without_pictures_is_named(self):
        empty = self.folder / "empty"
        empty.mkdir()
        self.bad("describe", empty, says=[str(empty), "no pictures"])
        (empty / "notes.txt").write_text("x")
        self.bad(empty, QUESTION, says=[str(empty), "no pictures"])

    def test_a_quoted_pattern_is_matched_here(self):
        self.assertEqual(self.names("describe", f"{self.shots}/a1*.png"), ["a1.png", "a10.png"])
        self.assertEqual(self.names("shots/*.[pP][nN][gG]", QUESTION, cwd=self.folder), ["a1.png", "a2.PNG", "a10.png"])
        self.bad("shots/*.jpg", QUESTION, cwd=self.folder, says=["shots/*.jpg", "no file matches"])
        self.bad("describe", "*.jpg", cwd=self.folder, says=["*.jpg", "no file matches"])

    def test_a_file_whose_name_has_pattern_characters_wins(self):
        odd = self.folder / "a[1]*.png"
        shutil.copy(ROOF, odd)
        shutil.copy(YARD, self.folder / "a1x.png")
        self.assertEqual(self.good_json("describe", odd, "--max-tokens", "2")["image"], str(odd))

    def test_a_question_mark_makes_no_pattern(self):
        for question in ("Why?", "Is it a cat/dog?", "What [is] *this*?"):
            self.assertTrue(self.good(ROOF, question, "--max-tokens", "2"))

    def test_stdin_is_one_picture_and_read_once(self):
        data = ROOF.read_bytes()
        want = self.good_json(ROOF, QUESTION)["text"]
        items = self.good_json("-", YARD, QUESTION, stdin=data)
        self.assertEqual((items[0]["image"], items[0]["text"]), ("-", want))
        self.bad("-", "-", QUESTION, code=2, stdin=data, says="only once")

    def test_a_bad_picture_of_many_says_so_in_its_turn(self):
        (self.folder / "bad.png").write_bytes(b"no picture")
        done = self.run_program("describe", ROOF, self.folder / "bad.png", YARD)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(done.stdout.splitlines()), 2)
        self.assertIn(b"bad.png", done.stderr)


class Clipboard(Case):
    def tool(self, name, script):
        tools = self.folder / "tools"
        tools.mkdir(exist_ok=True)
        (tools / name).write_text("#!/bin/sh\n" + script)
        (tools / name).chmod(0o755)
        return tools

    def test_the_desktops_tool_is_asked_for_a_png(self):
        want = self.good_json(ROOF, QUESTION)["text"]
        script = f'echo "$@" > "{self.folder}/words"; cat "{ROOF}"\n'
        tools = self.tool("wl-paste", script)
        env = program_with(tools, WAYLAND_DISPLAY="wayland-0", DISPLAY=None)
        found = self.good_json("--clipboard", QUESTION, env=env)
        self.assertEqual((found["image"], found["text"]), ("clipboard", want))
        self.assertIn("image/png", (self.folder / "words").read_text())
        shutil.move(tools / "wl-paste", tools / "xclip")
        env = program_with(tools, WAYLAND_DISPLAY=None, DISPLAY=":0")
        self.assertEqual(self.good_json("--clipboard", QUESTION, env=env)["text"], want)
        self.assertIn("-selection clipboard -t image/png -o", (self.folder / "words").read_text())
        self.assertEqual(len(self.good_json("describe", YARD, "--clipboard", "--max-tokens", "2", env=env)), 2)

    def test_no_tool_or_no_desktop_is_said(self):
        tools = self.folder / "tools"
        tools.mkdir()
        env = environment(PATH=str(tools), WAYLAND_DISPLAY=None, DISPLAY=":0")
        self.bad("--clipboard", QUESTION, env=env, says=["wl-clipboard", "xclip"])
        env = environment(PATH=str(tools), WAYLAND_DISPLAY=None, DISPLAY=None)
        self.bad("--clipboard", QUESTION, env=env, says="no desktop")

    def test_a_clipboard_without_a_picture_is_said(self):
        tools = self.tool("xclip", "echo 'target not available' >&2; exit 1\n")
        env = program_with(tools, WAYLAND_DISPLAY=None, DISPLAY=":0")
        self.bad("--clipboard", QUESTION, env=env, says=["clipboard", "no picture"])
        self.tool("xclip", "echo hello\n")
        self.bad("--clipboard", QUESTION, env=env, says="clipboard")

    def test_a_clipboard_without_end_meets_the_limit(self):
        tools = self.tool("xclip", "exec cat /dev/zero\n")
        env = program_with(tools, WAYLAND_DISPLAY=None, DISPLAY=":0")
        self.bad("--clipboard", QUESTION, env=env, says=["clipboard", "limit"])

    def test_a_tool_that_hangs_is_given_up(self):
        tools = self.tool("xclip", "exec sleep 60\n")
        env = program_with(tools, WAYLAND_DISPLAY=None, DISPLAY=":0")
        self.bad("--clipboard", QUESTION, env=env, says=["xclip", "no answer"])


class Requests(Case):
    def setUp(self):
        super().setUp()
        for sample in (ROOF, YARD):
            shutil.copy(sample, self.folder)
        self.out = self.folder / "out.jsonl"

    def write(self, *lines):
        path = self.folder / "requests.jsonl"
        path.write_bytes(b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines))
        return path

    def batch(self, *lines, code=0, args=(), **kwargs):
        """The results by index."""
        done = self.run_program("batch", self.write(*lines), *args, **kwargs)
        self.assertEqual(done.returncode, code, done.stderr.decode(errors="replace")[-2000:])
        return self.by_index(done.stdout)

    def by_index(self, data):
        results = [json.loads(line) for line in data.splitlines()]
        found = {r["index"]: r for r in results}
        self.assertEqual(len(found), len(results), "an index twice")
        return found

    def test_requests_answer_as_the_plain_command(self):
        roof = self.good_json(ROOF, QUESTION)
        boxes = self.good_json("detect", "tree", YARD)
        got = self.batch(
            {"id": "a", "image": "roof.png", "question": QUESTION},
            b"",
            {"images": ["yard.png"], "question": "Is there a tree?", "max_tokens": 1},
            {"id": 7, "task": "detect", "image": "yard.png", "thing": "tree"},
            {"messages": [{"role": "user", "content": [{"type": "image", "image": str(ROOF)}, {"type": "text", "text": QUESTION}]}]},
            {"question": "Hello", "max_tokens": 3, "temperature": 0.8, "top_p": 0.9, "top_k": 5, "min_p": 0.01, "seed": 3, "stop": ["zq"]},
            args=["--json"],
        )
        self.assertEqual((got[0]["id"], got[0]["text"], got[0]["tokens"]), ("a", roof["text"], roof["tokens"]))
        self.assertEqual((got[1]["finish_reason"], got[1]["tokens"]["output"]), ("length", 1))
        self.assertEqual((got[2]["id"], got[2]["objects"], got[2]["counts"]), (7, boxes["objects"], boxes["counts"]))
        self.assertEqual(got[3]["text"], roof["text"])
        self.assertNotIn("id", got[3])
        self.assertEqual(sorted(got), [0, 1, 2, 3, 4])

    def test_a_failing_request_stops_no_other_and_says_what_is_wrong(self):
        good = {"id": "good", "image": "roof.png", "question": QUESTION, "max_tokens": 2}
        wrong = [
            ({"id": "x", "image": "none.png", "question": "?"}, "not_found", "none.png"),
            ({"imag": "roof.png", "question": "?"}, "bad_input", 'unknown key "imag"'),
            ({"image": "roof.png"}, "bad_input", '"question" is missing'),
            ({"image": "roof.png", "question": " "}, "bad_input", '"question" is empty'),
            ({"image": ["roof.png"], "question": "?"}, "bad_input", '"image" is ["roof.png"]: must be text'),
            ({"question": "?", "max_tokens": 0}, "bad_input", "from 1"),
            ({"question": "?", "max_tokens": "5"}, "bad_input", "whole number"),
            ({"question": "?", "seed": -1}, "bad_input", "seed"),
            ({"question": "?", "seed": 2**64}, "bad_input", "seed"),
            ({"question": "?", "temperature": 1e308}, "usage", "temperature"),
            ({"question": "?", "top_p": None}, "bad_input", "top_p"),
            ({"question": "?", "stop": [""]}, "usage", "stop"),
            ({"question": "?", "task": "draw"}, "bad_input", "ask or detect, segment, count"),
            ({"task": "detect", "image": "roof.png"}, "bad_input", '"thing" is missing'),
            ({"task": "detect", "thing": "cat"}, "bad_input", "image"),
            ({"messages": [{"role": "robot", "content": "?"}]}, "bad_input", "system, user or assistant"),
            ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "bad_input", 'without "image"'),
            ({"id": {}, "question": "?"}, "bad_input", "id"),
            (b"[1]", "bad_input", "must be an object"),
            (b'{"question": "?"', "bad_file", "requests.jsonl:19"),
            (b'{"question": "\xff"}', "bad_file", "UTF-8"),
            (b'{"question": "?", "question": "!"}', "bad_file", "question"),
            (b"[" * 100000, "bad_file", "requests.jsonl"),
        ]
        wrong = [(line, code, "requests.jsonl" if "jsonl:" in says else says) for line, code, says in wrong]
        got = self.batch(good, *(line for line, _, _ in wrong), good, code=1)
        self.assertEqual(len(got), len(wrong) + 2)
        self.assertEqual(got[0]["text"], got[len(wrong) + 1]["text"])
        for index, (line, code, says) in enumerate(wrong, 1):
            error = got[index].get("error")
            self.assertIsNotNone(error, got[index])
            self.assertIn(says, error["message"], line)
            self.assertTrue(error["item"], error)
            if code != "bad_file":
                self.assertEqual(error["code"], code, error)
        self.assertEqual(got[1]["id"], "x")

    def test_B30_ten_thousand_images_fail_their_request_only(self):
        got = self.batch(
            {"images": ["roof.png"] * 10000, "question": "?"},
            {"images": ["roof.png"] * 200, "question": "?", "max_tokens": 1},
            {"image": "roof.png", "question": QUESTION, "max_tokens": 2},
            code=1,
        )
        self.assertEqual(got[0]["error"]["code"], "limit")
        self.assertIn("10000 pictures", got[0]["error"]["message"])
        self.assertEqual(got[1]["error"]["code"], "limit")
        self.assertIn("context", got[1]["error"]["message"])
        self.assertIn("text", got[2])

    def test_B33_a_line_over_the_limit_fails_alone(self):
        got = self.batch(b'{"question": "' + b"x" * (17 << 20) + b'"}', {"question": "Hi", "max_tokens": 1}, code=1)
        self.assertEqual(got[0]["error"]["code"], "limit")
        self.assertIn("16777216 bytes", got[0]["error"]["message"])
        self.assertIn("text", got[1])

    def test_stdin_is_answered_line_by_line(self):
        process = subprocess.Popen([PROGRAM, "batch", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), cwd=self.folder)
        for index in range(3):  # the next request is written only after the answer
            process.stdin.write(json.dumps({"id": index, "image": "roof.png", "question": QUESTION}).encode() + b"\n")
            process.stdin.flush()
            self.assertEqual(json.loads(process.stdout.readline())["id"], index)
        process.stdin.close()
        self.assertEqual(process.stdout.read(), b"")
        process.stdout.close()
        self.assertEqual(process.wait(60), 0)

    def test_results_go_to_a_file_and_are_never_overwritten(self):
        path = self.write({"question": "Hi", "max_tokens": 1})
        self.assertEqual(self.good("batch", path, "-o", self.out), "")
        before = self.out.read_bytes()
        self.bad("batch", path, "-o", self.out, code=2, says=["--resume", str(self.out)])
        self.bad("batch", path, "-o", path, code=2, says="requests itself")
        self.bad("batch", path, "--resume", code=2, says="-o FILE")
        self.bad("batch", code=2, says="one file")
        self.bad("batch", self.folder / "none.jsonl", says="none.jsonl")
        self.bad("batch", path, "-o", self.folder / "no" / "out.jsonl", says="no/out.jsonl")
        self.assertEqual(self.out.read_bytes(), before)

    def test_resume_keeps_good_lines_and_does_the_rest(self):
        lines = [{"id": f"r{i}", "image": "roof.png", "question": QUESTION, "max_tokens": 1 + i % 3} for i in range(6)]
        lines[4]["image"] = "later.png"
        path = self.write(*lines)
        self.run_program("batch", path, "-o", self.out)
        want = self.by_index(self.out.read_bytes())
        self.assertIn("error", want[4])
        whole = self.out.read_bytes().splitlines(keepends=True)
        good = [line for line in whole if b'"error"' not in line]
        # Two whole lines, one failed, one damaged and a torn one.
        self.out.write_bytes(good[0] + good[1] + b'{"id":"r4","index":4,"error":{"code":"io"}}\n' + b"{]\n" + good[2][: len(good[2]) // 2])
        shutil.copy(ROOF, self.folder / "later.png")
        self.good("batch", path, "-o", self.out, "--resume")
        after = self.out.read_bytes()
        self.assertTrue(after.startswith(good[0] + good[1]))
        got = self.by_index(after)
        self.assertEqual(sorted(got), list(range(6)))
        self.assertEqual({i: r.get("text") for i, r in got.items() if i != 4}, {i: r.get("text") for i, r in want.items() if i != 4})
        self.assertIn("text", got[4])
        self.good("batch", path, "-o", self.out, "--resume")  # nothing is left to do
        self.assertEqual(self.out.read_bytes(), after)
        self.assertEqual([p.name for p in self.folder.iterdir() if "tmp" in p.name], [])

    def test_resume_refuses_the_results_of_other_requests(self):
        self.good("batch", self.write({"id": "a", "question": "Hi", "max_tokens": 1}), "-o", self.out)
        before = self.out.read_bytes()
        self.bad("batch", self.write({"id": "b", "question": "Hi", "max_tokens": 1}), "-o", self.out, "--resume", says=["other requests", str(self.out)])
        self.assertEqual(self.out.read_bytes(), before)

    def started(self, count):
        """A long run that has written `count` lines."""
        path = self.write(*({"id": i, "image": "roof.png", "question": QUESTION, "seed": i} for i in range(400)))
        process = subprocess.Popen([PROGRAM, "batch", str(path), "-o", str(self.out), "--batch", "2"], stderr=subprocess.PIPE, env=environment())
        self.addCleanup(process.stderr.close)
        deadline = time.time() + 60
        while not self.out.exists() or self.out.read_bytes().count(b"\n") < count:
            self.assertLess(time.time(), deadline)
            self.assertIsNone(process.poll())
            time.sleep(0.01)
        return path, process

    def test_F03_kill_loses_at_most_the_line_being_written(self):
        path, process = self.started(5)
        process.kill()
        process.wait(60)
        data = self.out.read_bytes()
        lines = data.split(b"\n")
        for line in lines[:-1]:
            self.assertIn("text", json.loads(line))
        self.assertLess(data.count(b"\n"), 400)
        kept = data[: data.rfind(b"\n") + 1]
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: kept.count(b"\n") + 6]))
        self.good("batch", path, "-o", self.out, "--resume")
        self.assertTrue(self.out.read_bytes().startswith(kept))
        self.assertEqual(sorted(self.by_index(self.out.read_bytes())), list(range(kept.count(b"\n") + 6)))

    def test_F03_interrupt_leaves_whole_lines(self):
        _, process = self.started(3)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(60), 130)
        data = self.out.read_bytes()
        self.assertTrue(data.endswith(b"\n"))
        for line in data.splitlines():
            self.assertIn("text", json.loads(line))

    def test_two_runs_do_not_write_one_file(self):
        path, process = self.started(1)
        self.bad("batch", path, "-o", self.out, "--resume", says="another run")
        process.kill()
        process.wait(60)

    def test_F02_a_full_disk_names_the_file_and_leaves_whole_lines(self):
        path = self.write(*({"id": i, "image": "roof.png", "question": QUESTION} for i in range(40)))
        done = subprocess.run(["/bin/sh", "-c", f'ulimit -f 2; exec "$0" batch "$1" -o "$2"', PROGRAM, str(path), str(self.out)], capture_output=True, env=environment(), timeout=100)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b"out.jsonl", done.stderr)
        for line in self.out.read_bytes().split(b"\n")[:-1]:
            json.loads(line)
        self.assertTrue(self.out.read_bytes().endswith(b"\n"))

    def test_a_long_file_does_not_sit_in_memory(self):
        if SANITIZED:
            self.skipTest("sanitizers keep freed memory; it is read in the release build")
        path = self.folder / "long.jsonl"
        filler = b"x" * 2000
        with open(path, "wb") as file:
            for _ in range(100):
                file.write(b"".join(b'{"id":"%s"}\n' % filler for _ in range(300)))
        # 60 MB of requests, each an error: what they need is the memory of one.
        script = "import resource,subprocess,sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        def peak(requests):
            return int(subprocess.run([shutil.which("python3"), "-c", script, PROGRAM, "batch", str(requests)], capture_output=True, env=environment(), timeout=100).stdout)
        short = self.write({"id": "x" * 2000})
        self.assertLess(peak(path), peak(short) + 30 * 1024)
