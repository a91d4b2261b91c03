"""tapetum chat: on a terminal with real keys, and line by line from a pipe."""

import fcntl
import json
import os
import pty
import re
import resource
import select
import signal
import struct
import subprocess
import termios
import time
import unittest

from support import NANO, PROGRAM, SAMPLES, Case, environment

ROOF = SAMPLES / "roof.png"
YARD = SAMPLES / "yard.png"
QUESTION = "What is on the roof?"
SLOW = ("--seed", "1", "--temperature", "100", "--max-tokens", "900")  # a long answer: something to stop


class Talk:
    """The program on a terminal of its own."""

    def __init__(self, *args, env=None, columns=400, rows=30):
        try:
            self.master, self.slave = pty.openpty()
        except OSError as error:
            raise unittest.SkipTest(f"no terminal to be had: {error}")
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.slave)

        def own_the_terminal():
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen([PROGRAM, "chat", *map(str, args)], stdin=self.slave, stdout=self.slave, stderr=self.slave,
                                        env=env or environment(TERM="xterm"), preexec_fn=own_the_terminal)
        self.seen = b""

    def resize(self, columns, rows):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        if select.select([self.master], [], [], seconds)[0]:
            try:
                # The terminal itself puts a carriage return before each line end.
                self.seen = (self.seen + os.read(self.master, 65536)).replace(b"\r\r\n", b"\r\n")
            except OSError:
                return False
            return True
        return False

    def wait_for(self, text, seconds=60):
        """Reads until `text` was shown since the last keys; gives what was shown."""
        text = text.encode() if isinstance(text, str) else text
        end = time.monotonic() + seconds
        while text not in self.seen:
            if time.monotonic() > end or (not self.read(0.2) and self.process.poll() is not None and not self.read(0.2)):
                raise AssertionError(f"{text!r} was not shown: {self.seen[-2000:]!r}")
        return self.seen.decode(errors="replace")

    def keys(self, text, then="> "):
        """Types; waits until `then` is shown."""
        self.seen = b""
        os.write(self.master, text.encode() if isinstance(text, str) else text)
        return self.wait_for(then) if then else ""

    def send(self, line):
        """Sends a line and waits until it is taken."""
        self.keys(line, line[-20:])
        self.keys("\r", "\r\n")

    def ask(self, line):
        """Sends a line and waits for the next prompt; gives what was shown behind the line."""
        self.send(line)
        return self.wait_for("\x1b[?2004h\r\x1b[J> ")

    def end(self, seconds=30):
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            self.read(0.1)
        while self.read(0):  # what it wrote last
            pass
        return self.process.wait(1)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


