"""What a server does besides answering one request: several models, guards, fairness, counting, many clients."""

import concurrent.futures
import http.client
import json
import random
import socket
import ssl
import subprocess
import threading
import time

from server import NotReady, ServerCase, Served, about, data_url
from soak import soak
from support import FAMILIES, NANO, ROOT, SAMPLES, SANITIZED, with_fault

DANGER = ROOT / "tests/data/guard/dangerous.png"  # nano gives it about 0.66
TEXT_GUARD = FAMILIES / "shieldgemma1/checkpoint"  # random weights: its scores mean nothing, and are the same every time
HI = [{"role": "user", "content": "Hi"}]


def dangerous(question="What is this?"):
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url(DANGER)}}, {"type": "text", "text": question}]}]


def states(server):
    return {one["id"]: one["state"] for one in json.loads(server.ask("GET", "/ready")[2])["models"]}


class Models(ServerCase):
    def test_serve_has_several_models_by_name(self):
        server = self.serve("-m", "nano", "-m", f"other={FAMILIES / 'gemma3/checkpoint'}")
        self.assertEqual(states(server), {"nano": "ready", "other": "ready"})
        for model in ("nano", "other", None):
            answer = server.chat(HI, model=model, max_tokens=3)
            self.assertEqual(answer["model"], model or "nano")
        models = json.loads(server.ask("GET", "/v1/models")[2])["data"]
        self.assertEqual([(m["id"], m["state"]) for m in models], [("nano", "ready"), ("other", "ready")])
        self.refused(server, 404, ["no such model: third", "nano, other"], {"messages": HI, "model": "third"})
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda i: server.chat(HI, model=("nano", "other")[i % 2], max_tokens=20)["choices"][0]["message"]["content"], range(16)))
        self.assertEqual((len(set(together[::2])), len(set(together[1::2]))), (1, 1))
        self.bad("serve", "-m", "nano", "-m", "nano", "--port", "0", code=2, says="NAME=MODEL")
        self.bad("serve", "-m", "nano", "-m", "a=/no/such/folder", "--port", "0", code=1, says="/no/such/folder")

    def test_serve_lets_a_model_go_for_another_within_its_memory(self):
        server = self.serve("-m", "nano", "-m", f"again={NANO}", "--memory", "20M")
        self.assertEqual(states(server), {"nano": "ready", "again": "unloaded"})
        self.assertEqual([m["capabilities"] for m in json.loads(server.ask("GET", "/v1/models")[2])["data"]][1], [])
        first = server.chat(about("roof.png", "What is on the roof?"), model="nano")["choices"][0]["message"]["content"]
        for model in ("again", "nano", "again"):
            answer = server.chat(about("roof.png", "What is on the roof?"), model=model)
            self.assertEqual(answer["choices"][0]["message"]["content"], first)
            self.assertEqual({name for name, state in states(server).items() if state == "ready"}, {model})
        with concurrent.futures.ThreadPoolExecutor(6) as pool:  # those under way end first
            answers = list(pool.map(lambda i: server.chat(HI, model=("nano", "again")[i % 2], max_tokens=5)["usage"]["completion_tokens"], range(12)))
        self.assertTrue(all(answers))
        self.bad("serve", "--memory", "1M", "--port", "0", code=1, says=["nano needs", "budget of 1.0 MB"])
        self.bad("serve", "--memory", "much", "--port", "0", code=2, says='--memory is "much"')

    def test_serve_names_what_a_model_that_cannot_be_loaded_lacks(self):
        broken = self.folder / "broken"
        broken.mkdir()
        (broken / "config.json").write_text('{"model_type": "smolvlm"}')
        server = self.serve("-m", "nano", "-m", broken)
        self.refused(server, 503, "broken", {"messages": HI, "model": "broken"})
        self.assertEqual(states(server), {"nano": "ready", "broken": "failed"})
        server.chat(HI, max_tokens=1)


