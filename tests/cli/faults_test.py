"""A hostile world: full disks, signals, odd environments, hostile words and pictures."""

import json
import os
import pty
import resource
import signal
import struct
import subprocess
import time
import zlib

from PIL import Image

from support import NANO, PROGRAM, SAMPLES, SANITIZED, Case, environment

ROOF = SAMPLES / "roof.png"
QUESTION = "What is on the roof?"


def limited(**limits):
    def apply():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, name), (value, value))
    return apply


class Disk(Case):
    def test_F02_a_full_disk_behind_stdout_is_named(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "show", NANO], stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"stdout: cannot write: No space left", done.stderr)
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "describe", ROOF, "--json"], stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=60)
        self.assertEqual(done.returncode, 1)

    def test_F02_a_full_disk_keeps_the_old_picture(self):
        out = self.folder / "out.png"
        out.write_bytes(b"old")
        self.bad("detect", "tree", ROOF, "-o", out, says=["out.png", "too large"], preexec_fn=limited(RLIMIT_FSIZE=1000))
        self.assertEqual(out.read_bytes(), b"old")
        self.assertEqual([p.name for p in self.folder.iterdir()], ["out.png"])

    def test_F02_a_file_size_limit_is_no_death(self):
        done = subprocess.run(["/bin/sh", "-c", f'ulimit -f 1; exec "{PROGRAM}" detect tree "{ROOF}" -o "{self.folder}/out.png"'],
                              capture_output=True, env=environment(), timeout=60)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_an_output_pipe_that_nobody_reads_does_not_hang(self):
        os.mkfifo(self.folder / "out.png")
        self.bad("detect", "tree", ROOF, "-o", self.folder / "out.png", says="out.png")

    def test_an_output_name_of_another_format_is_refused(self):
        self.bad("detect", "tree", ROOF, "-o", self.folder / "out.jpg", code=2, says="PNG")
        self.bad("detect", "tree", ROOF, "-o", "-", code=2, says="-o -")

    def test_F02_an_output_folder_that_is_not_there_is_named(self):
        self.bad("detect", "tree", ROOF, "-o", self.folder / "none" / "out.png", says="out.png")
        self.assertEqual(list(self.folder.iterdir()), [])
        self.bad("detect", "tree", ROOF, "--masks", "/proc/nowhere", says=["/proc/nowhere", "cannot make this folder"])


