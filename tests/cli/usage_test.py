"""Words, options, help and exit codes."""

import json
import subprocess

from support import NANO, PROGRAM, SAMPLES, Case, environment


class Usage(Case):
    def test_version_and_help_go_to_stdout(self):
        self.assertRegex(self.good("--version"), r"^tapetum \d+\.\d+\.\d+\n$")
        text = self.good("--help")
        for word in ("describe", "detect", "verify", "tokenize", "render", "show", "list", "--max-tokens", "--dtype", "--seed"):
            self.assertIn(word, text)

    def test_every_command_has_help(self):
        for command in ("describe", "detect", "verify", "tokenize", "render", "show", "list"):
            text = self.good(command, "--help")
            self.assertTrue(text.startswith(f"tapetum {command}"), text)
            self.assertIn("--json", text)

    def test_no_arguments_show_help_and_are_wrong_use(self):
        self.assertEqual(self.run_program().returncode, 2)

    def test_an_unknown_option_names_the_nearest(self):
        self.bad(SAMPLES / "roof.png", "What?", "--max-token", "3", code=2, says=["--max-token", "nearest: --max-tokens"])
        self.bad("describe", SAMPLES / "roof.png", "--jsn", code=2, says=["--jsn", "--json"])

    def test_a_mistyped_command_is_named(self):
        self.bad("descrbe", code=2, says=["descrbe", "did you mean `describe`"])

        self.bad("descrbe", SAMPLES / "roof.png", code=2, says="did you mean `describe`")

    def test_an_empty_question_or_value_is_wrong_use(self):
        self.bad(SAMPLES / "roof.png", " ", code=2, says="question is empty")
        self.bad("--dtype=", SAMPLES / "roof.png", "What?", code=2, says="--dtype")

    def test_a_command_word_can_be_a_file(self):
        picture = self.folder / "describe"
        picture.write_bytes((SAMPLES / "roof.png").read_bytes())
        text = self.good("./describe", "What is on the roof?", cwd=self.folder)
        self.assertIn("bird", text)
        self.assertIn("bird", self.good("--", "describe", "What is on the roof?", cwd=self.folder))

    def test_options_may_stand_before_the_command(self):
        roof = SAMPLES / "roof.png"
        want = self.good_json("describe", roof, "--max-tokens", "3")["text"]
        for before in (["--quiet"], ["-m", NANO], ["--model", NANO], ["-qm", NANO], [f"--model={NANO}"], ["--stop", "describe"]):
            self.assertEqual(self.good_json(*before, "describe", roof, "--max-tokens", "3")["text"], want)
        self.assertTrue(self.good("--help", "detect").startswith("tapetum detect"))

    def test_values_out_of_range_name_option_and_range(self):
        roof = SAMPLES / "roof.png"
        self.bad(roof, "What?", "--max-tokens", "0", code=2, says=["--max-tokens is 0", "from 1"])
        self.bad(roof, "What?", "--temperature", "-1", code=2, says=["--temperature is -1"])
        self.bad(roof, "What?", "--temperature", "nan", code=2, says=["--temperature", "nan"])
        self.bad(roof, "What?", "--top-p", "1.5", code=2, says=["--top-p is 1.5"])
        self.bad(roof, "What?", "--top-k", "2.5", code=2, says=["--top-k", "whole number"])
        self.bad(roof, "What?", "--dtype", "q5", code=2, says=["--dtype", "auto, f32, bf16, q8, q4"])
        self.bad(roof, "What?", "--seed", code=2, says="--seed")
        self.bad("detect", "tree", roof, "-o", "", code=2, says="--output")

    def test_a_missing_picture_is_named(self):
        self.bad("nothing.png", "What?", says="nothing.png")
        self.bad("describe", "nothing.png", says="nothing.png")

    def test_json_errors_are_json(self):
        done = self.run_program("describe", "nothing.png", "--json")
        self.assertEqual(done.returncode, 1)
        error = json.loads(done.stdout)["error"]
        self.assertEqual((error["code"], error["item"]), ("not_found", "nothing.png"))

    def test_a_bad_picture_among_good_ones_does_not_stop_them(self):
        done = self.run_program("describe", SAMPLES / "roof.png", "nothing.png", SAMPLES / "yard.png", "--json")
        self.assertEqual(done.returncode, 1)
        items = json.loads(done.stdout)
        self.assertEqual(["text" in item for item in items], [True, False, True])
        self.assertEqual(items[1]["error"]["item"], "nothing.png")

    def test_quiet_says_nothing_and_verbose_says_every_stage(self):
        args = (SAMPLES / "roof.png", "What is on the roof?")
        self.assertEqual(self.run_program(*args, "--quiet").stderr, b"")
        text = self.run_program(*args, "-v").stderr.decode()
        for stage in ("load", "preprocess", "encode", "prefill", "decode", "tokens/s"):
            self.assertIn(stage, text)