class Guarded(ServerCase):
    def test_serve_judges_what_goes_in_on_every_route(self):
        server = self.serve("--guard", "nano@in")
        self.assertIn("bird", server.chat(about("roof.png", "What is on the roof?"))["choices"][0]["message"]["content"])
        picture = {"type": "image_url", "image_url": {"url": data_url(DANGER)}}
        for path, body in (("/v1/chat/completions", {"messages": dangerous()}),
                           ("/v1/chat/completions", {"messages": dangerous(), "stream": True}),
                           ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": data_url(DANGER)}]}]}),
                           ("/v1/embeddings", {"input": [picture]}),
                           ("/v1/detect", {"image": data_url(DANGER), "prompt": "bird"})):
            with self.subTest(path=path):
                error = self.refused(server, 403, ["refused by nano", "dangerous"], body, path=path)
                self.assertEqual(error["code"], "refused")
        verdict = json.loads(server.ask("POST", "/v1/moderations", {"input": [picture]})[2])
        self.assertTrue(verdict["results"][0]["flagged"])

    def test_serve_judges_what_comes_out(self):
        # Thresholds at the ends: everything is refused, or nothing.
        for threshold, passes in (("1", True), ("0", False)):
            with self.subTest(threshold=threshold):
                server = self.serve("--guard", f"{TEXT_GUARD}:{threshold}@out")
                if passes:
                    plain = self.serve().chat(about("roof.png", "What is on the roof?"))["choices"][0]["message"]["content"]
                    self.assertEqual(server.chat(about("roof.png", "What is on the roof?"))["choices"][0]["message"]["content"], plain)
                    events = server.stream(about("roof.png", "What is on the roof?"))
                    self.assertEqual("".join(e["choices"][0]["delta"].get("content", "") for e in events[:-1]), plain)
                    self.refused(server, 400, "logprobs", {"messages": HI, "logprobs": True})
                else:
                    self.refused(server, 403, "refused by", {"messages": about("roof.png", "What is on the roof?")})


class Fairness(ServerCase):
    def test_serve_lets_who_asks_little_go_before_who_asks_much(self):
        server = self.serve("--batch", "1", "--api-key", "much", "--api-key", "little")
        slow = {"messages": HI, "n": 16, "guided_regex": "[a-z ]{900}", "max_tokens": 400}
        ended = []

        def ask(key, body):
            status, _, text = server.ask("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key}"})
            self.assertEqual(status, 200, text[:500])
            ended.append(key)

        greedy = threading.Thread(target=ask, args=("much", slow))
        greedy.start()
        time.sleep(0.1)
        for _ in range(3):
            ask("little", {"messages": HI, "max_tokens": 2})
        greedy.join()
        self.assertEqual(ended, ["little"] * 3 + ["much"])

    def test_serve_refuses_more_than_may_wait(self):
        server = self.serve("--batch", "1", "--queue", "2")
        error = self.refused(server, 429, ["0 answers are waiting already, with 8 more", "limit of 2"],
                             {"messages": HI, "n": 8, "guided_regex": "[a-z ]{900}", "max_tokens": 400})
        self.assertEqual(error["type"], "rate_limit_error")
        server.chat(HI, max_tokens=1)


