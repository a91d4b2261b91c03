"""tapetum serve: OpenAI's chat completions over HTTP, and clients that misbehave."""

import concurrent.futures
import json
import socket
import time

from server import Served, ServerCase, about, data_url
from support import NANO, SAMPLES, environment

ROOF = "What is on the roof?"


class Chat(ServerCase):
    def test_serve_answers_as_the_program_does(self):
        server = self.serve()
        answer = server.chat(about("roof.png", ROOF), model="nano")
        told = self.good_json(SAMPLES / "roof.png", ROOF)
        self.assertEqual(answer["choices"][0]["message"], {"role": "assistant", "content": told["text"], "refusal": None})
        self.assertEqual(answer["choices"][0]["finish_reason"], told["finish_reason"])
        usage = answer["usage"]
        self.assertEqual((usage["prompt_tokens"], usage["completion_tokens"]), (told["tokens"]["prompt"], told["tokens"]["output"]))
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"])
        self.assertEqual(usage["prompt_tokens_details"]["image_tokens"], told["tokens"]["image"])
        self.assertEqual((answer["object"], answer["model"]), ("chat.completion", "nano"))

    def test_serve_streams_the_same_answer_piece_by_piece(self):
        server = self.serve()
        for question in (ROOF, "What is in the image?"):
            whole = server.chat(about("roof.png", question))
            events = server.stream(about("roof.png", question), stream_options={"include_usage": True})
            self.assertEqual(events.pop(), "[DONE]")
            usage = events.pop()
            self.assertEqual((usage["choices"], usage["usage"]["completion_tokens"]), ([], whole["usage"]["completion_tokens"]))
            choices = [event["choices"][0] for event in events]
            self.assertEqual(choices[0]["delta"]["role"], "assistant")
            self.assertNotIn("role", choices[1]["delta"])
            self.assertEqual("".join(choice["delta"].get("content", "") for choice in choices), whole["choices"][0]["message"]["content"])
            self.assertEqual([choice["finish_reason"] for choice in choices], [None] * (len(choices) - 1) + ["stop"])
            self.assertEqual({event["object"] for event in events}, {"chat.completion.chunk"})
            self.assertEqual(len({event["id"] for event in events}), 1)

    def test_serve_gives_log_probabilities(self):
        server = self.serve()
        answer = server.chat(about("roof.png", ROOF), logprobs=True, top_logprobs=3)
        content = answer["choices"][0]["logprobs"]["content"]
        self.assertEqual(b"".join(bytes(token["bytes"]) for token in content).decode().strip(), answer["choices"][0]["message"]["content"])
        for token in content:
            self.assertEqual(len(token["top_logprobs"]), 3)
            self.assertEqual(token["top_logprobs"][0]["bytes"], token["bytes"], "greedy takes the likeliest")
            self.assertAlmostEqual(token["top_logprobs"][0]["logprob"], token["logprob"], places=5)
            self.assertLessEqual(token["logprob"], 0)
        self.assertIsNone(server.chat(about("roof.png", ROOF))["choices"][0]["logprobs"])

    def test_serve_gives_several_choices_with_seeds_of_their_own(self):
        server = self.serve()
        options = {"n": 4, "temperature": 1.5, "seed": 11, "max_tokens": 12}
        first, second = (server.chat(about("yard.png", "What is in the image?"), **options) for _ in range(2))
        texts = [choice["message"]["content"] for choice in first["choices"]]
        self.assertEqual(texts, [choice["message"]["content"] for choice in second["choices"]])
        self.assertGreater(len(set(texts)), 1, texts)
        self.assertEqual([choice["index"] for choice in first["choices"]], [0, 1, 2, 3])

    def test_serve_holds_answers_to_a_form(self):
        server = self.serve()
        schema = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"], "additionalProperties": False}
        forms = ({"response_format": {"type": "json_schema", "json_schema": {"name": "count", "schema": schema}}}, {"guided_json": schema})
        for form in forms:
            answer = server.chat(about("roof.png", "How many trees are there?"), max_tokens=60, **form)
            self.assertEqual(list(json.loads(answer["choices"][0]["message"]["content"])), ["count"])
        answer = server.chat(about("roof.png", ROOF), guided_choice=["cat", "dog"])
        self.assertIn(answer["choices"][0]["message"]["content"], ["cat", "dog"])
        answer = server.chat(about("roof.png", ROOF), guided_regex="[0-9]{3}")
        self.assertRegex(answer["choices"][0]["message"]["content"], "^[0-9]{3}$")

    def test_serve_answers_many_at_once_each_about_its_own_picture(self):
        server = self.serve()
        asked = [(p.name, q) for p in sorted(SAMPLES.glob("*.png")) for q in ("What is in the image?", "How many objects are there?")]
        alone = [server.chat(about(*one))["choices"][0]["message"]["content"] for one in asked]
        with concurrent.futures.ThreadPoolExecutor(len(asked)) as pool:
            together = list(pool.map(lambda one: server.chat(about(*one))["choices"][0]["message"]["content"], asked))
        self.assertGreater(len(set(alone)), 6)
        self.assertEqual(together, alone)

    def test_serve_lists_its_model(self):
        server = self.serve()
        models = json.loads(server.ask("GET", "/v1/models")[2])
        self.assertEqual([model["id"] for model in models["data"]], ["nano"])
        self.assertEqual(json.loads(server.ask("GET", "/v1/models/nano")[2])["object"], "model")
        self.refused(server, 404, "no such model: other", None, path="/v1/models/other", method="GET")
        self.assertEqual(json.loads(server.ask("GET", "/health")[2]), {"status": "ok"})


