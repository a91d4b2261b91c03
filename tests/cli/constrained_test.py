"""Answers held to choices, a regex or a JSON Schema, and log-probabilities."""

import json
import math
import re

import jsonschema

from support import SAMPLES, Case

ROOF = SAMPLES / "roof.png"
QUESTION = "What is on the roof?"


class Constrained(Case):
    def schema(self, schema):
        path = self.folder / "schema.json"
        path.write_text(schema if isinstance(schema, str) else json.dumps(schema))
        return path

    def test_an_answer_is_one_of_the_choices(self):
        for seed in range(4):
            text = self.good(ROOF, QUESTION, "--choices", "cat,bird,dog\\, wet", "--temperature", "5", "--seed", str(seed))
            self.assertIn(text, ("cat\n", "bird\n", "dog, wet\n"))
        self.assertEqual(self.good(ROOF, "Is there a bird?", "--choices", "maybe"), "maybe\n")

    def test_a_choice_follows_the_picture(self):
        self.assertEqual(self.good(ROOF, QUESTION, "--choices", "a cat,a bird"), "a bird\n")

    def test_an_answer_matches_the_regex(self):
        for pattern in ("[A-D]", "[0-9]{2} %", "(é|日){3}", " x?"):
            result = self.good_json(ROOF, QUESTION, "--regex", pattern)
            self.assertRegex(result["text"], re.compile(f"(?:{pattern})\\Z"))
            self.assertEqual(result["finish_reason"], "stop")

    def test_an_answer_is_valid_json_of_the_schema(self):
        schema = {
            "type": "object",
            "properties": {"animal": {"enum": ["bird", "cat", "dog"]}, "count": {"type": "integer", "minimum": 0, "maximum": 20}, "colors": {"type": "array", "items": {"type": "string", "maxLength": 6}, "maxItems": 2}},
            "required": ["animal", "count", "colors"],
            "additionalProperties": False,
        }
        for args in ((), ("--temperature", "2", "--seed", "1"), ("--temperature", "2", "--seed", "2")):
            result = self.good_json(ROOF, QUESTION, "--schema", self.schema(schema), *args)
            jsonschema.validate(json.loads(result["text"]), schema)
            self.assertEqual(result["finish_reason"], "stop")

    def test_an_answer_is_a_text_of_the_grammar(self):
        grammar = self.folder / "moves.gbnf"
        grammar.write_text('root ::= move (" " move){1,2}  # two or three\nmove ::= [a-h] [1-8] | "O-O"\n')
        for args in ((), ("--temperature", "2", "--seed", "1"), ("--temperature", "2", "--seed", "2")):
            result = self.good_json(ROOF, QUESTION, "--grammar", grammar, *args)
            self.assertRegex(result["text"], r"\A([a-h][1-8]|O-O)( ([a-h][1-8]|O-O)){1,2}\Z")
        grammar.write_text("root ::= move\n")
        self.bad(ROOF, QUESTION, "--grammar", grammar, says=("moves.gbnf: line 1: there is no rule move"))
        self.bad(ROOF, QUESTION, "--grammar", self.folder / "none.gbnf", says="none.gbnf")
        self.bad(ROOF, QUESTION, "--grammar", grammar, "--regex", "a", code=2, says="--grammar exclude each other")
        request = {"image": str(ROOF), "question": QUESTION, "grammar": 'root ::= "x" [0-9]'}
        self.assertRegex(self.batch([request])[0]["text"], r"\Ax[0-9]\Z")

    def assert_same(self, many, alone):
        """Text and end are equal; log-probabilities as far as sums in another order allow."""
        self.assertEqual((many["text"], many["finish_reason"]), (alone["text"], alone["finish_reason"]))
        self.assertEqual([token["id"] for token in many["logprobs"]], [token["id"] for token in alone["logprobs"]])
        self.assertAlmostEqual(many["logprob"], alone["logprob"], delta=1e-3)
        self.assertEqual("choices" in many, "choices" in alone)
        for choice, score in alone.get("choices", {}).items():
            self.assertAlmostEqual(many["choices"][choice]["logprob"], score["logprob"], delta=1e-3)

    def test_several_pictures_answer_under_a_form_as_each_alone(self):
        pictures = [ROOF, SAMPLES / "yard.png", ROOF]
        schema = self.schema({"type": "array", "items": {"enum": ["bird", "cat", "tree"]}, "minItems": 1, "maxItems": 3})
        for form in (("--choices", "a cat,a bird,a tree"), ("--regex", "[a-z]{3,8}"), ("--schema", schema)):
            args = (QUESTION, *form, "--logprobs", "--dtype", "f32")
            alone = [self.good_json(picture, *args) for picture in pictures[:2]]
            self.assertEqual("choices" in alone[0], form[0] == "--choices")
            for one, other in zip(self.good_json(*pictures, *args), [*alone, alone[0]]):
                self.assert_same(one, other)

    def batch(self, requests, *args, code=0):
        """Results in the order of the requests."""
        done = self.run_program("batch", "-", *args, stdin="".join(json.dumps(request) + "\n" for request in requests))
        self.assertEqual(done.returncode, code, done.stderr.decode())
        results = sorted(map(json.loads, done.stdout.splitlines()), key=lambda result: result["index"])
        self.assertEqual(len(results), len(requests))
        return results

    def test_the_options_are_the_form_of_requests_without_one(self):
        request = {"image": str(ROOF), "question": QUESTION}
        args = ("--choices", "a cat,a bird", "--logprobs", "--dtype", "f32")
        one, other, own = self.batch([request, {**request, "image": str(SAMPLES / "yard.png")}, {**request, "regex": "[0-9]{2}"}], *args)
        self.assert_same(one, self.good_json(ROOF, QUESTION, *args))
        self.assert_same(other, self.good_json(SAMPLES / "yard.png", QUESTION, *args))
        self.assertRegex(own["text"], r"\A[0-9]{2}\Z")
        self.assertNotIn("choices", own)
        self.assertEqual(len(own["logprobs"]), own["tokens"]["output"])

    def test_each_request_has_its_own_form(self):
        request = {"image": str(ROOF), "question": QUESTION, "temperature": 3, "seed": 1}
        schema = {"type": "object", "properties": {"bird": {"type": "boolean"}, "count": {"type": "integer", "minimum": 2, "maximum": 9}}, "required": ["bird", "count"]}
        forms = [{"choices": ["a, b", "c\\"]}, {"regex": "x[0-9]y"}, {"schema": schema}, {"schema": {"const": 7}}, {"choices": ["only"]}]
        forms += [{"regex": f"[a-z]{{{count}}}"} for count in range(1, 12)] + [{"regex": "x[0-9]y"}]  # more than are kept
        texts = [result["text"] for result in self.batch([{**request, **form} for form in forms])]
        self.assertIn(texts[0], ("a, b", "c\\"))
        self.assertRegex(texts[1], r"\Ax[0-9]y\Z")
        jsonschema.validate(json.loads(texts[2]), schema)
        self.assertEqual(texts[3:5], ["7", "only"])
        for count, text in zip(range(1, 12), texts[5:]):
            self.assertRegex(text, rf"\A[a-z]{{{count}}}\Z")
        self.assertEqual(texts[-1], texts[1])
        scored = self.batch([{**request, "choices": ["a cat", "a bird"]}], "--logprobs")[0]
        self.assertEqual(list(scored["choices"]), ["a cat", "a bird"])

    def test_a_wrong_form_is_the_error_of_its_request(self):
        request = {"image": str(ROOF), "question": QUESTION}
        wrong = [
            ({"choices": "a,b"}, "\"choices\" is \"a,b\": must be a list of texts"),
            ({"choices": []}, "choices: got 0"),
            ({"choices": ["a", ""]}, "choices: one of them is empty"),
            ({"choices": ["a", "a"]}, "\"choices\" has \"a\" twice"),
            ({"regex": 7}, "\"regex\" is 7: must be text"),
            ({"regex": "a(?=b)"}, "regex: position 1: look-ahead"),
            ({"regex": "(" * 60_000}, "nested deeper than 64"),
            ({"schema": "form.json"}, "\"schema\" is \"form.json\": must be a JSON Schema"),
            ({"schema": {"properties": {"a": {"not": {}}}}}, "schema: #/properties/a/not"),
            ({"schema": {"minLength": 10**9}}, "schema: "),
            ({"grammar": 7}, "\"grammar\" is 7: must be text"),
            ({"grammar": "root ::= a"}, "grammar: line 1: there is no rule a"),
            ({"regex": "a", "schema": {}}, "stands beside \"regex\""),
        ]
        requests = [{**request, **form} for form, _ in wrong]
        requests.append({"task": "detect", "image": str(ROOF), "thing": "tree", "regex": "a"})
        results = self.batch([*requests, {**request, "choices": ["last"]}], code=1)
        for number, (result, says) in enumerate(zip(results, [*(says for _, says in wrong), "does not go with the task detect"]), 1):
            self.assertIn(says, result["error"]["message"])
            self.assertTrue(result["error"]["message"].startswith(f"stdin:{number}: "), result)
        self.assertEqual(results[-1]["text"], "last")

    def test_a_cut_answer_says_length(self):
        result = self.good_json(ROOF, QUESTION, "--regex", "a{50}", "--max-tokens", "2")
        self.assertEqual(result["finish_reason"], "length")
        self.assertTrue("a" * 50 != result["text"] and set(result["text"]) <= {"a"})

    def test_stop_strings_work_under_a_constraint(self):
        result = self.good_json(ROOF, QUESTION, "--regex", "aaaa-bbbb", "--stop", "-b")
        self.assertEqual((result["text"], result["finish_reason"]), ("aaaa", "stop"))

    def test_log_probabilities_stand_beside_every_token(self):
        result = self.good_json(ROOF, QUESTION, "--logprobs")
        self.assertEqual(len(result["logprobs"]), result["tokens"]["output"])
        for token in result["logprobs"]:
            self.assertEqual(set(token), {"token", "id", "logprob", "bytes"})
            self.assertLessEqual(token["logprob"], 0)
        text = b"".join(bytes(token["bytes"]) for token in result["logprobs"]).decode()
        self.assertIn(result["text"], text)
        self.assertAlmostEqual(sum(token["logprob"] for token in result["logprobs"]), result["logprob"], places=4)

    def test_raw_log_probabilities_do_not_know_the_constraint(self):
        free = self.good_json(ROOF, QUESTION, "--logprobs")
        first = self.good_json(ROOF, QUESTION, "--logprobs", "--choices", "zzz")
        self.assertLess(first["logprob"], free["logprob"])
        self.assertLess(first["logprob"], -5)

    def test_choices_are_scored(self):
        args = (ROOF, QUESTION, "--logprobs", "--dtype", "f32")
        result = self.good_json(*args, "--choices", "a bird,a cat,nothing")
        self.assertEqual(list(result["choices"]), ["a bird", "a cat", "nothing"])
        scores = result["choices"]
        self.assertAlmostEqual(sum(score["probability"] for score in scores.values()), 1, places=6)
        self.assertGreater(scores["a bird"]["probability"], 0.5)
        for score in scores.values():
            self.assertAlmostEqual(score["probability"] / scores["a bird"]["probability"], math.exp(score["logprob"] - scores["a bird"]["logprob"]), places=6)
        # The score of what the model says by itself is the probability of its tokens, end included.
        free = self.good_json(*args)
        again = self.good_json(*args, "--choices", free["text"].replace("\\", "\\\\").replace(",", "\\,"))
        self.assertAlmostEqual(again["choices"][free["text"]]["logprob"], free["logprob"], delta=0.01)

    def test_wrong_use_is_named(self):
        self.bad(ROOF, QUESTION, "--choices", "a,b", "--regex", "a", code=2, says="exclude each other")
        self.bad(ROOF, QUESTION, "--choices", "a,,b", code=2, says="empty")
        self.bad(ROOF, QUESTION, "--choices", "a,b,a", code=2, says="twice")
        self.bad(ROOF, QUESTION, "--regex", "(?=a)", code=2, says=("--regex: position 0", "look-ahead"))
        self.bad(ROOF, QUESTION, "--logprobs", code=2, says="--json")
        self.bad(ROOF, QUESTION, "--schema", self.folder / "none.json", says="none.json")
        self.bad(ROOF, QUESTION, "--schema", self.schema("{"), says="schema.json")
        self.bad(ROOF, QUESTION, "--schema", self.schema({"not": {}}), says=("schema.json", "#/not"))

    def test_B31_hostile_patterns_and_schemas_are_refused(self):
        self.bad(ROOF, QUESTION, "--regex", "(" * 60_000, code=2, says="nested deeper than 64")
        self.bad(ROOF, QUESTION, "--regex", "^+[", code=2, says="nothing to repeat")
        self.bad(ROOF, QUESTION, "--regex", "(a{1000}){1000}", code=2, says="automaton states")
        for schema, says in (
            ({"$ref": "#"}, "refers to itself"),
            ({"pattern": "^+["}, "nothing to repeat"),
            ({"pattern": "(" * 60_000}, "nested deeper than 64"),
            ({"minLength": 10**9}, "more than"),
            ({"enum": [f"v{i}" for i in range(10**6)]}, "more than"),
        ):
            self.bad(ROOF, QUESTION, "--schema", self.schema(schema), says=("schema.json", says))
