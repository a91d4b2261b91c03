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

    def test_several_pictures_share_a_constraint(self):
        results = self.good_json("describe", ROOF, SAMPLES / "yard.png", "--regex", "[a-z]{3,8}")
        for result in results:
            self.assertRegex(result["text"], r"\A[a-z]{3,8}\Z")

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