class Refusals(ServerCase):
    def test_serve_says_what_is_wrong_with_a_request(self):
        server = self.serve()
        user = [{"role": "user", "content": "Hi"}]
        for body, says in (
            ({}, "messages is missing"),
            ({"messages": []}, "messages is []: must be a list of messages"),
            ({"messages": [{"role": "me", "content": "x"}]}, 'messages[0].role is "me": must be one of'),
            ({"messages": [{"role": "user", "content": [{"type": "sound"}]}]}, "messages[0].content[0].type"),
            ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages[0].content[0].image_url.url is missing"),
            ({"messages": user, "tmperature": 1}, 'unknown field "tmperature"'),
            ({"messages": user, "response_format": {"type": "xml"}}, "response_format.type"),
            ({"messages": user, "guided_regex": "a", "guided_choice": ["b"]}, "stands beside guided_regex"),
            ({"messages": user, "guided_regex": "(("}, "regex"),
            ({"messages": user, "top_logprobs": 2}, "top_logprobs needs"),
            ({"messages": user, "stop": ""}, "stop"),
        ):
            with self.subTest(body=body):
                error = self.refused(server, 400, says, body)
                self.assertEqual(error["type"], "invalid_request_error")
        self.refused(server, 404, ["no such model: other", "nano"], {"messages": user, "model": "other"})
        self.refused(server, 404, "no such route: /v2", None, path="/v2", method="GET")
        self.refused(server, 405, "takes POST only", None, method="GET")

    def test_B32_numbers_of_a_request_out_of_range(self):
        server = self.serve()
        numbers = [-3, 2**31, 2**63, 1e308, "5", [1], float("nan")]
        for key in ("n", "max_tokens", "max_completion_tokens", "top_logprobs", "temperature", "top_p", "min_p", "presence_penalty"):
            for number in numbers:
                with self.subTest(key=key, number=number):
                    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "logprobs": True, key: number})
                    self.refused(server, 400, "" if number != number else key, body)
        answer = server.chat([{"role": "user", "content": "Hi"}], temperature=0, top_p=0, max_tokens=1, n=None, seed=None, stop=None)
        self.assertEqual(answer["usage"]["completion_tokens"], 1)

    def test_B33_bodies_that_are_no_json(self):
        server = self.serve()
        for body in (b"", b"{", b"[" * 100_000, b'{"messages": "\xff"}', b"\x00" * 1000, b'{"a": 1, "a": 2}', b"[]", b"null",
                     b"{" + b",".join(b'"%d": 1' % i for i in range(100_000)) + b"}"):
            with self.subTest(body=body[:20]):
                self.refused(server, 400, "", body)

    def test_B37_pictures_from_where_nobody_may_fetch(self):
        server = self.serve()
        for url in ("http://127.0.0.1:1/a.png", "http://[::ffff:7f00:1]/", "http://0x7f.1/", "http://2130706433/", "http://169.254.169.254/x",
                    "file:///etc/passwd", "gopher://a/", "/etc/passwd", "http://user:pw@example.com/", "data:text/html;base64,AAAA", "data:image/png;base64,AAAA", ""):
            with self.subTest(url=url):
                body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}
                self.refused(server, 400, "messages[0].content[0]", body)

    def test_B35_prompts_that_do_not_fit(self):
        server = self.serve()
        self.refused(server, 400, "1024", {"messages": [{"role": "user", "content": "word " * 5000}]})
        self.refused(server, 400, "", {"messages": about("roof.png", "x")[0:1] * 100})

    def test_B39_bytes_that_are_no_good_http(self):
        server = self.serve()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        for data, status in (
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"nonsense\r\n\r\n", 400),
            (b"GET /health HTTP/3.0\r\nHost: localhost\r\n\r\n", 400),
            (b"GET /health HTTP/1.1\nHost: localhost\n\n", 400),
            (b"GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
            (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
            (b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
            (b"GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n", 403),
            (head + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            (head + b"Transfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n0\r\n\r\n", 400),
            (head + b"Transfer-Encoding: gzip\r\n\r\n", 501),
            (head + b"Content-Length: -1\r\n\r\n", 400),
            (head + b"Content-Length: 99999999999\r\n\r\n", 413),
            (head + b"Expect: a-miracle\r\nContent-Length: 2\r\n\r\n{}", 417),
            (head + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n", 431),
            (head + b"".join(b"X%d: a\r\n" % i for i in range(10_000)) + b"\r\n", 431),
        ):
            with self.subTest(data=data[:90]):
                reply = server.raw(data)
                self.assertTrue(reply.startswith(b"HTTP/1.1 %d " % status), reply[:200])
                self.assertIn("message", json.loads(reply.partition(b"\r\n\r\n")[2])["error"])
        self.assertTrue(server.raw(b"GET /health", shut=True).startswith(b"HTTP/1.1 400 "))
        reply = server.raw(head + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        self.assertTrue(reply.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 "), reply)
        reply = server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        self.assertEqual(reply.count(b"HTTP/1.1 200 OK"), 2)
        self.assertTrue(server.raw(b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK"))

    def test_B39_many_connections_that_say_nothing(self):
        server = self.serve()
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(500)]
        for one in silent:
            one.sendall(b"GET /hea")
        self.assertEqual(server.ask("GET", "/health")[0], 200)
        began = time.monotonic()
        silent[0].settimeout(30)
        self.assertEqual(silent[0].recv(1000), b"")
        self.assertLess(time.monotonic() - began, 20)
        for one in silent:
            one.close()

    def test_serve_wants_a_port_that_is_free_and_a_host_of_its_own(self):
        server = self.serve()
        self.bad("serve", "--port", str(server.port), code=1, says=[str(server.port), "in use"])
        self.bad("serve", "--host", "0.0.0.0", code=2, says="--host 0.0.0.0")
        self.bad("serve", "--host", "example.com", code=2, says="--host example.com")
        self.bad("serve", "word", code=2, says="word")


class Leaving(ServerCase):
    def test_F07_clients_that_leave_free_their_places(self):
        server = self.serve("--batch", "1")
        body = json.dumps({"messages": about("yard.png", "What is in the image?"), "stream": True, "max_tokens": 400,
                           "guided_regex": "[a-z ]{3000}"}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        for wait in (0, 0.01, 0.1, "stream"):
            with self.subTest(wait=wait):
                with socket.create_connection(("127.0.0.1", server.port)) as to:
                    to.sendall(head + body)
                    if wait == "stream":
                        self.assertIn(b"200 OK", to.recv(100))
                    else:
                        time.sleep(wait)
                began = time.monotonic()
                server.chat([{"role": "user", "content": "Hi"}], max_tokens=1)
                self.assertLess(time.monotonic() - began, 2, "the place of the one that left was not free")

    def test_F09_a_server_that_is_told_to_stop_gives_its_answers_first(self):
        server = Served("--batch", "1")
        body = json.dumps({"messages": about("yard.png", "What is in the image?"), "max_tokens": 400, "n": 16, "guided_regex": "[a-z ]{3000}"}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as to:
            to.sendall(head + body)
            time.sleep(0.05)
            server.process.terminate()
            reply = b""
            while more := to.recv(65536):
                reply += more
        self.assertTrue(reply.startswith(b"HTTP/1.1 200 OK"), reply[:200])
        self.assertIn(b"Connection: close", reply)
        server.process.wait(15)
        self.assertEqual(server.close(), (0, ""))
