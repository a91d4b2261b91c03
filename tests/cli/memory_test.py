"""A server whose memory one request uses up: that one is told so, and nobody else notices."""

import base64
import io
import json
import os
import pathlib
import resource
import shutil
import threading
import unittest

from PIL import Image

from server import ServerCase, about
from support import NANO, SANITIZED

BESIDE = {"messages": [{"role": "user", "content": "Hi"}], "guided_regex": "[a-z ]{300}", "max_tokens": 300, "temperature": 0}
LONG = {"messages": [{"role": "user", "content": "tree " * 200_000}]}  # 512 MB of keys and values
QUESTION = about("roof.png", "What is on the roof?")


def huge_picture():
    """Some hundred kilobytes that become 230 MB of pixels, below every limit."""
    file = io.BytesIO()
    Image.new("RGB", (8800, 8800), "red").save(file, "png", compress_level=1)
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


def cgroup_with(limit):
    """A new cgroup with this limit of memory, of either version; None where none can be made."""
    for root, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        folder = pathlib.Path(root) / f"tapetum-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / name).write_text(str(limit))
            return folder
        except OSError:
            folder.rmdir()
    return None


class Beside(threading.Thread):
    """Streamed answers, one after the other, as long as other requests are made in its `with`."""

    def __init__(self, server):
        super().__init__()
        self.server, self.texts, self.begun, self.enough = server, [], threading.Event(), threading.Event()

    def run(self):
        while not self.enough.is_set():
            with self.server.streaming(BESIDE) as events:
                text = ""
                for event in events:
                    text += event["choices"][0]["delta"].get("content") or ""
                    self.begun.set()
            self.texts.append(text)

    def __enter__(self):
        self.start()
        assert self.begun.wait(30)
        return self

    def __exit__(self, *_):
        self.enough.set()
        self.join()


class Starved(ServerCase):
    def serve_long(self, **kwargs):
        """Numbers in f32, so that answers do not depend on who is answered beside; a context that a cache of GBs belongs to."""
        model = self.folder / "model"
        shutil.copytree(NANO, model)
        config = json.loads((NANO / "config.json").read_text())
        config["text_config"]["max_position_embeddings"] = 400_000
        (model / "config.json").write_text(json.dumps(config))
        return self.serve("-m", f"nano={model}", "--dtype", "f32", "--batch", "3", "--threads", "1", "--memory", "100G", **kwargs)

    def check(self, server, requests):
        """Each of them is refused for lack of memory, while and after which answers are what they were before the limit."""
        with Beside(server) as alone:
            answer = server.chat(QUESTION)["choices"][0]["message"]["content"]
        self.assertEqual(len(alone.texts[0]), 300)
        yield
        for name, body in requests.items():
            with self.subTest(name):
                with Beside(server) as beside:
                    error = self.refused(server, 503, "out of memory", body, timeout=100)
                self.assertEqual(set(beside.texts), set(alone.texts))
                self.assertEqual(server.chat(QUESTION)["choices"][0]["message"]["content"], answer)
                if error["code"]:
                    self.assertEqual(error["code"], "out_of_memory")
                self.assertNotIn("\n", error["message"])

    @unittest.skipIf(SANITIZED, "an address space limit leaves no room for shadow memory")
    def test_F06_a_request_that_passes_the_limit_of_the_address_space_ends_alone(self):
        server = self.serve_long()
        checking = self.check(server, {"a picture": huge_picture(), "a prompt": LONG, "choices": {**LONG, "n": 3},
                                       "a body": {"messages": [{"role": "user", "content": "x" * (60 << 20)}]}})
        next(checking)
        status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
        used = int(status.partition("VmSize:")[2].split()[0]) << 10
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, (used + (160 << 20), resource.RLIM_INFINITY))
        self.assertRaises(StopIteration, next, checking)

    @unittest.skipIf(SANITIZED, "shadow memory passes the limit")
    def test_F06_a_request_that_passes_the_cgroup_s_limit_ends_alone(self):
        group = cgroup_with(300 << 20)
        if not group:
            self.skipTest("no cgroup can be made here")
        self.addCleanup(group.rmdir)
        server = self.serve_long(preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())))
        checking = self.check(server, {"a picture": huge_picture(), "a prompt": LONG})
        next(checking)
        self.assertRaises(StopIteration, next, checking)


if __name__ == "__main__":
    unittest.main()
