"""Pictures by URL, and models from a hub: all on loopback, with servers that misbehave."""

import base64
import hashlib
import json
import os
import pathlib
import pty
import random
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

from hub import Hub, etag_of, reply, reply_slowly
from support import NANO, PROGRAM, SAMPLES, Case, environment

ROOF = SAMPLES / "roof.png"
QUESTION = "What is on the roof?"


def model_files():
    return {p.name: p.read_bytes() for p in [*NANO.glob("*.json"), NANO / "model.safetensors"]}


class Network(Case):
    def start(self, files=None, **kwargs):
        hub = Hub(files if files is not None else model_files(), **kwargs)
        self.addCleanup(hub.close)
        return hub

    def env(self, hub, **changes):
        return environment(**{"HF_ENDPOINT": hub.url, "HF_HOME": str(self.folder / "hf"), "HOME": str(self.folder), **changes})

    def pull(self, hub, *args, name="acme/tiny", **changes):
        return self.good_json("pull", name, "--allow-private", *args, env=self.env(hub, **changes))

    def refused(self, hub, *args, name="acme/tiny", env=None, **kwargs):
        return self.bad("pull", name, "--allow-private", *args, env=env or self.env(hub), **kwargs)

    @property
    def entry(self):
        return self.folder / "hf/hub/models--acme--tiny"

    def check_cache(self, hub):
        """Everything in the cache that has a name is what the hub holds."""
        for blob in (self.entry / "blobs").iterdir():
            if blob.suffix != ".incomplete":
                self.assertEqual(blob.name, etag_of(blob.read_bytes(), len(blob.name) == 64))
        for name in hub.files:
            link = self.entry / "snapshots" / hub.commit / name
            if link.is_symlink():
                self.assertEqual(os.readlink(link), f"../../blobs/{hub.etag(name)}")
                self.assertTrue(link.exists())

    def check_whole(self, hub, wanted=None):
        self.check_cache(hub)
        snapshot = self.entry / "snapshots" / hub.commit
        self.assertEqual({p.name for p in snapshot.iterdir()}, set(wanted or hub.files))
        self.assertEqual((self.entry / "refs/main").read_text(), hub.commit)
        self.assertEqual([p.name for p in (self.entry / "blobs").glob("*.incomplete")], [])