class Terminal(Case):
    def talk(self, *args, **kwargs):
        kwargs.setdefault("env", environment(TERM="xterm", XDG_STATE_HOME=str(self.folder / "state")))
        talk = Talk(*args, **kwargs)
        self.addCleanup(talk.close)
        talk.wait_for("> ")
        return talk

    def left(self, talk, code=0):
        self.assertEqual(talk.end(), code, talk.seen)
        self.assertEqual(termios.tcgetattr(talk.slave), talk.before)
        self.assertIn(b"\x1b[?2004l", talk.seen)

    def test_a_question_is_typed_and_answered(self):
        talk = self.talk(ROOF)
        self.assertRegex(talk.seen.decode(), r"attached roof\.png \(\d+x\d+, 25 tokens\)")
        self.assertIn("bird", talk.ask(QUESTION))
        talk.keys("/quit\r", None)
        self.left(talk)

    def test_keys_edit_the_line(self):
        talk = self.talk()
        talk.keys("/hxlp", "/hxlp")
        talk.keys("\x1b[D\x1b[D\x7fe", "/help")
        self.assertIn("/regenerate", talk.keys("\r", "searches the history"))
        talk.wait_for("\x1b[?2004h\r\x1b[J> ")
        talk.keys("\x1b[A", "> /help")  # the history
        talk.keys("\x15/reg\t", "> /regenerate")
        talk.keys("\x15one\\\rtwo", "> one\r\n  two")
        talk.keys("\x15\x7f\x15\x04", None)
        self.left(talk)

    def test_pasted_line_ends_do_not_send(self):
        talk = self.talk()
        talk.keys("\x1b[200~/par\rams\r\x1b[201~", "> /par\r\n  ams")
        talk.keys("\x03", "\x1b[J> ")
        talk.keys("\x04", None)
        self.left(talk)

    def test_wide_characters_and_resize(self):
        talk = self.talk(columns=12)
        talk.keys("漢字漢字漢字", "> 漢字漢字漢\r\n字")
        talk.seen = b""
        talk.resize(20, 30)
        talk.process.send_signal(signal.SIGWINCH)
        talk.wait_for("> 漢字漢字漢字")
        talk.keys("\x03\x04", None)
        self.left(talk)

    def test_ctrl_c_clears_the_line_and_twice_on_an_empty_one_leaves(self):
        talk = self.talk()
        talk.keys("half a question", "question")
        talk.keys("\x03", "\r\x1b[J> ")
        talk.keys("\x03", "Ctrl-C again or Ctrl-D leaves")
        talk.keys("x", "> x")
        talk.keys("\x7f\x03", "Ctrl-C again")
        talk.keys("\x03", None)
        self.left(talk, 130)

    def test_ctrl_c_stops_the_answer_and_not_the_program(self):
        talk = self.talk(ROOF, *SLOW)
        talk.send("Say much")
        talk.read(20)  # the answer has begun
        talk.keys("\x03", "(stopped; what was said stays in the conversation)")
        talk.wait_for("\x1b[?2004h\r\x1b[J> ")
        saved = self.folder / "talk.json"
        self.assertIn("saved 1 turn", talk.ask(f"/save {saved}"))
        self.assertEqual(json.loads(saved.read_text())["messages"][-1]["finish_reason"], "cancelled")
        talk.ask("/params temperature 0")
        self.assertIn("bird", talk.ask("/reset") + talk.ask(f"{ROOF} {QUESTION}"))
        talk.keys("\x04", None)
        self.left(talk)

    def test_F09_signals_leave_cleanly_with_the_terminal_as_it_was(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            talk = self.talk()
            talk.process.send_signal(number)
            self.left(talk, 130)
            talk = self.talk(ROOF, *SLOW)
            talk.send("Say much")
            talk.read(20)
            talk.process.send_signal(number)
            self.left(talk, 130)
        self.assertFalse([p for p in self.folder.rglob("*") if "tmp" in p.name])

    def test_F09_a_second_interrupt_while_stopping_exits_at_once(self):
        talk = self.talk(ROOF, *SLOW)
        talk.send("Say much")
        # Two signals without a moment between them: the second one finds the first not yet obeyed.
        os.kill(talk.process.pid, signal.SIGSTOP)
        talk.process.send_signal(signal.SIGTERM)
        talk.process.send_signal(signal.SIGINT)
        os.kill(talk.process.pid, signal.SIGCONT)
        self.left(talk, 130)

    def test_F09_quit_signal_restores_the_terminal(self):
        talk = self.talk()
        talk.process.send_signal(signal.SIGQUIT)
        self.left(talk, -signal.SIGQUIT)

    def test_a_dropped_path_attaches_the_picture(self):
        odd = self.folder / "the roof's picture.png"
        odd.write_bytes(ROOF.read_bytes())
        talk = self.talk()
        quoted = "'" + str(odd).replace("'", "'\\''") + "'"
        escaped = re.sub(r"([ '])", r"\\\1", str(odd))
        for form in (quoted, escaped, str(odd), "file://" + str(odd).replace(" ", "%20")):
            self.assertRegex(talk.ask(form), r"attached the roof's picture\.png \(\d+x\d+, 25 tokens\)")
        self.assertIn("no such command; nearest: /quit", talk.ask("/qit"))
        talk.keys(f"/image {self.folder}/the\t", "the\\ roof\\'s\\ picture.png")
        talk.keys("\x15\x04", None)
        self.left(talk)

    def test_the_history_is_kept_for_its_owner(self):
        talk = self.talk()
        talk.ask("/params")
        talk.ask(" /undo")  # a space before it keeps a line out
        talk.keys("\x04", None)
        self.left(talk)
        history = self.folder / "state/tapetum/history"
        self.assertEqual(history.read_text(), "/params\n")
        self.assertEqual(history.stat().st_mode & 0o777, 0o600)
        talk = self.talk()
        talk.keys("\x12par", "(search `par') /params")
        talk.keys("\x07\x04", None)
        self.left(talk)

    def test_F14_no_home_and_a_read_only_one_are_silent(self):
        closed = self.folder / "closed"
        closed.mkdir(mode=0o500)
        for changes in ({"HOME": None}, {"HOME": str(closed)}, {"XDG_STATE_HOME": "/dev/null"}):
            talk = self.talk(env=environment(TERM="xterm", **changes))
            talk.ask("/params seed")
            talk.keys("\x04", None)
            self.left(talk)
            self.assertNotIn(b"tapetum: ", talk.seen)

    def test_a_terminal_that_moves_no_cursor_gets_plain_lines(self):
        talk = Talk(ROOF, env=environment(TERM="dumb"))
        self.addCleanup(talk.close)
        talk.wait_for("attached roof.png")
        talk.keys(QUESTION + "\n", "bird")
        talk.keys("\x04", None)
        self.assertEqual(talk.end(), 0)
        self.assertNotIn(b"\x1b", talk.seen)


class Piped(Case):
    def turns(self, *lines, args=(), code=0):
        """The JSON line of every turn."""
        done = self.run_program("chat", "--json", *args, stdin="\n".join(lines) + "\n")
        self.assertEqual(done.returncode, code, done.stderr.decode())
        return [json.loads(line) for line in done.stdout.decode().splitlines()]

    def test_each_line_is_a_turn(self):
        text = self.good("chat", ROOF, stdin=f"{QUESTION}\n\n  \nIs there a tree?\n")
        self.assertEqual(len(text.splitlines()), 2)
        self.assertIn("bird", text.splitlines()[0])
        self.assertEqual(self.good("chat", stdin=""), "")
        self.assertIn("bird", self.good("chat", ROOF, stdin=QUESTION))  # no line end at the end
        self.assertIn("bird", self.good("chat", ROOF, stdin=QUESTION.replace(" on", " on\\\r\n") + "\r\n"))

    def test_the_first_answer_is_that_of_a_single_question(self):
        single = self.good_json(ROOF, QUESTION)
        first, = self.turns(f"{ROOF} {QUESTION}")
        self.assertEqual(first["text"], single["text"].strip())
        self.assertEqual(first["tokens"]["prompt"], single["tokens"]["prompt"])
        self.assertEqual(first["images"], [str(ROOF)])

    def test_the_second_question_does_not_encode_again(self):
        done = self.run_program("chat", ROOF, "-v", stdin=f"{QUESTION}\nIs there a tree?\n")
        lines = done.stderr.decode().splitlines()
        self.assertEqual([line.split(": ", 1)[1] for line in lines if "picture roof.png" in line], ["encoded", "cached"])
        encodes = [line for line in lines if "encode: " in line]
        self.assertEqual(len(encodes), 2)
        self.assertIn("25 tokens", encodes[0])
        self.assertIn("0.0 ms, 0 tokens", encodes[1])
        first, second = self.turns(f"{ROOF} {QUESTION}", "Is there a tree?")
        self.assertEqual(first["tokens"]["cached"], 0)
        self.assertGreater(second["tokens"]["cached"], 25)
        self.assertEqual(second["images"], [])

    def test_errors_of_a_turn_do_not_end_the_conversation(self):
        cut = self.folder / "cut.png"
        cut.write_bytes(ROOF.read_bytes()[:2000])
        turns = self.turns("/image missing.png", "missing.png", f"{cut} What?", "/nothing", "/params top-p 7", f"{ROOF} {QUESTION}", code=1)
        errors = [turn["error"]["message"] for turn in turns[:-1]]
        for error, says in zip(errors, ("missing.png", "missing.png", "cut.png", "/nothing: no such command", "--top-p is 7"), strict=True):
            self.assertIn(says, error)
        self.assertIn("bird", turns[-1]["text"])
        self.assertEqual(turns[-1]["tokens"]["image"], 25)
        done = self.run_program("chat", stdin="/image a.png\n/image b.png\n")
        self.assertEqual((done.returncode, done.stderr.count(b"\n")), (1, 2))

    def test_a_picture_of_the_command_line_that_is_not_there_ends_it(self):
        self.bad("chat", "missing.png", says="missing.png")

    def test_B35_a_full_context_says_what_to_do_and_goes_on(self):
        turns = self.turns(f"{ROOF} {QUESTION}", "tree " * 2000, QUESTION, "/reset", "tree " * 2000, code=1)
        self.assertIn("bird", turns[0]["text"])
        self.assertRegex(turns[1]["error"]["message"], r"\d{4,} tokens.*1024.*/undo drops the last turn, /reset all")
        self.assertEqual(turns[1]["error"]["code"], "limit")
        self.assertIn("bird", turns[2]["text"])
        self.assertIn("fewer words", turns[3]["error"]["message"])
        done = self.run_program("chat", ROOF, "--context", "64", "--temperature", "50", "--seed", "3", stdin="Tell\nMore\n/undo\n/undo\n")
        self.assertIn(b"context of 64 tokens is full", done.stderr)

    def test_undo_and_again_and_system(self):
        turns = self.turns(f"{ROOF} {QUESTION}", "Is there a tree?", "/undo", "/again", "/undo", "/undo", code=1)
        self.assertEqual(turns[0]["text"], turns[2]["text"])
        self.assertEqual(turns[0]["tokens"]["prompt"], turns[2]["tokens"]["prompt"])
        self.assertEqual(turns[2]["images"], [str(ROOF)])
        self.assertIn("no turn to drop", turns[3]["error"]["message"])
        plain, = self.turns(QUESTION)
        told, = self.turns("/system Be brief.", QUESTION)
        self.assertEqual(told["tokens"]["prompt"], self.turns(QUESTION, args=("--system", "Be brief."))[0]["tokens"]["prompt"])
        self.assertGreater(told["tokens"]["prompt"], plain["tokens"]["prompt"])

    def test_parameters_change_between_turns(self):
        turns = self.turns(f"{ROOF} {QUESTION}", "/params max-tokens 1", "/again", "/params max-tokens default", "/params stop bird", "/again")
        self.assertEqual([turn["finish_reason"] for turn in turns], ["stop", "length", "stop"])
        self.assertNotIn("bird", turns[2]["text"])
        text = self.good("chat", stdin="/params temperature 0.5\n/params\n")
        self.assertIn("temperature 0.5\n", text)
        self.assertIn("max-tokens 512\n", text)
        self.bad("chat", stdin="/params temprature 1\n", says=["temprature", "nearest: temperature"])

    def test_saved_conversations_are_loaded_again(self):
        picture = self.folder / "roof.png"
        picture.write_bytes(ROOF.read_bytes())
        saved = self.folder / "a talk.json"
        first, second = self.turns(f"{picture} {QUESTION}", f"/save {saved}", "Is there a tree?", f"/save {saved}")
        file = json.loads(saved.read_text())
        self.assertEqual(len(file["messages"]), 4)
        self.assertEqual(file["messages"][0]["content"][0]["path"], str(picture.resolve()))
        again, = self.turns(f"/load {saved}", "/again")
        self.assertEqual((again["text"], again["tokens"]["prompt"]), (second["text"], second["tokens"]["prompt"]))
        self.assertIn("<image>", self.good("render", NANO, "--messages", saved))
        # Never over another file, unless asked for.
        other = self.folder / "other"
        other.write_text("precious")
        self.assertIn("/save ! ", self.turns("Hi", f"/save {other}", code=1)[1]["error"]["message"])
        self.assertEqual(other.read_text(), "precious")
        self.turns("Hi", f"/save ! {other}")
        self.assertEqual(len(json.loads(other.read_text())["messages"]), 2)
        # What is missing or changed is named.
        picture.write_bytes(YARD.read_bytes())
        done = self.run_program("chat", stdin=f"/load {saved}\n/again\n")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"roof.png: the picture has changed", done.stderr)
        picture.unlink()
        turns = self.turns(f"{ROOF} {QUESTION}", f"/load {saved}", "/again", code=1)
        self.assertIn("roof.png", turns[1]["error"]["message"])
        self.assertEqual(turns[2]["text"], turns[0]["text"])  # the conversation is the one before

    def test_files_that_are_no_conversation_are_refused(self):
        file = self.folder / "x.json"
        for text, says in (("", "not valid JSON"), ("[]", "messages"), ('{"messages":[{"role":"user","content":"x"}]}', "no answer"),
                           ('{"messages":[{"role":"user","content":[{"type":"image","path":"-"}]},{"role":"assistant","content":"x"}]}', "path"),
                           ("[" * 100_000, "x.json")):
            file.write_text(text)
            self.bad("chat", stdin=f"/load {file}\n", says=["x.json", says])
        self.bad("chat", stdin="/load /nowhere.json\n/quit\n", says="/nowhere.json")
        self.bad("chat", stdin=f"Hi\n/save {self.folder}/none/x.json\n", says="none/x.json")

    def test_quit_ends_before_the_end_of_input(self):
        self.assertEqual(len(self.turns("Hi", "/quit", "Hi")), 1)

    def test_F09_an_interrupt_ends_a_piped_conversation(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen([PROGRAM, "chat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
            process.stdin.write(b"Hi\n")
            process.stdin.flush()
            process.stdout.readline()
            time.sleep(0.2)
            process.send_signal(number)
            self.assertEqual(process.wait(20), 130)
            for stream in (process.stdin, process.stdout, process.stderr):
                stream.close()

    def test_F14_closed_streams_and_a_reader_that_left(self):
        def run(redirection):
            return subprocess.run(["/bin/sh", "-c", f'exec "$0" chat "$1" {redirection}', PROGRAM, str(ROOF)], input=QUESTION.encode() * 3,
                                  capture_output=True, env=environment(), timeout=60)

        done = run("<&-")
        self.assertEqual((done.returncode, done.stderr.splitlines()[-1]), (1, b"tapetum: stdin: Bad file descriptor"))
        self.assertEqual(run(">&-").returncode, 1)
        self.assertEqual(run("2>&-").returncode, 0)
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "chat", ROOF], input=QUESTION.encode(), stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"stdout: cannot write: No space left", done.stderr)
        process = subprocess.Popen([PROGRAM, "chat", ROOF], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        process.stdout.close()
        process.stdin.write(QUESTION.encode() + b"\n")
        process.stdin.close()
        self.assertEqual(process.wait(30), 1)
        process.stderr.close()


if __name__ == "__main__":
    unittest.main()
