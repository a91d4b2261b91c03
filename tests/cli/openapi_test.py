"""The OpenAPI file says what the server does: its routes, and whatever schemathesis makes of its schemas."""

import json
import pathlib
import re
import subprocess
import sys

import jsonschema
from server import ServerCase, about
from support import ROOT, SANITIZED

CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance", "response_schema_conformance",
          "negative_data_rejection", "unsupported_method", "allow_header_conformance")
COMING = set()


class OpenApi(ServerCase):
    def document(self, server):
        status, headers, body = server.ask("GET", "/openapi.json")
        self.assertEqual((status, headers["Content-Type"]), (200, "application/json"))
        self.assertEqual(body, (ROOT / "src/server/openapi.json").read_bytes())
        return json.loads(body)

    def routes(self):
        """The API's paths that the server's source compares with, and the file itself."""
        source = (ROOT / "src/server/server.cpp").read_text()
        found = re.findall(r'path == "(/[^"]*)"', source) + [prefix + "{id}" for prefix in re.findall(r'starts_with\("(/v1/[^"]*)"\)', source)]
        self.assertGreater(len(found), 6)
        return {*found, "/openapi.json"}

    def test_every_route_of_the_server_is_in_the_OpenAPI_file_and_the_other_way_round(self):
        server = self.serve()
        document = self.document(server)
        self.assertEqual(self.routes() - set(document["paths"]), set())
        self.assertEqual(set(document["paths"]) - self.routes() - COMING, set())
        for path, operations in document["paths"].items():
            if path not in self.routes():
                continue
            for method in ("GET", "POST"):
                with self.subTest(path=path, method=method):
                    status, headers, body = server.ask(method, path.replace("{id}", "nano"), {} if method == "POST" else None)
                    if method.lower() in operations:
                        self.assertIn(str(status), operations[method.lower()]["responses"], body)
                    else:
                        self.assertEqual(status, 405, body)
                        self.assertEqual(headers["Allow"].lower(), "".join(operations))

    def test_answers_are_what_the_OpenAPI_file_says(self):
        server = self.serve()
        document = self.document(server)
        roof = about("roof.png", "What is on the roof?")
        image = roof[0]["content"][0]
        tool = {"type": "function", "name": "look", "description": None, "parameters": {"type": "object", "properties": {"up": {"type": "boolean"}}, "required": ["up"]}}
        call = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"up": true}'}
        for path, body in (
            ("/v1/chat/completions", {"messages": roof, "logprobs": True, "top_logprobs": 2, "n": 2}),
            ("/v1/responses", {"input": "Hello", "max_output_tokens": 4}),
            ("/v1/responses", {"input": [call, {"type": "function_call_output", "call_id": "call_1", "output": "A bird"}], "tools": [tool], "tool_choice": "required"}),
            ("/v1/responses", {"input": "Hello", "tools": [tool], "max_output_tokens": 4,
                               "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "look"}]}}),
            ("/v1/embeddings", {"input": ["a", image]}), ("/v1/moderations", {"input": image}),
            ("/v1/detect", {"image": image["image_url"]["url"], "prompt": "bird", "task": "count"}), ("/v1/tokenize", {"messages": roof}),
        ):
            with self.subTest(path=path):
                status, _, text = server.ask("POST", path, body)
                self.assertEqual(status, 200, text[:1000])
                operation = document["paths"][path]["post"]
                for schema, value in ((operation["requestBody"]["content"], body), (operation["responses"]["200"]["content"], json.loads(text))):
                    rooted = {**schema["application/json"]["schema"], "components": document["components"]}
                    jsonschema.Draft202012Validator(rooted).validate(value)

    def test_schemathesis_finds_nothing(self):
        server = self.serve()
        self.document(server)
        coming = [word for path in COMING - self.routes() for word in ("--exclude-path", path)]
        program = pathlib.Path(sys.executable).with_name("schemathesis")
        done = subprocess.run([program, "run", server.url + "/openapi.json", "--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing",
                               "-n", "5" if SANITIZED else "15", "--seed", "7", "--no-shrink", "--continue-on-failure", "--request-timeout", "60",
                               "--suppress-health-check", "all", "--warnings", "off", "--no-color", *coming], cwd=self.folder, capture_output=True, text=True, timeout=115)
        self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-1000:])
        cases = re.search(r"(\d+) generated", done.stdout)
        self.assertGreater(int(cases[1]), 500, done.stdout[-2000:])