class Pictures(Network):
    def setUp(self):
        super().setUp()
        self.hub = self.start({"roof.png": ROOF.read_bytes()})
        self.hub.answers["/roof.png"] = lambda h: reply(h, 200, ROOF.read_bytes(), {"Content-Type": "image/png"})

    def serve(self, path, answer):
        self.hub.answers[path] = answer
        return self.hub.url + path

    def look_bad(self, url, **kwargs):
        return self.bad(url, QUESTION, "--allow-private", **kwargs)

    def test_a_picture_comes_by_URL(self):
        want = self.good(ROOF, QUESTION)
        url = self.hub.url + "/roof.png"
        self.assertEqual(self.good(url, QUESTION, "--allow-private"), want)
        done = self.good_json(url, QUESTION, "--allow-private")
        self.assertEqual((done["image"], done["width"]), (url, self.good_json(ROOF, QUESTION)["width"]))
        self.assertEqual(self.good(url, "--allow-private"), self.good("describe", ROOF))
        self.assertNotIn("Accept-Encoding", self.hub.requests[-1][2])
        found = self.good_json("detect", "bird", url, "--allow-private")
        self.assertEqual(found["objects"], self.good_json("detect", "bird", ROOF)["objects"])

    def test_B20_a_picture_comes_in_a_data_URL(self):
        small = self.folder / "small.png"
        from PIL import Image

        Image.new("RGB", (40, 30), (200, 30, 30)).save(small)
        data = small.read_bytes()
        want = self.good("describe", small)
        url = "data:image/png;base64," + base64.b64encode(data + bytes(3000)).decode()  # bytes after the picture's end
        self.assertEqual(self.good("describe", url), want)
        named = self.good_json("describe", url)["image"]
        self.assertTrue(named.startswith("data:image/png;base64,") and named.endswith("…"), named)
        self.assertLess(len(named), 300)
        self.assertEqual(self.good("describe", "data:image/png," + "".join(f"%{b:02x}" for b in data)), want)

    def test_B20_data_URLs_that_are_none(self):
        for url, says in [
            ("data:image/png;base64,iVBO!w0KGgo", "no base64"), ("data:image/png;base64,iVBOR", "is cut"), ("data:image/png;base64", "no comma"),
            ("data:text/html;base64,iVBORw0KGgo=", "text/html"), ("data:,hello", "text/plain"), ("data:image/png;base64,", "data:image/png"),
            ("data:image/png,%zz", "'%'"), ("data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"), ("data:", "no comma"),
        ]:
            with self.subTest(url=url):
                self.bad(url, QUESTION, says=says)

    def test_B37_URLs_that_fool_others_are_refused(self):
        port = self.hub.port
        for url, says in [
            (f"http://127.0.0.1:{port}\\@1.1.1.1/", "backslash"), (f"http://[::ffff:7f00:1]:{port}/", "loopback"), (f"http://0x7f.1:{port}/", "loopback"),
            (f"http://2130706433:{port}/", "loopback"), (f"http://127.0.0.1.:{port}/", "loopback"), (f"http://localhost:{port}/", "loopback"),
            ("http://169.254.169.254/latest/meta-data/", "link-local"), ("http://10.0.0.1/", "private"), ("http://[::1]/", "loopback"),
            ("http://0.0.0.0/", "unspecified"), ("file:///etc/passwd", "file: URLs"), ("gopher://127.0.0.1/", "gopher: URLs"),
            (f"http://u:secret@127.0.0.1:{port}/", "user name or password"), ("http://" + "a" * 8192 + "/", "limit is 8192"), ("http://" + "a" * 300 + "/", "limit is 255"),
        ]:
            with self.subTest(url=url[:80]):
                self.assertNotIn("secret", self.bad(url, QUESTION, says=says))
        self.assertEqual(self.hub.requests, [])  # nothing was asked of anybody

    def test_B37_an_environments_proxy_does_not_weaken_the_policy(self):
        env = environment(http_proxy=self.hub.url, all_proxy=self.hub.url)
        self.bad(f"http://localhost:{self.hub.port}/roof.png", QUESTION, env=env, says="loopback")
        self.assertEqual(self.hub.requests, [])

    def test_B38_servers_that_do_not_end(self):
        def endless(handler):
            handler.send_response(200)
            handler.end_headers()
            while True:
                handler.wfile.write(bytes(1 << 20))

        def no_length(handler):
            handler.send_response(200)
            handler.send_header("Connection", "close")
            handler.end_headers()
            handler.wfile.write(ROOF.read_bytes())
            handler.close_connection = True

        self.look_bad(self.serve("/endless", endless), says=["/endless", "limit of 268435456"])
        self.assertIn("bird", self.good(self.serve("/nolength", no_length), QUESTION, "--allow-private"))
        self.look_bad(self.serve("/far", lambda h: reply(h, 302, b"", {"Location": "/far"})), says=["redirects more than 5 times"])
        gzip = self.serve("/gzip", lambda h: reply(h, 200, b"\x1f\x8b" + bytes(99), {"Content-Encoding": "gzip"}))
        self.look_bad(gzip, says="compressed (gzip)")
        self.look_bad(self.hub.url + "/none", says=["/none", "404 Not Found"])
        self.look_bad(self.serve("/page", lambda h: reply(h, 200, b"<html>sorry</html>")), says=["/page", "HTML"])

    def test_B38_a_wrong_length_is_an_error(self):
        def short(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", "99999")
            handler.end_headers()
            handler.wfile.write(ROOF.read_bytes()[:500])
            handler.close_connection = True

        def huge(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", str(1 << 40))
            handler.end_headers()
            handler.wfile.write(b"x")

        self.look_bad(self.serve("/short", short), says="ended after 500 bytes")
        self.look_bad(self.serve("/huge", huge), says=[str(1 << 40), "limit"])

    def test_B38_one_byte_a_second_is_given_up(self):
        self.look_bad(self.serve("/slow", reply_slowly), says=["slower than 256 bytes/s"])

    def test_B38_a_certificate_for_another_name_is_refused(self):
        key, cert = self.folder / "key.pem", self.folder / "cert.pem"
        made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=other.example", "-addext",
                               "subjectAltName=DNS:other.example", "-keyout", key, "-out", cert], capture_output=True)
        self.assertEqual(made.returncode, 0, made.stderr)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def serve():
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(client, server_side=True) as secure:
                        secure.recv(4096)
                        secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                except (OSError, ssl.SSLError):
                    client.close()

        threading.Thread(target=serve, daemon=True).start()
        url = f"https://localhost:{listener.getsockname()[1]}/"
        self.look_bad(url, says="certificate is not valid")  # nobody vouches for it
        self.look_bad(url, says=["certificate is not valid", "localhost"], env=environment(SSL_CERT_FILE=str(cert)))  # trusted, but for another name

    def test_one_bad_URL_does_not_end_the_others(self):
        url = self.hub.url + "/none"
        done = self.run_program("describe", url, ROOF, "ftp://x/", "--allow-private", "--json")
        self.assertEqual(done.returncode, 1)
        items = json.loads(done.stdout)
        self.assertEqual([("error" in i) for i in items], [True, False, True])
        self.assertEqual(items[0]["error"]["item"], url)

    def test_ctrl_c_ends_a_fetch_at_once(self):
        def hang(handler):
            time.sleep(20)

        url = self.serve("/hang", hang)
        process = subprocess.Popen([PROGRAM, url, QUESTION, "--allow-private"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        while not self.hub.requests:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
        self.assertEqual((process.returncode, out), (130, b""), err)


class Pull(Network):
    def test_pull_lays_the_cache_out_as_the_python_library_does(self):
        files = model_files() | {"README.md": b"hello", "pytorch_model.bin": b"\x80\x04", "onnx/model.onnx": b"x"}
        hub = self.start(files)
        done = self.pull(hub)
        wanted = model_files()
        self.assertEqual((done["model"], done["revision"], done["commit"], done["files"]), ("acme/tiny", "main", hub.commit, len(wanted)))
        self.assertEqual(done["bytes"], sum(map(len, wanted.values())))
        self.assertEqual(done["downloaded_bytes"], done["bytes"])
        self.assertEqual(done["folder"], str(self.entry / "snapshots" / hub.commit))
        self.assertEqual(list(done), ["model", "revision", "commit", "folder", "files", "bytes", "downloaded_bytes"])
        self.check_whole(hub, wanted)
        self.assertFalse(any("pytorch" in path or "onnx" in path for _, path, _ in hub.requests))
        self.assertIn("bird", self.good("-m", "acme/tiny", ROOF, QUESTION, env=self.env(hub)))
        again = self.pull(hub)
        self.assertEqual((again["downloaded_bytes"], again["bytes"], again["files"]), (0, done["bytes"], done["files"]))
        quiet = self.run_program("pull", "acme/tiny", "--allow-private", "-q", env=self.env(hub))
        self.assertEqual((quiet.returncode, quiet.stderr), (0, b""))
        loud = self.run_program("pull", "acme/tiny", "--allow-private", env=self.env(hub))
        self.assertIn(b"skipped what a model does not need: README.md, onnx/model.onnx, pytorch_model.bin", loud.stderr)

    def test_a_revision_is_pulled_by_branch_and_by_commit(self):
        hub = self.start()
        self.assertEqual(self.pull(hub, name="acme/tiny@refs/pr/1")["revision"], "refs/pr/1")
        self.assertEqual((self.entry / "refs/refs/pr/1").read_text(), hub.commit)
        self.pull(hub, name="acme/tiny@" + hub.commit)
        self.assertFalse((self.entry / "refs" / hub.commit).exists())
        self.refused(hub, name="acme/tiny@v9", says=["acme/tiny", "no revision v9"])

    def test_a_new_commit_shares_what_did_not_change(self):
        hub = self.start()
        self.pull(hub)
        hub.commit = "f" * 40
        hub.files["generation_config.json"] = b'{"temperature": 0}'
        self.assertEqual(self.pull(hub)["downloaded_bytes"], len(hub.files["generation_config.json"]))
        self.assertEqual((self.entry / "refs/main").read_text(), hub.commit)

    def test_large_files_on_another_host_never_see_the_token(self):
        hub = self.start()
        hub.cdn, hub.token = True, "hf_secret"
        self.pull(hub, HF_TOKEN="hf_secret")
        self.check_whole(hub)
        cdn = [headers for _, path, headers in hub.requests if path.startswith("/cdn/")]
        self.assertEqual(len(cdn), 1)
        self.assertNotIn("Authorization", cdn[0])
        self.assertTrue(all(headers.get("Authorization") for _, path, headers in hub.requests if not path.startswith("/cdn/")))

    def test_F04_a_link_to_the_bytes_that_has_run_out_is_asked_for_again(self):
        hub = self.start()
        hub.cdn, refusals = True, [403, 500]

        def serve(handler):
            if refusals:
                return reply(handler, refusals.pop(), b"expired")
            hub.body(handler, "model.safetensors", {})

        hub.answers["/cdn/"] = serve
        self.pull(hub)
        self.check_whole(hub)

    def test_a_gated_model_says_what_to_do(self):
        hub = self.start()
        hub.token = "hf_good"
        self.refused(hub, says=["gated", "accept its licence at " + hub.url + "/acme/tiny", "HF_TOKEN"])
        line = self.refused(hub, env=self.env(hub, HF_TOKEN="hf_other"), says=["gated", "account of this token"])
        self.assertNotIn("hf_other", line)
        (self.folder / "hf").mkdir(exist_ok=True)
        (self.folder / "hf/token").write_text("hf_good\n")
        self.pull(hub)
        self.refused(hub, env=self.env(hub, HF_TOKEN="two\r\nlines"), code=2, says="token")

    def test_B37_without_allow_private_a_loopback_hub_is_refused(self):
        hub = self.start()
        self.bad("pull", "acme/tiny", env=self.env(hub), says=["loopback", "--allow-private"])
        self.bad("pull", "acme/tiny", env=self.env(hub, HF_ENDPOINT="file:///etc"), code=2, says=["HF_ENDPOINT", "file:"])
        self.assertEqual(hub.requests, [])
        self.assertFalse((self.folder / "hf").exists())

    def test_F04_a_cut_download_goes_on_where_it_stopped(self):
        hub = self.start()
        hub.cut_after = 100_000
        done = self.pull(hub)
        self.assertEqual(done["downloaded_bytes"], done["bytes"])  # not a byte twice
        self.check_whole(hub)
        ranges = [h["Range"] for _, path, h in hub.requests if "Range" in h and path.endswith("model.safetensors")]
        self.assertEqual(ranges, ["bytes=100000-"])

    def test_F04_the_next_run_goes_on_too_and_a_server_without_ranges_starts_anew(self):
        hub = self.start()
        weights = hub.files["model.safetensors"]
        for ranges in (True, False):
            shutil.rmtree(self.folder / "hf", ignore_errors=True)
            hub.ranges = ranges
            (self.entry / "blobs").mkdir(parents=True)
            (self.entry / "blobs" / (hub.etag("model.safetensors") + ".incomplete")).write_bytes(weights[:50_000])
            listed = [m for m in self.good_json("list", env=self.env(hub)) if m["name"] == "acme/tiny"]
            self.assertEqual((listed[0]["complete"], listed[0]["partial_bytes"]), (False, 50_000))
            self.assertIn("download not finished", self.good("list", env=self.env(hub)))
            done = self.pull(hub)
            self.assertEqual(done["downloaded_bytes"], done["bytes"] - (50_000 if ranges else 0))
            self.check_whole(hub)

    def test_F04_what_was_kept_of_other_bytes_is_found_out_by_its_hash(self):
        hub = self.start()
        partial = self.entry / "blobs" / (hub.etag("model.safetensors") + ".incomplete")
        partial.parent.mkdir(parents=True)
        for junk in (bytes(50_000), bytes(len(hub.files["model.safetensors"])), bytes(len(hub.files["model.safetensors"]) + 9)):
            partial.write_bytes(junk)
            self.pull(hub)
            self.check_whole(hub)
            shutil.rmtree(self.entry / "snapshots")
            os.unlink(self.entry / "blobs" / hub.etag("model.safetensors"))

    def test_F04_bytes_that_are_always_wrong_are_refused_and_not_kept(self):
        hub = self.start()
        hub.corrupt = 1
        self.pull(hub)  # wrong once: fetched anew
        self.check_whole(hub)
        shutil.rmtree(self.folder / "hf")
        hub.corrupt = 100
        self.refused(hub, says=["model.safetensors", "hash"])
        self.assertFalse((self.entry / "blobs" / hub.etag("model.safetensors")).exists())
        self.assertFalse((self.entry / "refs/main").exists())
        self.check_cache(hub)

    def test_F04_a_file_that_changes_between_attempts_starts_anew(self):
        hub = self.start()
        hub.answers["/acme/tiny/resolve/" + hub.commit + "/model.safetensors"] = lambda h: (
            hub.file(h, "model.safetensors") if h.command == "HEAD" else reply(h, 503, b""))
        self.refused(hub, says=["503", "the same command goes on"])
        hub.answers.clear()
        hub.commit = "a" * 40
        hub.files["model.safetensors"] = hub.files["model.safetensors"][:-4] + b"\0\0\0\1"
        self.pull(hub)
        self.assertTrue((self.entry / "snapshots" / hub.commit / "model.safetensors").exists())

    def test_F04_wrong_lengths_and_hashes_in_the_hubs_headers(self):
        hub = self.start()
        path = "/acme/tiny/resolve/" + hub.commit + "/model.safetensors"
        for headers, says in [
            ({"ETag": '"../../evil"'}, "no hash"), ({"ETag": '"' + "A" * 40 + '"'}, "no hash"), ({}, "no hash"),
            ({"X-Linked-Etag": "a" * 64, "X-Linked-Size": "-1"}, "how long"), ({"X-Linked-Etag": "a" * 64, "X-Linked-Size": str(1 << 60)}, "how long"),
            ({"X-Linked-Etag": "a" * 64, "X-Linked-Size": "5", "X-Repo-Commit": "b" * 40}, "another commit"),
        ]:
            hub.answers[path] = lambda h: reply(h, 200, b"12345", headers)
            with self.subTest(headers=headers):
                self.refused(hub, says=["model.safetensors", says])
        hub.answers[path] = lambda h: reply(h, 200, b"1234567", {"X-Linked-Etag": "a" * 64, "X-Linked-Size": "5"})
        self.refused(hub, says="limit is 5")  # more bytes than promised
        self.check_cache(hub)

    def test_names_of_files_from_the_hub_never_become_paths(self):
        hub = self.start()
        hub.siblings = [*hub.files, "../../../evil.json", "/etc/evil.json", "a\nb\x1b[31m.json", "x" * 5000 + ".json", "..", "", "sub/config.json", "a/../config.json", "x..tiktoken"]
        done = self.run_program("pull", "acme/tiny", "--allow-private", "--json", env=self.env(hub))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check_whole(hub)
        self.assertNotIn(b"\x1b", done.stderr)
        self.assertLess(len(done.stderr), 1000)
        hub.siblings = [f"f{i}.json" for i in range(1_000_000)]
        self.refused(hub, name="acme/tiny@" + hub.commit, env=self.env(hub, HF_HOME=str(self.folder / "other")), says="limit")
        hub.siblings = None
        for body in (b"[]", b"{}", b'{"sha": "../../x", "siblings": []}', b'{"sha": 1, "siblings": {}}', b"<html>", b"[" * 100_000, b'{"sha": "' + b"a" * 40 + b'", "siblings": [1, null, {}]}'):
            hub.answers["/api/"] = lambda h: reply(h, 200, body)
            self.refused(hub, env=self.env(hub, HF_HOME=str(self.folder / "other")), says="acme/tiny")
        self.assertFalse((self.folder / "other").exists())

    def test_pickles_and_gguf_alone_are_no_model(self):
        hub = self.start({"config.json": b"{}", "pytorch_model.bin": b"\x80"})
        self.refused(hub, says=["model.safetensors", "pickles"])
        hub.files = {"config.json": b"{}", "m.gguf": b"GGUF"}
        self.refused(hub, says=["GGUF"])
        hub.files = model_files()
        del hub.files["tokenizer.json"]
        self.refused(hub, says=["tokenizer.json is missing"])

    def test_shards_are_pulled_by_their_index(self):
        files = model_files()
        weights = files.pop("model.safetensors")
        files["model-00001-of-00001.safetensors"] = weights
        length = int.from_bytes(weights[:8], "little")
        names = [n for n in json.loads(weights[8:8 + length]) if n != "__metadata__"]
        files["model.safetensors.index.json"] = json.dumps({"weight_map": {n: "model-00001-of-00001.safetensors" for n in names}}).encode()
        files["consolidated.safetensors"] = b"x"
        hub = self.start(files)
        self.assertEqual(self.pull(hub)["files"], len(files) - 1)
        self.assertIn("bird", self.good("-m", "acme/tiny", ROOF, QUESTION, env=self.env(hub)))
        files["model.safetensors.index.json"] = json.dumps({"weight_map": {n: "model-00002-of-00002.safetensors" for n in names}}).encode()
        hub.files, hub.commit = files, "e" * 40
        self.refused(hub, says=["model-00002-of-00002.safetensors", "missing"])
        self.assertEqual((self.entry / "refs/main").read_text(), "0123456789abcdef0123456789abcdef01234567")  # the old one stays


class Trouble(Network):
    def test_F15_a_hub_that_fails_leaves_the_cached_model_working(self):
        hub = self.start()
        done = self.pull(hub)
        gated = lambda h: reply(h, 403, b"no", {"X-Error-Code": "GatedRepo"})
        for answer, says in [
            (lambda h: reply(h, 401, b"no"), "no such model"), (lambda h: reply(h, 429, b"<html>slow down</html>", {"Retry-After": "7"}), "in 7 s"),
            (lambda h: reply(h, 302, b"", {"Location": h.path}), "redirects more than 5 times"), (gated, "gated"), (lambda h: reply(h, 503, b""), "503"),
            (lambda h: reply(h, 200, b"<html>portal</html>"), "JSON"),
        ]:
            hub.answers["/api/"] = answer
            result = self.run_program("pull", "acme/tiny", "--allow-private", "--json", env=self.env(hub))
            with self.subTest(says=says):
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertEqual(json.loads(result.stdout), {**done, "downloaded_bytes": 0})
                self.assertIn(says.encode(), result.stderr)
                self.assertIn(b"the cached", result.stderr)
                self.assertEqual(result.stderr.count(b"\n"), 1)
                self.refused(hub, env=self.env(hub, HF_HOME=str(self.folder / "empty")), says=says)
        hub.answers.clear()
        nobody = self.env(hub, HF_ENDPOINT="http://127.0.0.1:1")
        result = self.run_program("pull", "acme/tiny", "--allow-private", env=nobody)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(b"no connection", result.stderr)
        self.assertIn("bird", self.good("-m", "acme/tiny", ROOF, QUESTION, env=nobody))
        self.refused(hub, name="acme/other", env=nobody, says="no connection")

    def test_F15_offline_by_the_environment(self):
        hub = self.start()
        offline = self.env(hub, HF_HUB_OFFLINE="1")
        self.refused(hub, env=offline, says=["acme/tiny", "HF_HUB_OFFLINE"])
        self.pull(hub)
        count = len(hub.requests)
        result = self.run_program("pull", "acme/tiny", "--allow-private", env=offline)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(b"HF_HUB_OFFLINE is set", result.stderr)
        self.assertEqual(len(hub.requests), count)

    def test_F15_a_model_that_is_not_there(self):
        hub = self.start()
        self.refused(hub, name="acme/none", says=["acme/none", "no such model", "HF_TOKEN"])
        for word in ("tiny", "../x/y", "acme/..", "acme/tiny@../x", "a/b/c", "nano", "", "./acme/tiny", "acme/ti ny"):
            self.refused(hub, name=word, code=2)
        self.bad("pull", env=self.env(hub), code=2, says="takes one model")

    def test_F15_a_cache_of_another_user_says_so_and_its_models_work(self):
        hub = self.start()
        self.pull(hub)
        for path in [self.folder, *self.folder.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)

        def somebody():
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)

        if os.getuid() != 0:
            for path in [p for p in self.folder.rglob("*") if p.is_dir()]:
                path.chmod(0o555)
                self.addCleanup(path.chmod, 0o755)
        if subprocess.run([PROGRAM, "--version"], capture_output=True, preexec_fn=somebody).returncode != 0:
            self.skipTest("another user cannot run the program from this folder")
        old, hub.commit = hub.commit, "c" * 40
        self.refused(hub, preexec_fn=somebody, says=["cannot write in the hub cache", "HF_HUB_CACHE"])
        self.assertEqual((self.entry / "refs/main").read_text(), old)
        hub.answers["/api/"] = lambda h: reply(h, 503, b"")
        done = self.run_program("pull", "acme/tiny", "--allow-private", env=self.env(hub), preexec_fn=somebody)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("bird", self.good("-m", "acme/tiny", ROOF, QUESTION, env=self.env(hub), preexec_fn=somebody))

    def test_F02_a_full_disk_is_an_error_and_the_old_state_stays(self):
        hub = self.start()
        self.pull(hub)
        old = hub.commit
        hub.commit = "d" * 40
        hub.files["model.safetensors"] = hub.files["model.safetensors"][:-4] + b"\0\0\0\1"

        def limited():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

        self.refused(hub, preexec_fn=limited, says=[".incomplete", "too large", "goes on"])
        self.assertEqual((self.entry / "refs/main").read_text(), old)
        self.assertIn("bird", self.good("-m", "acme/tiny", ROOF, QUESTION, env=self.env(hub)))
        self.assertEqual(self.pull(hub)["downloaded_bytes"], len(hub.files["model.safetensors"]) - 100_000)
        self.check_cache(hub)

    def test_F01_kill_at_random_moments_leaves_nothing_wrong(self):
        hub = self.start()
        chance = random.Random(7)
        kills = int(os.environ.get("TAPETUM_KILLS", "20"))
        command = [PROGRAM, "pull", "acme/tiny", "--allow-private", "-q"]
        for turn in range(kills):
            if turn % 5 == 0:
                shutil.rmtree(self.folder / "hf", ignore_errors=True)
            hub.delay = chance.choice([0, 0.002, 0.01])
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.env(hub))
            time.sleep(chance.uniform(0, 0.3))
            process.kill()
            process.communicate()
            if (self.entry / "blobs").exists():
                self.check_cache(hub)
            if (self.entry / "refs/main").exists():
                self.assertEqual((self.entry / "refs/main").read_text(), hub.commit)
                self.assertTrue((self.entry / "snapshots" / hub.commit / "model.safetensors").exists())
        hub.delay = 0
        self.pull(hub)
        self.check_whole(hub)
        self.assertIn("bird", self.good("-m", "acme/tiny", ROOF, QUESTION, env=self.env(hub)))

    def test_two_pulls_at_once_share_the_work(self):
        hub = self.start()
        hub.delay = 0.005
        command = [PROGRAM, "pull", "acme/tiny", "--allow-private", "--json"]
        runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.env(hub)) for _ in range(3)]
        results = [(*run.communicate(timeout=60), run.returncode) for run in runs]
        self.assertEqual([code for *_, code in results], [0, 0, 0], results)
        self.check_whole(hub)
        done = [json.loads(out) for out, *_ in results]
        self.assertEqual(sum(d["downloaded_bytes"] for d in done), done[0]["bytes"])

    def test_ctrl_c_keeps_what_came(self):
        hub = self.start()
        hub.delay = 0.02
        process = subprocess.Popen([PROGRAM, "pull", "acme/tiny", "--allow-private"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.env(hub))
        partial = self.entry / "blobs" / (hub.etag("model.safetensors") + ".incomplete")
        while not (partial.exists() and partial.stat().st_size > 0):
            time.sleep(0.02)
            self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        self.assertEqual((process.returncode, out, err), (130, b"", b"tapetum: interrupted\n"))
        self.assertGreater(partial.stat().st_size, 0)

    def on_terminal(self, args, env, answer=None):
        """Runs with a terminal as stdin and stderr; gives the exit code and what stood there."""
        try:
            master, slave = pty.openpty()
        except OSError as error:
            self.skipTest(f"no terminal to be had: {error}")
        process = subprocess.Popen([PROGRAM, *args], stdin=slave, stderr=slave, stdout=subprocess.PIPE, env=env)
        os.close(slave)
        if answer:
            os.write(master, answer)
        seen = b""
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:
                break
            if not piece:
                break
            seen += piece
        out = process.communicate(timeout=60)[0]
        os.close(master)
        return process.returncode, seen, out

    def test_a_bar_shows_on_a_terminal_and_goes_away(self):
        hub = self.start()
        hub.delay = 0.003
        code, seen, _ = self.on_terminal(["pull", "acme/tiny", "--allow-private"], self.env(hub, TERM="xterm", NO_COLOR="1"))
        self.assertEqual(code, 0)
        self.assertIn(b"model.safetensors  ", seen)
        self.assertIn(b"%", seen)
        self.assertIn(b"MB", seen)
        self.assertNotIn(b"\x1b[36m", seen)
        self.assertTrue(seen.rstrip().endswith(b"\r\x1b[K"), seen[-80:])

    def test_rm_asks_and_frees_only_that_model(self):
        hub = self.start()
        self.pull(hub)
        env = self.env(hub)
        beside = self.folder / "hf/hub/models--acme--tiny2"
        shutil.copytree(self.entry, beside, symlinks=True)
        outside = self.folder / "outside"
        outside.mkdir()
        (outside / "precious").write_text("x")
        (self.entry / "snapshots/out").symlink_to(outside)
        self.bad("rm", "acme/tiny", env=env, code=2, says="--yes")
        code, seen, out = self.on_terminal(["rm", "acme/tiny"], env, b"n\n")
        self.assertEqual((code, out), (1, b"acme/tiny stays\n"))
        self.assertIn(b"remove acme/tiny (", seen)
        self.assertTrue(self.entry.exists())
        size = sum(p.stat().st_size for p in self.entry.rglob("*") if p.is_file() and not p.is_symlink())
        done = self.good_json("rm", "acme/tiny", "--yes", env=env)
        self.assertEqual(done, {"model": "acme/tiny", "folder": str(self.entry), "freed_bytes": size})
        self.assertFalse(self.entry.exists())
        self.assertTrue((outside / "precious").exists())
        self.assertTrue((beside / "refs/main").exists())
        self.bad("rm", "acme/tiny", "--yes", env=env, says=["acme/tiny", "not in the hub cache"])
        code, _, out = self.on_terminal(["rm", "acme/tiny2"], env, b"y\n")
        self.assertEqual(code, 0)
        self.assertIn(b"freed", out)
        self.assertFalse(beside.exists())

    def test_rm_refuses_what_is_no_name_of_the_cache(self):
        env = environment(HF_HOME=str(self.folder))
        for word in ("nano", "./x", "/etc", "..", "acme/..", "../..", "acme/tiny@main", ""):
            self.bad("rm", word, "--yes", env=env, code=2)
        (self.folder / "hub").mkdir()
        target = self.folder / "target"
        target.mkdir()
        (target / "precious").write_text("x")
        (self.folder / "hub/models--acme--link").symlink_to(target)
        self.good("rm", "acme/link", "--yes", env=env)
        self.assertFalse((self.folder / "hub/models--acme--link").is_symlink())
        self.assertTrue((target / "precious").exists())

    def test_rm_waits_for_nobody(self):
        hub = self.start()
        hub.delay = 0.05
        process = subprocess.Popen([PROGRAM, "pull", "acme/tiny", "--allow-private", "-q"], env=self.env(hub), stdout=subprocess.DEVNULL)
        while not list(self.entry.glob("blobs/*.incomplete")):
            time.sleep(0.02)
        self.bad("rm", "acme/tiny", "--yes", env=self.env(hub), says="another process is downloading it")
        hub.delay = 0
        self.assertEqual(process.wait(60), 0)
