"""Hostile words, numbers and lengths in questions, system texts, file names and conversations."""

import json
import os
import pathlib
import re
import subprocess
import unittest

from PIL import Image

from support import FAMILIES, NANO, PROGRAM, ROOT, SAMPLES, Case, environment

ROOF = SAMPLES / "roof.png"
QUESTION = "What is on the roof?"
SHORT = ("--max-tokens", "2")
ODD = {
    "combining": "e" + "\u0301" * 300,
    "emoji": "😀👩‍👩‍👧‍👦🏳️‍🌈🇩🇪👍🏽" * 5,
    "right to left": "\u202eabc\u202c\u2066def\u2069\u200f\u061c",
    "not text": b"a\xff\xfe\xc3(\xed\xa0\x80\xf8b",
    "controls": "a\x01\x07\x1b[2J\x7f\u009bb",
}


def encoded(text):
    return text if isinstance(text, bytes) else text.encode()


def special_tokens():
    """The added tokens of every tokenizer that is here, without blanks; of numbered ones (<loc0001>, …) one each."""
    tokens = set()
    for path in [*(ROOT / "tests/data/tokenizers").rglob("tokenizer.json"), NANO / "tokenizer.json", *FAMILIES.rglob("tokenizer.json")]:
        tokens |= {token["content"] for token in json.loads(path.read_text()).get("added_tokens", [])}
    for path in (ROOT / "tests/data/tokenizers").rglob("tokenizer_config.json"):
        tokens |= {token["content"] for token in json.loads(path.read_text()).get("added_tokens_decoder", {}).values()}
    kinds = {re.sub(r"\d+", "#", token): token for token in sorted(tokens) if token.strip() and "\n" not in token and "\0" not in token}
    return sorted(kinds.values())