class TokenizeAndRender(Case):
    def test_tokenize_and_back(self):
        text = "Is there a cat?\n<loc0123> é漢😀"
        ids = self.good("tokenize", NANO, text)
        self.assertEqual(ids.count("\n"), 1)
        self.assertEqual(self.good("tokenize", NANO, ids, "--decode"), text + "\n")
        self.assertEqual(self.good("tokenize", NANO, "-", stdin=text), ids)
        self.assertEqual(self.good("tokenize", NANO, stdin=text), ids)
        result = self.good_json("tokenize", NANO, text)
        self.assertEqual(result["ids"], list(map(int, ids.split())))
        self.assertEqual(len(result["tokens"]), len(result["ids"]))

    def test_ids_outside_the_vocabulary_are_refused(self):
        self.bad("tokenize", NANO, "99999999", "--decode", says=["99999999", "token id"])
        self.bad("tokenize", NANO, "-3", "--decode", says=["-3", "token id"])

    def test_render_is_exact(self):
        messages = {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hi"}]}], "add_generation_prompt": True}
        file = self.folder / "messages.json"
        file.write_text(json.dumps(messages))
        want = "<|im_start|>User:<image>Hi<end_of_utterance>\nAssistant:"
        self.assertEqual(self.good("render", NANO, "--messages", file), want)
        self.assertEqual(self.good("render", "nano", "--messages", "-", stdin=json.dumps(messages)), want)

    def test_a_template_file_gets_every_variable(self):
        template = self.folder / "t.jinja"
        template.write_text("{{ bos_token }}{{ extra.a[1] }}{% for m in messages %}{{ m.content }}{% endfor %}\n")
        self.assertEqual(self.good("render", template, "--messages", "-", stdin='{"messages":[{"content":"x"}],"bos_token":"<s>","extra":{"a":[1,2]}}'), "<s>2x")

    def test_raise_exception_is_exit_1(self):
        template = self.folder / "t.jinja"
        template.write_text("{{ raise_exception('roles must alternate') }}")
        self.bad("render", template, "--messages", "-", stdin='{"messages":[]}', says="roles must alternate")

    def test_messages_that_are_no_messages_are_named(self):
        self.bad("render", NANO, "--messages", "-", stdin="[1]", says=["stdin", "messages"])
        self.bad("render", NANO, "--messages", "-", stdin="{", says=["stdin", "JSON"])
        self.bad("render", NANO, "--messages", "none.json", says="none.json")
        self.bad("render", NANO, code=2, says="--messages")

    def test_show_and_list(self):
        shown = self.good_json("show", NANO)
        self.assertEqual(shown["family"], "smolvlm")
        self.assertGreater(shown["parameters"], 5_000_000)
        self.assertIn("model.text_model.norm.weight", [t["name"] for t in shown["tensors"]])
        self.assertIn("q4", self.good("show", NANO))
        models = self.good_json("list", env=environment(HF_HOME=str(self.folder)))
        self.assertEqual([m["name"] for m in models], ["nano"])


class Pipes(Case):
    def test_a_closed_pipe_ends_quietly(self):
        process = subprocess.Popen([PROGRAM, "show", str(NANO)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        process.stdout.close()
        errors = process.stderr.read()
        process.stderr.close()
        self.assertEqual(process.wait(60), 1)
        self.assertEqual(errors, b"")
