"""Completions and manual pages know every command and option of the tables; bash, zsh and fish read them."""

import os
import re
import shutil
import subprocess
import unittest

from support import PROGRAM, Case, environment


def commands(help_text):
    return re.findall(r"^  tapetum ([a-z]+)", help_text, re.M)


def flags(help_text):
    """Of a help text: [("--model", "-m" or None, help)]."""
    rows = re.findall(r"^  (?:-(\w), |    )--([a-z0-9-]+)(?: \S+)? +(.*)$", help_text, re.M)
    return [("--" + name, "-" + letter if letter else None, text) for letter, name, text in rows]


class Completions(Case):
    def tables(self):
        """{command: flags}; the question is ""."""
        text = self.good("--help")
        tables = {"": flags(text)}
        for command in commands(text):
            tables[command] = flags(self.good(command, "--help"))
        self.assertGreater(len(tables), 8)
        self.assertTrue(all(tables.values()))
        return tables

    def bash(self, *words):
        """What bash offers for the last of `words`, split as readline does."""
        script = self.folder / "completion.bash"
        script.write_text(self.good("completions", "bash"))
        split = [part for word in words for part in (re.split("(=)", word) if word.startswith("--") and "=" in word else [word])]
        command = f'. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _tapetum; ((${{#COMPREPLY[@]}} == 0)) || printf "%s\\n" "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-uc", command, "bash", script, PROGRAM, *split], capture_output=True, text=True, timeout=60, cwd=self.folder,
                              env=environment(HF_HUB_CACHE=str(self.folder / "hub")))
        self.assertEqual(done.stderr, "")
        return done.stdout.split("\n")[:-1]

    def test_every_command_and_option_is_in_every_script(self):
        scripts = {shell: self.good("completions", shell) for shell in ("bash", "zsh", "fish")}
        for command, options in self.tables().items():
            for shell, text in scripts.items():
                self.assertRegex(text, rf"\b{command}\b", shell)
                for name, letter, _ in options:
                    self.assertRegex(text, rf"(?<!\w){re.escape('-l ' + name[2:] if shell == 'fish' else name)}\b", f"{shell} {command}")
                    if letter:
                        self.assertIn(f"-s {letter[1:]} " if shell == "fish" else letter, text)

    def test_bash_offers_commands_and_files(self):
        (self.folder / "my picture.png").write_bytes(b"")
        self.assertEqual(self.bash("des"), ["describe"])
        self.assertEqual(self.bash("my"), ["my picture.png"])
        self.assertTrue(set(self.tables()) - {""} <= set(self.bash("")))
        self.assertEqual(self.bash("describe", "my"), ["my picture.png"])
        self.assertEqual(self.bash("--", "des"), [])

    def test_bash_offers_the_options_of_each_command(self):
        for command, options in self.tables().items():
            offered = self.bash(*([command] if command else []), "--")
            self.assertEqual(sorted(offered), sorted(name for name, _, _ in options), command)
        self.assertIn("--decode", self.bash("-v", "tokenize", "nano", "--de"))
        self.assertEqual(self.bash("--model", "describe", "--de"), [])

    def test_bash_offers_choices_and_models(self):
        (self.folder / "hub/models--org--small/snapshots/abc").mkdir(parents=True)
        (self.folder / "hub/models--org--small/refs").mkdir()
        (self.folder / "hub/models--org--small/refs/main").write_text("abc")
        (self.folder / "hub/models--org--small/snapshots/abc/config.json").write_text("{}")
        for words in (("--dtype", ""), ("--dtype=",), ("describe", "--dtype", "")):
            self.assertEqual(self.bash(*words), ["auto", "f32", "bf16", "q8", "q4"])
        self.assertEqual(self.bash("--dtype=q"), ["q8", "q4"])
        self.assertEqual(self.bash("-m", "or"), ["org/small"])
        self.assertEqual(self.bash("describe", "--model=na"), ["nano"])
        self.assertEqual(self.bash("show", "na"), ["nano"])
        self.assertEqual(self.bash("completions", ""), ["bash", "zsh", "fish"])
        self.assertEqual(self.bash("man", "tok"), ["tokenize"])
        self.assertEqual(self.bash("cache", ""), ["clear"])
        self.assertEqual(self.bash("--max-tokens", ""), [])

    def test_zsh_and_fish_can_read_their_scripts(self):
        ran = 0
        for shell in ("zsh", "fish"):
            script = self.folder / f"completion.{shell}"
            script.write_text(self.good("completions", shell))
            if program := shutil.which(shell):
                done = subprocess.run([program, "--no-exec", script], capture_output=True, text=True, timeout=60, env=environment(HOME=str(self.folder)))
                self.assertEqual((done.returncode, done.stderr), (0, ""), shell)
                ran += 1
        if not ran:
            self.skipTest("neither zsh nor fish is here")

    @unittest.skipUnless(shutil.which("fish"), "fish is not here")
    def test_fish_offers_commands_options_and_models(self):
        script = self.folder / "completion.fish"
        script.write_text(self.good("completions", "fish"))
        path = os.path.dirname(PROGRAM) + ":" + os.environ["PATH"]

        def fish(line):
            done = subprocess.run(["fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", script, line], capture_output=True, text=True, timeout=60,
                                  env=environment(HOME=str(self.folder), PATH=path, HF_HUB_CACHE=str(self.folder)), cwd=self.folder)
            self.assertEqual(done.stderr, "")
            return [row.split("\t")[0] for row in done.stdout.splitlines()]

        self.assertEqual(fish("tapetum descr"), ["describe"])
        self.assertEqual(fish("tapetum describe --dty"), ["--dtype"])
        self.assertEqual(fish("tapetum describe --dtype q"), ["q4", "q8"])
        self.assertIn("nano", fish("tapetum show na"))
        self.assertEqual(fish("tapetum tokenize --max-to"), [])
        self.assertIn("--max-tokens", fish("tapetum roof.png --max-to"))

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not here")
    def test_zsh_offers_commands_options_and_choices(self):
        functions = self.folder / "functions"
        functions.mkdir()
        (functions / "_tapetum").write_text(self.good("completions", "zsh"))
        driver = self.folder / "driver.zsh"  # types the line, Tab, then what prints the line as it is now
        driver.write_text(r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1=; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D; bindkey '^I' complete-word; LISTMAX=1000; setopt no_beep; print RE''ADY"
zpty -r shell text '*READY*'
zpty -w -n shell "$2"$'\t'
zpty -w -n shell $'\x01print -r -- "SHO""WN<\x05>"\n'
zpty -r shell text '*SHOWN<*>*'
print -r -- "$text"
zpty -d shell
""")

        def zsh(line):
            done = subprocess.run(["zsh", "-f", driver, functions, line], capture_output=True, text=True, timeout=60, cwd=self.folder,
                                  env=environment(HOME=str(self.folder), TERM="dumb", PATH=os.path.dirname(PROGRAM) + ":" + os.environ["PATH"]))
            found = re.findall("SHOWN<([^<>]*)>", done.stdout)
            self.assertTrue(found, done.stdout + done.stderr)
            return found[-1].rstrip()

        self.assertEqual(zsh("tapetum descr"), "tapetum describe")
        self.assertEqual(zsh("tapetum describe --dty"), "tapetum describe --dtype")
        self.assertEqual(zsh("tapetum describe --dtype b"), "tapetum describe --dtype bf16")
        self.assertEqual(zsh("tapetum show na"), "tapetum show nano")
        self.assertEqual(zsh("tapetum completions ba"), "tapetum completions bash")

    def test_man_pages_name_every_command_and_option(self):
        tables = self.tables()
        for command, options in tables.items():
            page = self.good("man", *([command] if command else []))
            for name, letter, text in options:
                self.assertIn("\\fB" + name.replace("-", "\\-") + "\\fR", page, command)
                if letter:
                    self.assertIn("\\fB\\" + letter + "\\fR", page)
            if not command:
                for other in tables:
                    self.assertIn(f".B {other}\n" if other else ".TH TAPETUM 1", page)

    @unittest.skipUnless(shutil.which("groff"), "groff is not here")
    def test_groff_has_no_complaint_about_a_man_page(self):
        for command in self.tables():
            page = self.good("man", *([command] if command else []))
            done = subprocess.run(["groff", "-ww", "-b", "-man", "-Tutf8"], input=page, capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, ""), command)
            shown = re.sub("\x1b\\[[0-9;]*m|.\b", "", done.stdout)
            self.assertIn("EXIT STATUS", shown)
            self.assertIn("--json", shown)

    def test_words_that_make_no_sense_are_wrong_use(self):
        self.bad("completions", code=2, says="bash, zsh or fish")
        self.bad("completions", "tcsh", code=2, says="bash, zsh or fish")
        self.bad("man", "nothing", code=2, says=("no command nothing", "describe"))
        self.bad("man", "show", "list", code=2, says="one command")
        self.assertEqual(self.good_json("man", "show")["page"], "tapetum-show")


if __name__ == "__main__":
    unittest.main()