class Counting(ServerCase):
    def test_serve_counts_for_prometheus(self):
        server = self.serve("--api-key", "k")
        server.ask("GET", "/v1/models")
        as_k = {"Authorization": "Bearer k"}
        output = 0
        for _ in range(2):
            body = server.ask("POST", "/v1/chat/completions", {"messages": about("roof.png", "What is on the roof?")}, as_k)[2]
            output += json.loads(body)["usage"]["completion_tokens"]
        text = server.ask("GET", "/metrics", None, as_k)[2].decode()
        rows = dict(row.rpartition(" ")[::2] for row in text.splitlines() if not row.startswith("#"))
        self.assertEqual(rows['tapetum_answers_total{finish="stop",model="nano"}'], "2")
        self.assertEqual(rows['tapetum_tokens_total{kind="output",model="nano"}'], str(output))
        self.assertEqual(rows['tapetum_requests_total{route="/v1/chat/completions",status="200"}'], "2")
        self.assertEqual(rows['tapetum_refusals_total{reason="key"}'], "1")
        self.assertEqual(rows['tapetum_pictures_encoded{model="nano"}'], "1")
        self.assertEqual(rows['tapetum_stage_seconds_count{model="nano",stage="encode"}'], "1")
        self.assertEqual(rows['tapetum_first_token_seconds_count{model="nano"}'], "2")
        self.assertEqual(rows["tapetum_token_gap_seconds_count"], str(output - 2))
        self.assertGreater(int(rows['tapetum_tokens_total{kind="cached",model="nano"}']), 30)
        self.assertEqual((rows['tapetum_model_ready{model="nano"}'], rows['tapetum_queue_jobs{model="nano"}']), ("1", "0"))
        for name in {row.split("{")[0].removesuffix("_count").removesuffix("_sum").removesuffix("_bucket") for row in rows}:
            self.assertIn(f"# HELP {name} ", text)

    def test_serve_logs_a_line_for_every_request(self):
        log = self.folder / "requests.jsonl"
        server = self.serve("--request-log", log)
        _, headers, _ = server.ask("POST", "/v1/chat/completions", {"messages": HI, "max_tokens": 2}, {"X-Request-Id": "mine-1"})
        self.assertEqual(headers["X-Request-Id"], "mine-1")
        _, headers, _ = server.ask("POST", "/v1/chat/completions", {"messages": 5}, {"X-Request-Id": "not\tmine"})
        self.assertTrue(headers["X-Request-Id"].startswith("req-"))
        server.ask("GET", "/no/such")
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("POST", "/v1/chat/completions", json.dumps({"messages": HI, "stream": True, "guided_regex": "[a-z ]{900}", "n": 16}))
        connection.getresponse().read(100)
        connection.close()
        for _ in range(100):
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            if len(lines) == 4:
                break
            time.sleep(0.05)
        self.assertEqual([line["status"] for line in lines], [200, 400, 404, 499])
        self.assertEqual((lines[0]["request"], lines[0]["model"], lines[0]["output_tokens"]), ("mine-1", "nano", 2))
        self.assertRegex(lines[0]["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(log.stat().st_mode & 0o777, 0o600)
        self.bad("serve", "--request-log", "/no/such/folder/log", "--port", "0", code=1, says="/no/such/folder/log")


class Crowd(ServerCase):
    def test_F08_two_hundred_clients_at_once_each_get_their_own(self):
        server = Served("--dtype", "f32")  # answers that depend on no rounding
        report = soak(server, 5 if SANITIZED else 30, 40 if SANITIZED else 200)
        code, said = server.close()
        self.assertEqual((code, report["errors"]), (0, 0), (report, said[-2000:]))
        self.assertGreater(report["answers"], report["clients"])
        self.assertLessEqual(report["descriptors"]["end"], report["descriptors"]["begin"] + 3)


class Tls(ServerCase):
    def certificate(self):
        key, certificate = self.folder / "key.pem", self.folder / "certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost", "-days", "2",
                        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate], check=True, capture_output=True)
        return certificate, key

    def test_serve_speaks_https(self):
        certificate, key = self.certificate()
        server = Served("--tls-cert", certificate, "--tls-key", key)
        self.addCleanup(server.close)
        context = ssl.create_default_context(cafile=certificate)

        def ask(method, path, body=None):
            connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=context)
            self.addCleanup(connection.close)
            connection.request(method, path, body and json.dumps(body))
            reply = connection.getresponse()
            return reply.status, reply.read()

        self.assertEqual(ask("GET", "/health"), (200, b'{"status":"ok"}'))
        status, body = ask("POST", "/v1/chat/completions", {"messages": about("roof.png", "What is on the roof?")})
        self.assertEqual((status, json.loads(body)["choices"][0]["message"]["content"]), (200, "A white bird"))
        status, body = ask("POST", "/v1/chat/completions", {"messages": about("roof.png", "What is on the roof?"), "stream": True})
        self.assertTrue(body.endswith(b"data: [DONE]\n\n"))
        self.assertEqual(ask("POST", "/v1/chat/completions", {"messages": [], "x": "a" * 3_000_000})[0], 400)
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=context)
        self.addCleanup(connection.close)
        for _ in range(5):  # one connection, kept
            connection.request("GET", "/v1/models")
            self.assertEqual(json.loads(connection.getresponse().read())["data"][0]["id"], "nano")
        self.assertEqual(server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"), b"")  # no TLS, no answer
        self.assertEqual(server.close()[0], 0)

    def test_F07_a_client_that_leaves_over_https_frees_its_place(self):
        certificate, key = self.certificate()
        server = Served("--tls-cert", certificate, "--tls-key", key, "--batch", "1")
        self.addCleanup(server.close)
        context = ssl.create_default_context(cafile=certificate)
        body = json.dumps({"messages": HI, "n": 16, "stream": True, "guided_regex": "[a-z ]{900}", "max_tokens": 400}).encode()
        with context.wrap_socket(socket.create_connection(("127.0.0.1", server.port)), server_hostname="localhost") as to:
            to.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            self.assertIn(b"200 OK", to.recv(200))
        for _ in range(100):
            connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=context)
            self.addCleanup(connection.close)
            connection.request("GET", "/metrics")
            rows = connection.getresponse().read().decode().splitlines()
            if "tapetum_batch_answers{model=\"nano\"} 0" in rows and "tapetum_queue_jobs{model=\"nano\"} 0" in rows:
                break
            time.sleep(0.02)
        else:
            self.fail("its answers go on")
        self.assertTrue(any('status="499"' in row for row in rows), rows)

    def test_serve_names_the_file_of_tls_that_is_no_good(self):
        certificate, key = self.certificate()
        self.bad("serve", "--port", "0", "--tls-cert", certificate, code=2, says="--tls-cert and --tls-key go together")
        self.bad("serve", "--port", "0", "--tls-cert", self.folder / "none.pem", "--tls-key", key, code=1, says="none.pem")
        (self.folder / "bad.pem").write_text("no key")
        self.bad("serve", "--port", "0", "--tls-cert", certificate, "--tls-key", self.folder / "bad.pem", code=1, says="bad.pem")


