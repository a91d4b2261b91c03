"""Structured output of tapetum serve: whatever the picture and the seed, what comes is valid."""

import concurrent.futures
import json
import time

import jsonschema

from schemas import SCHEMAS, UNBOUNDED, UNSUPPORTED
from server import ServerCase, about

ASKED = {"picture": about("yard.png", "What is in the image?"), "text": [{"role": "user", "content": "Hello"}]}


class Schemas(ServerCase):
    def check_schemas(self, part, parts):
        server = self.serve()

        def one(case):
            name, messages = case
            schema = SCHEMAS[name]
            # Half of them as people send it to OpenAI, half as to vLLM.
            form = ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}}
                    if messages == "picture" else {"guided_json": schema})
            return name, server.chat(ASKED[messages], temperature=1, seed=3, n=3, max_tokens=250, **form)

        cases = [(name, messages) for name in list(SCHEMAS)[part::parts] for messages in ASKED]
        ended = {}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for name, answer in pool.map(one, cases):
                for choice in answer["choices"]:
                    content, reason = choice["message"]["content"], choice["finish_reason"]
                    self.assertIn(reason, ("stop", "length"))
                    if reason == "length":
                        continue
                    ended[name] = ended.get(name, 0) + 1
                    with self.subTest(name=name, content=content):
                        kind = jsonschema.validators.validator_for(SCHEMAS[name], jsonschema.Draft202012Validator)
                        kind(SCHEMAS[name], format_checker=kind.FORMAT_CHECKER).validate(json.loads(content))
        unended = {name for name, _ in cases} - set(ended) - UNBOUNDED
        self.assertFalse(unended, "no answer of these ended")

    def test_schemas_people_use_first_part(self):
        self.assertGreater(len(SCHEMAS), 60)
        self.check_schemas(0, 4)

    def test_schemas_people_use_second_part(self):
        self.check_schemas(1, 4)

    def test_schemas_people_use_third_part(self):
        self.check_schemas(2, 4)

    def test_schemas_people_use_fourth_part(self):
        self.check_schemas(3, 4)

    def test_keywords_that_are_not_supported_are_named_by_their_pointer(self):
        server = self.serve()
        for name, (schema, pointer) in UNSUPPORTED.items():
            with self.subTest(name=name):
                form = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
                error = self.refused(server, 400, [f"schema: {pointer}"], {"messages": ASKED["text"], **form})
                self.assertEqual(error["param"], "response_format.json_schema.schema")
                tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"arg": schema}, "required": ["arg"]}}}
                if "$ref" not in json.dumps(schema):
                    inner = pointer.replace("#", "#/properties/arg", 1)
                    self.refused(server, 400, [f"tools[0].function.parameters: {inner}"], {"messages": ASKED["text"], "tools": [tool]})

    def test_B31_forms_that_are_too_much_are_refused_at_once(self):
        server = self.serve()
        deep = {"type": "integer"}
        for _ in range(100):
            deep = {"type": "array", "items": deep}
        for name, form, says in (
            ("parens", {"guided_regex": "(" * 60_000}, "nested deeper than 64"),
            ("parens of a grammar", {"guided_grammar": "root ::= " + "(" * 60_000}, "nested deeper than 64"),
            ("rules of a grammar", {"guided_grammar": "root ::= " + "\n".join(f'r{i} ::= "a" r{i + 1} "b"' for i in range(4000))}, "guided_grammar: "),
            ("counts of a grammar", {"guided_grammar": 'root ::= (("a"{1000}){1000}){1000}'}, "guided_grammar: grammar: "),
            ("no grammar", {"guided_grammar": "root ::= (\n\n"}, "line 1: a ( without its )"),
            ("left recursion", {"guided_grammar": 'root ::= root "a" | "b"'}, "left recursion"),
            ("reference cycle", {"guided_json": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}}, "guided_json: schema: "),
            ("bad pattern", {"guided_json": {"type": "string", "pattern": "^+["}}, "#/pattern"),
            ("long string", {"guided_json": {"type": "string", "minLength": 10**9}}, "guided_json: schema: "),
            ("deep schema", {"guided_json": deep}, "deeper than 64"),
            ("long list", {"guided_json": {"type": "array", "minItems": 10**9}}, "guided_json: schema: "),
            ("wide oneOf", {"guided_json": {"oneOf": [{"const": i} for i in range(20_000)]}}, "guided_json: schema: "),
            ("many choices", {"guided_choice": [str(i) for i in range(20_000)]}, "guided_choice: choices: got 20000"),
        ):
            with self.subTest(name=name):
                began = time.monotonic()
                self.refused(server, 400, says, {"messages": ASKED["text"], **form})
                self.assertLess(time.monotonic() - began, 15)
        # A list of a million values is much, and no error in itself.
        body = json.dumps({"messages": ASKED["text"], "guided_json": {"enum": list(range(1_000_000))}, "max_tokens": 20})
        began = time.monotonic()
        status, _, reply = server.ask("POST", "/v1/chat/completions", body)
        self.assertLess(time.monotonic() - began, 30)
        if status == 200:
            self.assertIn(int(json.loads(reply)["choices"][0]["message"]["content"]), range(1_000_000))
        else:
            self.assertEqual(status, 400, reply[:300])

    def test_grammars_hold_answers(self):
        server = self.serve()
        moves = 'root ::= move (" " move){1,3}\nmove ::= [a-h] [1-8] "-" [a-h] [1-8] | "O-O" "-O"?\n'
        arithmetic = 'root ::= term (("+" | "-") term){0,3}\nterm ::= [0-9]{1,2} | "(" root ")"\n'
        for messages in ASKED.values():
            for choice in server.chat(messages, guided_grammar=moves, temperature=1, n=4, max_tokens=60)["choices"]:
                self.assertRegex(choice["message"]["content"], r"^([a-h][1-8]-[a-h][1-8]|O-O(-O)?)( ([a-h][1-8]-[a-h][1-8]|O-O(-O)?)){1,3}$")
            for choice in server.chat(messages, guided_grammar=arithmetic, temperature=1, n=4, max_tokens=200)["choices"]:
                if choice["finish_reason"] == "stop":
                    self.assertRegex(choice["message"]["content"], r"^[0-9+()-]+$")
                    self.assertEqual(choice["message"]["content"].count("("), choice["message"]["content"].count(")"))
