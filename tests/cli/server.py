"""A running `tapetum serve`, and requests to it: by http.client, and byte by byte."""

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess

from support import PROGRAM, SAMPLES, Case, environment


def data_url(path):
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def about(picture, question):
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url(SAMPLES / picture)}},
                                         {"type": "text", "text": question}]}]


class NotReady(AssertionError):
    """The server ended before it took requests."""


class Served:
    """The server's process, on a free port."""

    def __init__(self, *args, env=None, **kwargs):
        self.process = subprocess.Popen([PROGRAM, "serve", "--port", "0", "--json", *map(os.fspath, args)],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env or environment(), **kwargs)
        line = self.process.stdout.readline()
        ready = json.loads(line).get("ready") if line else None
        if not ready:
            _, said = self.process.communicate()
            raise NotReady(line.decode() + said.decode(errors="replace"))
        self.port = int(ready.rpartition(":")[2])
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self):
        """Ends it; gives the exit code and what it said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=30)
        return self.process.returncode, said.decode(errors="replace")

    def ask(self, method, path, body=None, headers=None, timeout=60):
        """Status, headers and body of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body,
                               {"Content-Type": "application/json", **(headers or {})})
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()
        finally:
            connection.close()

    def chat(self, messages, **options):
        """The parsed answer of one chat completion, which must succeed."""
        status, _, body = self.ask("POST", "/v1/chat/completions", {"messages": messages, **options})
        if status != 200:
            raise AssertionError(f"{status}: {body[:2000]!r}")
        return json.loads(body)

    def stream(self, messages, **options):
        """The events of a streamed answer, [DONE] included as text."""
        status, headers, body = self.ask("POST", "/v1/chat/completions", {"messages": messages, "stream": True, **options})
        if status != 200 or headers["Content-Type"] != "text/event-stream":
            raise AssertionError(f"{status}: {body[:2000]!r}")
        events = body.decode().split("\n\n")
        assert events.pop() == "" and all(event.startswith("data: ") for event in events), body
        return [event[6:] if event == "data: [DONE]" else json.loads(event[6:]) for event in events]

    @contextlib.contextmanager
    def streaming(self, body, timeout=100):
        """The events of a streamed answer as they come, [DONE] left out."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as connection:
            connection.request("POST", "/v1/chat/completions", json.dumps({**body, "stream": True}), {"Content-Type": "application/json"})
            reply = connection.getresponse()
            assert reply.status == 200, reply.read()
            lines = (line[6:] for line in reply if line.startswith(b"data: "))
            yield (json.loads(line) for line in lines if line != b"[DONE]\n")

    def raw(self, data, timeout=20, shut=False):
        """What comes back for these bytes, until the server ends the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as to:
            try:
                to.sendall(data)
                if shut:
                    to.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass
            got = b""
            try:
                while more := to.recv(65536):
                    got += more
            except ConnectionResetError:
                pass
            return got


class ServerCase(Case):
    """One server for a test, which must still answer at its end and stop when it is told to."""

    def serve(self, *args, **kwargs):
        server = Served(*args, **kwargs)
        self.addCleanup(self.stop, server)
        return server

    def stop(self, server):
        alive = server.process.poll() is None and server.ask("GET", "/health")[0]
        code, said = server.close()
        self.assertEqual((alive, code), (200, 0), said[-3000:])
        self.assertNotIn("Sanitizer", said, said[-4000:])
        self.assertNotIn("runtime error", said, said[-4000:])

    def refused(self, server, status, says, body, path="/v1/chat/completions", method="POST", **kwargs):
        got, headers, text = server.ask(method, path, body, **kwargs)
        self.assertEqual(got, status, text[:2000])
        self.assertEqual(headers["Content-Type"], "application/json")
        error = json.loads(text)["error"]
        for part in [says] if isinstance(says, str) else says:
            self.assertIn(part, error["message"])
        return error