class Signals(Case):
    def interrupted(self, args, delay):
        process = subprocess.Popen([PROGRAM, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def test_interrupt_during_load_or_decode_is_130(self):
        # So many pictures that the program is certainly at work; the first signal may come before it listens.
        codes = [self.interrupted(["describe", *[ROOF] * 2000], delay)[0] for delay in (0.03, 1, 2)]
        self.assertIn(codes[0], (130, -signal.SIGINT))
        self.assertEqual(codes[1:], [130, 130])

    def test_interrupt_ends_waiting_for_stdin(self):
        process = subprocess.Popen([PROGRAM, "tokenize", str(NANO), "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(20), 130)  # stdin is still open
        self.assertIn(b"interrupted", process.stderr.read())
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()

    def test_interrupt_ends_waiting_for_a_reader_of_stdout(self):
        words = self.folder / "words"
        words.write_text("hello world " * 20_000)
        with open(words, "rb") as stdin:
            process = subprocess.Popen([PROGRAM, "tokenize", str(NANO), "--json"], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        process.stdout.read(1)  # the rest fills the pipe
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(20), 130)
        self.assertIn(b"interrupted", process.stderr.read())
        process.stdout.close()
        process.stderr.close()

    def test_the_terminal_is_as_before_after_an_interrupt(self):
        try:
            master, slave = pty.openpty()
        except OSError as error:
            self.skipTest(f"no terminal to be had: {error}")
        import termios

        before = termios.tcgetattr(slave)
        process = subprocess.Popen([PROGRAM, "describe", str(ROOF), "--max-tokens", "100"], stdin=slave, stdout=slave, stderr=slave, env=environment())
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        self.assertEqual(termios.tcgetattr(slave), before)
        os.close(master)
        os.close(slave)


class Environment(Case):
    def works(self, **changes):
        self.assertIn("bird", self.good(ROOF, QUESTION, env=environment(**changes)), changes)

    def test_F14_odd_thread_counts(self):
        for count in ("0", "1000000", "-1", "x", ""):
            self.works(OMP_NUM_THREADS=count)

    def test_F14_hidden_instructions(self):
        for isa in ("scalar", "sse4", "avx2"):
            self.works(TAPETUM_ISA=isa)
        self.bad(ROOF, QUESTION, env=environment(TAPETUM_ISA="quantum"), code=2, says=["TAPETUM_ISA", "quantum", "scalar"])

    def test_F14_below_avx2_verbose_says_portable(self):
        done = self.run_program(ROOF, QUESTION, "-v", env=environment(TAPETUM_ISA="sse4"))
        self.assertIn(b"sse4", done.stderr)
        self.assertIn(b"portable", done.stderr)

    def test_F14_one_core(self):
        text = self.good(ROOF, QUESTION, preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}))
        self.assertIn("bird", text)

    def test_F14_no_home_c_locale_and_umask(self):
        self.works(HOME=None, LANG="C", LC_ALL="C")
        out = self.folder / "out.png"
        done = self.run_program("detect", "tree", ROOF, "-o", out, preexec_fn=lambda: os.umask(0o777))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(out.exists())

    def test_F14_a_read_only_home(self):
        home = self.folder / "home"
        home.mkdir(mode=0o500)
        self.works(HOME=str(home))

    def test_F14_closed_streams(self):
        done = subprocess.run(["/bin/sh", "-c", 'exec "$0" "$@" <&-', PROGRAM, str(ROOF), QUESTION], capture_output=True, env=environment(), timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"bird", done.stdout)
        done = subprocess.run(["/bin/sh", "-c", 'exec "$0" "$@" <&-', PROGRAM, "-", QUESTION], capture_output=True, env=environment(), timeout=60)
        self.assertEqual((done.returncode, done.stderr), (1, b"tapetum: stdin: Bad file descriptor\n"))
        done = subprocess.run(["/bin/sh", "-c", 'exec "$0" "$@" >&-', PROGRAM, str(ROOF), QUESTION], capture_output=True, env=environment(), timeout=60)
        self.assertEqual(done.returncode, 1)
        done = subprocess.run(["/bin/sh", "-c", 'exec "$0" "$@" 2>&-', PROGRAM, str(ROOF), QUESTION], capture_output=True, env=environment(), timeout=60)
        self.assertEqual(done.returncode, 0)


class Words(Case):
    def test_B28_a_megabyte_of_letters_is_too_long_in_one_line(self):
        self.bad(ROOF, "A" * 100_000, says=["context"])
        # A single argument cannot be longer than 128 KiB; the tokenizer takes the megabyte from stdin.
        ids = self.good("tokenize", NANO, "-", stdin="A" * 1_000_000)
        self.assertEqual(self.good("tokenize", NANO, "-", "--decode", stdin=ids), "A" * 1_000_000 + "\n")

    def test_B28_odd_text_round_trips(self):
        for text in ("e\u0301" * 10_000, "😀👩‍👩‍👧‍👦🏳️‍🌈" * 100, "\u202eabc\u202c", "x\0y"):
            ids = self.good("tokenize", NANO, "-", stdin=text)
            self.assertEqual(self.good("tokenize", NANO, "-", "--decode", stdin=ids), text + "\n")

    def test_B28_bytes_that_are_no_text(self):
        done = self.run_program(ROOF, b"What \xff\xfe is on the roof?")
        self.assertEqual(done.returncode, 0, done.stderr)
        ids = self.good("tokenize", NANO, "-", stdin=b"a\xffb")
        self.assertEqual(self.good("tokenize", NANO, "-", "--decode", stdin=ids), "a\ufffdb\n")

    def test_B29_special_tokens_in_a_question_stay_text(self):
        for text in ("<image>", "<end_of_utterance>", "<|im_start|>", "<fake_token_around_image>", "<global-img>", "<loc0001>"):
            plain = self.good_json(ROOF, "abc", "--max-tokens", "1")
            typed = self.good_json(ROOF, text, "--max-tokens", "1")
            self.assertEqual(typed["tokens"]["image"], plain["tokens"]["image"])
            self.assertGreater(typed["tokens"]["prompt"], plain["tokens"]["prompt"] + 1, text)
        odd = self.folder / "<image>.png"
        odd.write_bytes(ROOF.read_bytes())
        self.assertEqual(self.good_json("describe", odd)["tokens"]["image"], 25)

    def test_B35_a_prompt_longer_than_the_context_names_both(self):
        line = self.bad(ROOF, "tree " * 2000, says=["1024"])
        self.assertRegex(line, r"\d{4,}")
        self.bad("describe", ROOF, "--system", "tree " * 2000, says=["1024"])


def png(width, height, data=b"", color=2, depth=8, extra=b""):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


class Pictures(Case):
    def picture(self, data, name="p.png"):
        path = self.folder / name
        path.write_bytes(data)
        return path

    def test_B11_a_huge_declaration_is_refused_with_the_limit(self):
        self.bad("describe", self.picture(png(65535, 65535)), says=["p.png", "65535", "limit"])

    def test_B12_a_uniform_bomb_is_refused_before_memory(self):
        rows = zlib.compress(bytes(40_001 * 60), 9)
        path = self.picture(png(40_000, 40_000, rows, color=0))
        usage = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        self.bad("describe", path, says=["p.png", "40000", "limit"])
        if not SANITIZED:
            self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, max(usage, 300_000))

    def test_B13_tiny_and_thin_pictures_answer(self):
        for size in ((1, 1), (1, 8192), (8192, 1), (3, 2)):
            path = self.folder / "thin.png"
            Image.new("RGB", size, "red").save(path)
            result = self.good_json("describe", path)
            self.assertEqual((result["width"], result["height"]), size)
        self.bad("describe", self.picture(png(0, 5)), says="p.png")

    def test_B15_odd_pictures_answer(self):
        roof = Image.open(ROOF).convert("RGB").resize((96, 96))
        roof.convert("CMYK").save(self.folder / "cmyk.jpg")
        roof.convert("L").convert("I;16").save(self.folder / "grey16.png")
        roof.convert("P").save(self.folder / "palette.png", transparency=0)
        roof.convert("LA").save(self.folder / "la.png")
        roof.convert("1").save(self.folder / "bits.png")
        for path in self.folder.iterdir():
            self.assertGreater(len(self.good("describe", path)), 2, path.name)

    def test_B19_files_that_are_no_pictures_are_named_for_what_they_are(self):
        self.bad("describe", self.picture(b"<!DOCTYPE html><html></html>", "page.jpg"), says=["page.jpg", "HTML"])
        self.bad("describe", self.picture(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "v.png"), says=["v.png", "SVG"])
        self.bad("describe", self.picture(b"", "empty.png"), says="empty.png")
        empty = self.folder / "empty"
        empty.mkdir()
        self.bad("describe", empty, says=[str(empty), "no pictures"])
        self.assertGreater(len(self.good("describe", self.picture(ROOF.read_bytes(), "really-png.jpg"))), 2)

    def test_a_cut_picture_is_an_error(self):
        self.bad("describe", self.picture(ROOF.read_bytes()[:3000], "cut.png"), says="cut.png")

    def test_a_pipe_that_nobody_writes_to_does_not_hang(self):
        fifo = self.folder / "fifo.png"
        os.mkfifo(fifo)
        self.bad("describe", fifo, says="fifo.png")

    def test_a_name_cannot_break_the_line_or_command_the_terminal(self):
        line = self.bad("describe", "two\nlines\x1b[31m.png", says="two lines?[31m.png")
        self.assertTrue(line.isprintable())
        done = self.run_program("describe", "a\nb.png", "c\nd.png")
        self.assertEqual((done.returncode, done.stderr.count(b"\n")), (1, 2))

    def test_answers_are_json_whatever_the_name(self):
        odd = os.fsencode(self.folder) + b"/n\xff\n\".png"
        with open(odd, "wb") as file:
            file.write(ROOF.read_bytes())
        done = self.run_program("describe", os.fsdecode(odd), "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        json.loads(done.stdout)