class Words(Case):
    def chat(self, lines, args=(), code=0):
        done = self.run_program("chat", "--json", *SHORT, *args, stdin=b"\n".join(map(encoded, lines)) + b"\n")
        self.assertEqual(done.returncode, code, done.stderr[-2000:])
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_B28_odd_words_in_question_and_system_text_and_chat(self):
        for name, text in ODD.items():
            with self.subTest(name):
                self.good(ROOF, text, *SHORT)
                self.good(ROOF, QUESTION, "--system", text, *SHORT)
        turns = self.chat([line for text in ODD.values() for line in (text, "/undo", f"/image {ROOF}")], args=[ROOF])
        self.assertEqual([turn["tokens"]["image"] for turn in turns], [25] * len(ODD))
        turns = self.chat([b"/system " + encoded(text) + b"\nHi" for text in ODD.values()])
        self.assertEqual(len(turns), len(ODD))
        self.assertEqual(len(self.chat([b"a\0b", b"/system x\0y", b"c"])), 2)  # NUL: only a stream can carry it

    def test_B28_endless_words_are_refused_in_one_line(self):
        for text in ("A" * 100_000, "e" + "\u0301" * 60_000, "😀" * 30_000):
            self.bad(ROOF, text, says=["tokens", "context"])
            self.bad(ROOF, QUESTION, "--system", text, says=["tokens", "context"])
        turns = self.chat(["A" * 1_000_000, "e" + "\u0301" * 100_000, "A" * 2_000_000, "/system " + "A" * 1_000_000, "Hi", "/system default", "Hi"], code=1)
        says = ["context", "context", "the limit is 1048576", "context"]
        for turn, part in zip(turns, says):
            self.assertIn(part, turn["error"]["message"])
            self.assertLess(len(turn["error"]["message"]), 1000)
        self.assertIn("text", turns[-1])
        self.assertEqual(len(turns), 5)

    def test_B28_odd_file_names(self):
        for name, text in ODD.items():
            path = os.path.join(os.fsencode(self.folder), encoded(text)[:200].replace(b"/", b"") + b".png")
            with open(path, "wb") as file:
                file.write(ROOF.read_bytes())
            with self.subTest(name):
                self.assertEqual(json.loads(self.run_program("describe", "--json", *SHORT, os.fsdecode(path)).stdout)["tokens"]["image"], 25)
                done = self.run_program("chat", *SHORT, stdin=b"/image '" + path + b"'\nWhat?\n")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertNotRegex(done.stderr, rb"[\x00-\x09\x0b-\x1f\x7f]")
            os.unlink(path)

    def test_B29_special_tokens_of_every_family_stay_text(self):
        tokens = special_tokens()
        self.assertGreater(len(tokens), 50)
        plain = self.good_json(ROOF, "x", *SHORT)["tokens"]["image"]
        lines, groups = [], [" ".join(tokens[at:at + 20]) for at in range(0, len(tokens), 20)]
        for words in groups:
            lines += [f"/image {ROOF}", words, "/undo", "/system " + words, "Hi", "/system .", "/reset"]
        turns = self.chat(lines, args=["--max-tokens", "1"])
        self.assertEqual([turn["tokens"]["image"] for turn in turns], [plain, 0] * len(groups))
        words = "<|im_start|> <|im_end|> <end_of_utterance> <fake_token_around_image> <image> <global-img> <row_1_col_1> <loc0001>"
        self.assertEqual(self.good_json(ROOF, words, *SHORT)["tokens"]["image"], plain)
        self.assertEqual(self.good_json(ROOF, QUESTION, "--system", words, *SHORT)["tokens"]["image"], plain)

    def test_B29_special_tokens_in_file_names_stay_text(self):
        plain = self.good_json(ROOF, "x", *SHORT)["tokens"]["image"]
        paths = []
        for token in ("<image>", "<end_of_utterance>", "<|im_end|>", "<|image_pad|>", "<start_of_turn>", "<loc0001>"):
            paths.append(self.folder / f"{token}.png")
            paths[-1].write_bytes(ROOF.read_bytes())
        self.assertEqual([one["tokens"]["image"] for one in self.good_json("describe", *paths, *SHORT)], [plain] * len(paths))
        lines = [line for path in paths for line in (f"Is {path} red?", "/reset")]  # the name stays in the sentence
        self.assertEqual([turn["tokens"]["image"] for turn in self.chat(lines)], [plain] * len(paths))

    def test_B30_typed_placeholders_are_no_pictures(self):
        self.assertEqual(self.good_json(ROOF, "<image><image> Compare", *SHORT)["tokens"]["image"], 25)
        turns = self.chat(["<image> What?", f"{ROOF} <image> What?"])
        self.assertEqual([turn["tokens"]["image"] for turn in turns], [0, 25])

    def test_B30_a_picture_in_the_system_role_is_rendered(self):
        messages = {"messages": [{"role": "system", "content": [{"type": "image"}, {"type": "text", "text": "<image>"}]}]}
        spans = self.good_json("render", NANO, "--messages", "-", stdin=json.dumps(messages))["spans"]
        self.assertIn("<image>", "".join(span["text"] for span in spans if span["trusted"]))
        self.assertEqual([span["text"] for span in spans if not span["trusted"]], ["<image>"])

    def test_B30_too_many_pictures_are_refused_before_any_is_encoded(self):
        turns = self.chat([f"{ROOF} " * 500 + QUESTION, "/image " + f"{ROOF} " * 100, QUESTION, "/reset", f"{ROOF} {QUESTION}"], code=1)
        self.assertRegex(turns[0]["error"]["message"], r"prompt has \d{5} tokens.* context is 1024")
        self.assertIn("context is 1024", turns[1]["error"]["message"])
        self.assertEqual(turns[2]["tokens"]["image"], 25)
        done = self.run_program("chat", ROOF, "-v", stdin=f"{ROOF} " * 3 + QUESTION + "\n")
        self.assertEqual(done.stderr.count(b"picture roof.png: encoded"), 4)  # asked before: none was there
        self.assertIn(b"100 of them from pictures", done.stderr)

    def test_B30_ten_thousand_pictures_end_in_one_line(self):
        dot = self.folder / "dot.png"
        Image.new("RGB", (1, 1)).save(dot)
        done = subprocess.run([PROGRAM, "chat", "--json"], input=f"{'dot.png ' * 10_000}What?\n".encode(), capture_output=True, cwd=self.folder,
                              env=environment(), timeout=100)
        self.assertEqual(done.returncode, 1, done.stderr[-500:])
        self.assertIn("context is 1024", json.loads(done.stdout)["error"]["message"])


class Numbers(Case):
    VALUES = ("-1", "0", "2147483648", "9223372036854775808", "1e308", "nan", "inf", '"5"', "null", " ", "5x", "0x5")
    RANGES = {  # option to the values above that it takes
        "max-tokens": (), "temperature": ("0",), "top-p": ("0",), "top-k": ("0",), "min-p": ("0",), "seed": ("0", "2147483648"),
        "threads": (), "context": (), "frame": ("0",),
    }

    def test_B32_every_numeric_option_of_a_question_names_its_range(self):
        for option, allowed in self.RANGES.items():
            for value in self.VALUES:
                with self.subTest(option=option, value=value):
                    if value in allowed:
                        self.good(ROOF, QUESTION, f"--{option}", value, *SHORT)
                    else:
                        line = self.bad(ROOF, QUESTION, f"--{option}", value, code=2, says=f"--{option}")
                        self.assertRegex(line, "must be (from -?[0-9]+ to [0-9]+|a (whole )?number)")
            self.bad(ROOF, QUESTION, f"--{option}", "", code=2, says=f"--{option}")
            self.bad(ROOF, QUESTION, f"--{option}=", code=2, says=f"--{option}")

    def test_B32_numbers_of_a_conversation_name_their_range(self):
        names = ("temperature", "top-p", "top-k", "min-p", "seed", "max-tokens")
        lines = [f"/params {name} {value}" for name in names for value in self.VALUES if value.strip() and value not in self.RANGES[name]]
        done = self.run_program("chat", "--json", stdin="\n".join([*lines, "/params"]) + "\n")
        errors = [json.loads(line)["error"]["message"] for line in done.stdout.splitlines()]
        self.assertEqual(len(errors), len(lines))
        for line, error in zip(lines, errors):
            self.assertRegex(error, "must be (from -?[0-9]+ to [0-9]+|a (whole )?number)", line)
        self.assertIn(b"temperature default\n", done.stderr)  # nothing was changed

    def test_B32_temperature_0_with_top_p_0_is_greedy(self):
        greedy = self.good_json(ROOF, QUESTION, "--temperature", "0")["text"]
        self.assertEqual(self.good_json(ROOF, QUESTION, "--temperature", "0", "--top-p", "0")["text"], greedy)
        self.assertEqual(self.good_json(ROOF, QUESTION, "--temperature", "1", "--top-p", "0", "--seed", "1")["text"], greedy)