class Memory(ServerCase):
    def test_F05_operator_new_fails_while_serving(self):
        body = {"messages": about("roof.png", "What is on the roof?"), "stream": True}
        draw, failed = random.Random(5), 0
        for _ in range(4 if SANITIZED else 12):
            n = draw.randrange(20_000, 30_000)  # of them about 7000 are those of the first answers
            with self.subTest(n=n):
                try:
                    server = Served(env=with_fault(f"new:{n}"))
                except NotReady as error:
                    self.assertIn("out of memory", str(error))
                    continue
                try:
                    for _ in range(3):
                        failed += not self.whole(server, "/v1/chat/completions", body)
                    self.assertEqual(server.ask("GET", "/health")[0], 200)
                finally:
                    code, said = server.close()
                self.assertEqual(code, 0, said)
        if not SANITIZED:
            self.assertGreater(failed, 0, "no allocation failed")

    def test_F05_operator_new_fails_again_and_again_while_serving(self):
        picture = {"type": "image_url", "image_url": {"url": data_url(SAMPLES / "roof.png")}}
        tool = {"type": "function", "function": {"name": "look", "parameters": {"properties": {"at": {"type": "integer"}}}}}
        requests = [("/v1/chat/completions", {"messages": about("roof.png", "What is on the roof?"), "stream": True}),
                    ("/v1/chat/completions", {"messages": HI, "max_tokens": 8, "n": 4, "logprobs": True, "top_logprobs": 3}),
                    ("/v1/chat/completions", {"messages": HI, "max_tokens": 20, "tools": [tool], "tool_choice": "required", "stream": True}),
                    ("/v1/responses", {"input": "Hi", "max_output_tokens": 6, "stream": True}),
                    ("/v1/detect", {"image": picture["image_url"]["url"], "prompt": "tree"}),
                    ("/v1/embeddings", {"input": ["a", picture]}), ("/v1/moderations", {"input": [picture]}),
                    ("/v1/tokenize", {"prompt": "hello"}), ("/metrics", None), ("/v1/models", None)]
        server = Served("--request-log", self.folder / "log", env=with_fault("new:25000:often"))
        try:
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                got = list(pool.map(lambda i: self.whole(server, *requests[i % len(requests)]), range(30 if SANITIZED else 200)))
            self.assertIsNone(server.process.poll())
            self.assertIn(True, [self.whole(server, "/health", None) for _ in range(5)])
        finally:
            code, said = server.close()
        self.assertEqual(code, 0, said)
        self.assertIn(True, got)
        self.assertIn(False, got, "no allocation failed")

    def whole(self, server, path, body):
        """Whether the answer came: else it is an error, or its connection ends."""
        try:
            status, headers, text = server.ask("POST" if body else "GET", path, body, timeout=60)
        except (http.client.HTTPException, ConnectionError):
            return False
        if status != 200:
            self.assertIn(status, (500, 503), text)
            self.assertIn("message", json.loads(text)["error"])
        elif headers["Content-Type"] == "text/event-stream" and b"event: response.completed" not in text and b"event: response.incomplete" not in text:
            self.assertTrue(text.endswith(b"data: [DONE]\n\n") or b'"error"' in text, text[-300:])
            return text.endswith(b"data: [DONE]\n\n")
        return status == 200
