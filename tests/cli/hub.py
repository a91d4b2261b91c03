"""A model hub on 127.0.0.1 that speaks the hub's protocol, and misbehaves on request."""

import hashlib
import http.server
import json
import re
import socketserver
import threading
import time


def etag_of(data, large):
    """SHA-256 of large files, else the SHA-1 of a git blob, as the hub names contents."""
    return hashlib.sha256(data).hexdigest() if large else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """`files`: name to bytes. A `Fault` field is read at each request, so a test may change it between runs."""

    def __init__(self, files, name="acme/tiny", commit="0123456789abcdef0123456789abcdef01234567"):
        self.files, self.name, self.commit = dict(files), name, commit
        self.siblings = None        # names to list instead of the files'
        self.answers = {}           # path prefix to a function(handler) that answers instead
        self.cut_after = None       # bytes of a body after which the connection is cut, once for each file
        self.cut = set()
        self.ranges = True          # honours Range
        self.delay = 0              # seconds between pieces of a body
        self.corrupt = 0            # how many bodies of large files come wrong
        self.token = None           # what a gated model wants
        self.cdn = False            # large files lie on another origin (localhost instead of 127.0.0.1)
        self.requests = []          # (method, path, headers)
        self.lock = threading.Lock()
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                hub.serve(self)

            do_HEAD = do_GET

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # a client that went away

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def is_large(self, name):
        return name.endswith(".safetensors")

    def etag(self, name):
        return etag_of(self.files[name], self.is_large(name))

    def serve(self, handler):
        path = handler.path
        with self.lock:
            self.requests.append((handler.command, path, dict(handler.headers)))
        for prefix, answer in self.answers.items():
            if path.startswith(prefix):
                return answer(handler)
        if re.fullmatch(f"/api/models/{self.name}/revision/[^/]+", path):
            if not path.endswith(("/main", "/" + self.commit, "/refs%2Fpr%2F1")):
                return reply(handler, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            names = list(self.files) if self.siblings is None else self.siblings
            body = {"id": self.name, "sha": self.commit, "siblings": [{"rfilename": n} for n in names]}
            return reply(handler, 200, json.dumps(body).encode(), {"Content-Type": "application/json"})
        prefix = f"/{self.name}/resolve/{self.commit}/"
        if path.startswith(prefix) and path[len(prefix):] in self.files:
            return self.file(handler, path[len(prefix):])
        if path.startswith("/cdn/") and path[5:] in self.files:
            return self.body(handler, path[5:], {"ETag": '"of-the-cdn"'})
        reply(handler, 404, b"<html>not here</html>", {"X-Error-Code": "RepoNotFound"})

    def file(self, handler, name):
        if self.token and handler.headers.get("Authorization") != f"Bearer {self.token}":
            code = 401 if "Authorization" not in handler.headers else 403
            return reply(handler, code, b"Access is restricted", {"X-Error-Code": "GatedRepo"})
        headers = {"X-Repo-Commit": self.commit}
        if not self.is_large(name):
            return self.body(handler, name, {**headers, "ETag": f'"{self.etag(name)}"'})
        headers |= {"X-Linked-Etag": f'"{self.etag(name)}"', "X-Linked-Size": str(len(self.files[name]))}
        if self.cdn:
            return reply(handler, 302, b"", {**headers, "Location": f"http://localhost:{self.port}/cdn/{name}"})
        self.body(handler, name, {**headers, "ETag": f'"{self.etag(name)}"'})

    def body(self, handler, name, headers):
        data, first = self.files[name], 0
        if self.is_large(name) and self.corrupt and handler.command == "GET":
            self.corrupt -= 1
            data = bytes(len(data))
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        condition = handler.headers.get("If-Range")
        if wanted and self.ranges and condition in (None, headers.get("ETag")):
            first = int(wanted[1])
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        else:
            handler.send_response(200)
        for key, value in headers.items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(data) - first))
        handler.end_headers()
        if handler.command == "HEAD":
            return
        end = len(data)
        if self.cut_after is not None and name not in self.cut and end - first > self.cut_after:
            self.cut.add(name)
            end = first + self.cut_after
            handler.close_connection = True
        step = len(data) if not self.delay else 16384
        for at in range(first, end, step):
            handler.wfile.write(data[at:min(end, at + step)])
            if self.delay:
                time.sleep(self.delay)


def reply(handler, status, body, headers=None):
    handler.send_response(status)
    for key, value in (headers or {}).items():
        handler.send_header(key, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def reply_slowly(handler):
    """A byte a second, for a minute."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(60):
        handler.wfile.write(b"x")
        time.sleep(1)
