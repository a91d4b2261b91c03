"""Many clients at once, each with a picture and a secret of its own, for some time: python soak.py [SECONDS [CLIENTS [SERVE OPTION…]]]

Says what it saw as one JSON object: answers, time to first token and between tokens (p50, p99, ms), the server's memory and
descriptors over time. An answer that is not its client's own is an error, and so is one that did not come.
"""

import asyncio
import base64
import io
import json
import pathlib
import re
import sys
import time

from PIL import Image

from support import SAMPLES

QUESTION = "What is in the image?"


def pictures(clients):
    """A sample for each, with a corner that makes it a picture of its own: data: URLs."""
    samples = [Image.open(path).convert("RGB") for path in sorted(SAMPLES.glob("*.png"))]
    urls = []
    for client in range(clients):
        picture = samples[client % len(samples)].copy()
        picture.putpixel((0, 0), (client % 256, client // 256, 7))
        file = io.BytesIO()
        picture.save(file, "PNG", compress_level=1)
        urls.append("data:image/png;base64," + base64.b64encode(file.getvalue()).decode())
    return urls


def percentile(values, p):
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * p))] * 1e3, 2) if ordered else None


class Soak:
    def __init__(self, port, pid, clients, tokens=40):
        self.port, self.pid, self.tokens = port, pid, tokens
        self.urls = pictures(clients)
        self.errors, self.first, self.gaps, self.samples = [], [], [], []
        self.answers = 0

    async def chat(self, body):
        """The texts of a streamed answer's events, with the times that they came at."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        try:
            data = json.dumps({**body, "stream": True}).encode()
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                         b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            began, pieces, done = time.monotonic(), [], False
            status = await reader.readline()
            if b" 200 " not in status:
                raise AssertionError(f"{status!r} {(await reader.read())[-300:]!r}")
            while line := await reader.readline():
                if line.startswith(b"data: [DONE]"):
                    done = True
                elif line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    if "error" in event:
                        raise AssertionError(event["error"])
                    for choice in event["choices"]:
                        if text := choice["delta"].get("content"):
                            pieces.append((time.monotonic() - began, text))
            if not done:
                raise AssertionError(f"the stream ended after {len(pieces)} pieces")
            return pieces
        finally:
            writer.close()

    def request(self, client, secret=None):
        body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": self.urls[client]}},
                                                          {"type": "text", "text": QUESTION}]}],
                "max_tokens": self.tokens, "temperature": 0}
        if secret:
            body["guided_regex"] = f"{secret}: [a-z ]{{20}}"
            body["max_tokens"] = len(secret) + 24  # a token for each byte, and the end
        return body

    async def client(self, client, until, expected):
        """Takes turns between an answer that the grammar makes its own and one that its picture does."""
        turn = 0
        while time.monotonic() < until:
            turn += 1
            secret = f"client {client} turn {turn}" if turn % 2 else None
            try:
                pieces = await self.chat(self.request(client, secret))
            except Exception as error:  # noqa: BLE001: whatever it is, the soak has failed
                self.errors.append(f"client {client}: {type(error).__name__}: {error}")
                return
            text = "".join(piece for _, piece in pieces)
            if secret and not re.fullmatch(f"{secret}: [a-z ]{{20}}", text):
                self.errors.append(f"client {client} wanted {secret!r}, got {text!r}")
            elif not secret and text != expected[client % len(expected)]:
                self.errors.append(f"client {client}: {text!r} is not {expected[client % len(expected)]!r}")
            self.answers += 1
            times = [at for at, _ in pieces]
            self.first.append(times[0])
            self.gaps += [b - a for a, b in zip(times, times[1:])]

    def sample(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        resident = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024
        self.samples.append((time.monotonic(), resident, len(list(pathlib.Path(f"/proc/{self.pid}/fd").iterdir()))))

    async def watch(self, until):
        while time.monotonic() < until:
            self.sample()
            await asyncio.sleep(0.5)

    async def run(self, seconds):
        kinds = len(list(SAMPLES.glob("*.png")))
        expected = ["".join(text for _, text in await self.chat(self.request(i))) for i in range(min(kinds, len(self.urls)))]
        began = time.monotonic()
        until = began + seconds
        await asyncio.gather(self.watch(until), *(self.client(i, until, expected) for i in range(len(self.urls))))
        await asyncio.sleep(0.5)
        self.sample()
        return self.report(time.monotonic() - began)

    def slope(self):
        """MB a minute that the server grew by, over the second half."""
        half = self.samples[len(self.samples) // 2:-1]
        mean_t, mean_m = (sum(s[i] for s in half) / len(half) for i in (0, 1))
        spread = sum((s[0] - mean_t) ** 2 for s in half)
        return sum((s[0] - mean_t) * (s[1] - mean_m) for s in half) / spread * 60 if spread else 0

    def report(self, seconds):
        return {"clients": len(self.urls), "seconds": round(seconds, 1), "answers": self.answers,
                "tokens_per_s": round((len(self.gaps) + len(self.first)) / seconds, 1),
                "first_token_ms": {"p50": percentile(self.first, 0.5), "p99": percentile(self.first, 0.99)},
                "gap_ms": {"p50": percentile(self.gaps, 0.5), "p99": percentile(self.gaps, 0.99)},
                "memory_mb": {"begin": round(self.samples[0][1], 1), "most": round(max(s[1] for s in self.samples), 1),
                              "end": round(self.samples[-1][1], 1), "growth_per_minute": round(self.slope(), 2)},
                "descriptors": {"begin": self.samples[0][2], "most": max(s[2] for s in self.samples), "end": self.samples[-1][2]},
                "errors": len(self.errors), "first_errors": self.errors[:5]}


def soak(server, seconds, clients=200):
    return asyncio.run(Soak(server.port, server.process.pid, clients).run(seconds))


if __name__ == "__main__":
    from server import Served
    served = Served(*sys.argv[3:])
    report = soak(served, float(sys.argv[1]) if len(sys.argv) > 1 else 30, int(sys.argv[2]) if len(sys.argv) > 2 else 200)
    report["exit_code"], said = served.close()
    print(json.dumps(report, indent=1))
    sys.exit(bool(report["errors"] or report["exit_code"]))