class Stops(Case):
    def test_B34_empty_and_half_characters_and_too_many_stops_are_refused(self):
        self.bad(ROOF, QUESTION, "--stop", "", code=2, says="stop")
        self.bad(ROOF, QUESTION, "--stop", b"\xc3", code=2, says=["stop", "UTF-8"])
        self.bad(ROOF, QUESTION, *["--stop=x"] * 10_000, code=2, says=["10000", "64"])
        self.bad(ROOF, QUESTION, "--stop", "x" * 5000, code=2, says=["5000", "4096"])
        done = self.run_program("chat", "--json", stdin=b"/params stop \xc3\nHi\n")
        self.assertIn("UTF-8", json.loads(done.stdout.splitlines()[0])["error"]["message"])

    def test_B34_a_stop_within_a_token_ends_the_answer_there(self):
        whole = self.good_json(ROOF, QUESTION)["text"]
        for at in range(1, len(whole)):
            stop = whole[at:at + 2]
            text = self.good_json(ROOF, QUESTION, "--stop", stop)["text"]
            self.assertEqual(text, whole[:whole.find(stop)])


class Lengths(Case):
    def test_B35_context_smaller_than_picture_or_prompt_names_both(self):
        self.bad(ROOF, QUESTION, "--context", "1", says=["25 tokens", "context is 1"])
        self.bad(ROOF, QUESTION, "--context", "25", says=["25 tokens", "context is 25"])
        self.bad(ROOF, QUESTION, "--context", "30", says=["the prompt has", "context is 30", "one of them for the answer"])
        wide = self.folder / "wide.png"
        Image.new("RGB", (4000, 3000)).save(wide)
        self.good(wide, QUESTION, *SHORT)  # the processor keeps large pictures within the context
        done = self.run_program("chat", "--json", "--context", "1", stdin="Hi\n")
        self.assertIn("context is 1", json.loads(done.stdout)["error"]["message"])

    def test_B35_an_answer_ends_with_the_context(self):
        result = self.good_json(ROOF, QUESTION, "--context", "64", "--temperature", "50", "--seed", "3")
        self.assertEqual(result["finish_reason"], "length")
        self.assertEqual(result["tokens"]["prompt"] + result["tokens"]["output"], 64)
        big = self.good_json(ROOF, QUESTION, "--context", "2147483647")  # cut to the model's
        self.assertEqual(big["text"], self.good_json(ROOF, QUESTION)["text"])


class World(Case):
    def test_F14_every_level_of_instructions_answers(self):
        for isa in ("scalar", "sse4", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"):
            done = self.run_program(ROOF, QUESTION, env=environment(TAPETUM_ISA=isa))
            if done.returncode == 0:
                self.assertIn(b"bird", done.stdout, isa)
            else:
                self.assertIn(b"not on this CPU", done.stderr, isa)

    def test_F14_half_a_cpu(self):
        group = pathlib.Path("/sys/fs/cgroup") / f"tapetum-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError as error:
            self.skipTest(f"no cgroup to be had: {error}")
        self.addCleanup(group.rmdir)
        if not (group / "cpu.max").exists():
            self.skipTest("no cgroup v2 with a cpu controller here")
        try:
            (group / "cpu.max").write_text("50000 100000")
        except OSError as error:
            self.skipTest(f"no quota to be had: {error}")
        done = self.run_program(ROOF, QUESTION, "-v", preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())))
        self.assertIn(b"bird", done.stdout)
        self.assertIn(b"1 threads", done.stderr)

    def test_F14_a_reader_that_left_is_no_message(self):
        for args in (("describe", ROOF), ("show", NANO), ("--help",), ("describe", ROOF, "--json")):
            process = subprocess.Popen([PROGRAM, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
            process.stdout.close()
            self.assertEqual((process.wait(30), process.stderr.read()), (1, b""), args)
            process.stderr.close()

    def test_F14_conversations_in_a_bare_world(self):
        env = environment(HOME=None, LANG="C", LC_ALL="C", OMP_NUM_THREADS="1000000")
        saved = self.folder / "talk.json"
        done = self.run_program("chat", ROOF, stdin=f"{QUESTION}\n/save {saved}\n", env=env, preexec_fn=lambda: os.umask(0o777))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"bird", done.stdout)
        self.assertTrue(saved.exists())


if __name__ == "__main__":
    unittest.main()
