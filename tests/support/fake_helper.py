#!/usr/bin/python3
"""A media helper that misbehaves: HOW in its own name's ending (.die, .hang, .garbage, .short, .lies)."""
import os
import socket
import struct
import sys
import time

how = os.environ.get("HOW") or open("/proc/self/cmdline").read().split("\0")[1].rsplit(".", 1)[-1]
link = socket.socket(fileno=3)
version, = struct.unpack_from("<I", link.recv(64))
if how == "die":
    os.kill(os.getpid(), 11)
if how == "hang":
    time.sleep(1000)
if how == "garbage":
    link.send(os.urandom(296))
if how == "short":
    link.send(b"x")
if how == "lies":  # a thousand frames, and no memory with their times
    link.send(struct.pack("<IIqqqqqQ32s192s", version, 0, 64, 48, 1000, 0, 0, 8000, b"h264", b""))
time.sleep(1000)
