"""What a peer is to the comparison: a process that loads a model, says so in one JSON line, and then does single pieces
of work when asked, one command a line of stdin, one JSON line an answer: the same commands as bench/steps.
"""
import json
import resource
import sys
import time


class Refused(Exception):
    """This peer cannot do that piece of work."""


class Peer:
    """Override what the peer can do. Each method returns seconds."""

    def encode(self, pictures=1):
        raise Refused("encode")

    def prefill(self, tokens=512):
        raise Refused("prefill")

    def decode(self, context=200, steps=16):
        """Seconds of one step."""
        raise Refused("decode")

    def batch(self, users=16, context=200):
        """Seconds of one step of all users."""
        raise Refused("batch")

    def first(self):
        raise Refused("first")

    def memory(self):
        return {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6}


def timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def serve(make):
    started = time.perf_counter()
    peer = make()
    print(json.dumps({"load_s": time.perf_counter() - started}), flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        try:
            answer = getattr(peer, command)(*map(int, words))
            print(json.dumps(answer if isinstance(answer, dict) else {"s": answer}), flush=True)
        except Exception as e:  # the others go on
            print(json.dumps({"refused": f"{type(e).__name__}: {e}"}), flush=True)
