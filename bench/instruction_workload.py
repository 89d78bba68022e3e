"""What bench/instructions.py runs under callgrind: ``python instruction_workload.py WORKLOAD UNITS``.

Small on purpose: only the compiled module is imported, nothing waits, every run does exactly the same.
"""

from __future__ import annotations

import socket
import struct
import sys
from array import array

from bascule.forwarder._hot import Engine, Flow  # type: ignore[import-not-found]

MASK = b"\x37\xfa\x21\x3d"
WORDS = 512  # more than a forwarder's block has
LIMIT = 32 * 1024 * 1024


def frame(size: int) -> bytes:
    """A masked binary message; the payload is not looked at, so it may be zeros."""
    if size < 126:
        head = struct.pack("!BB", 0x82, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x82, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x82, 0x80 | 127, size)
    return head + MASK + bytes(size)


class Session:
    """Both legs of one session as the forwarder has them, and their far ends."""

    def __init__(self, engine: Engine) -> None:
        self.browser, leg = socket.socketpair()
        self.app, other = socket.socketpair()
        self.kept = (leg, other)
        for one in (self.browser, self.app, leg, other):
            one.setblocking(False)
        self.flow = Flow(self, leg.fileno(), other.fileno(), True, LIMIT, 0, 0, engine.now)
        self.back = Flow(self, other.fileno(), leg.fileno(), False, LIMIT, 0, 0, engine.now)
        self.flow.opposite, self.back.opposite = self.back, self.flow
        engine.attach(self.flow)
        engine.attach(self.back)


def header_walk(engine: Engine, units: int) -> None:
    """A unit: one header of a small frame, a thousand of them in a buffer."""
    session = Session(engine)
    batch = frame(32) * 1000
    for _ in range(units // 1000):
        if engine.feed(session.flow, batch):
            raise AssertionError("a frame was refused")
        session.app.recv(len(batch))


def message(engine: Engine, units: int) -> None:
    """A unit: a small message to one session: a turn of the loop, one event, recv, walk, send."""
    session = Session(engine)
    one = frame(64)
    for _ in range(units):
        session.browser.send(one)
        engine.turn(0.0)
        if session.app.recv(256) != one:
            raise AssertionError("the message did not come through")


def message_crowd(engine: Engine, units: int) -> None:
    """A unit: a small message, with fifty sessions ready in every turn."""
    sessions = [Session(engine) for _ in range(50)]
    one = frame(64)
    for _ in range(units // 50):
        for session in sessions:
            session.browser.send(one)
        engine.turn(0.0)
        for session in sessions:
            if session.app.recv(256) != one:
                raise AssertionError("the message did not come through")


def large_chunk(engine: Engine, units: int) -> None:
    """A unit: 64 KiB from the middle of a large frame."""
    session = Session(engine)
    whole = frame(65536 * (units + 1))
    for at in range(0, 65536 * units, 65536):
        session.browser.send(whole[at : at + 65536])
        engine.turn(0.0)
        session.app.recv(65536)


WORKLOADS = {
    "header_walk": header_walk,
    "message": message,
    "message_crowd": message_crowd,
    "large_chunk": large_chunk,
}

if __name__ == "__main__":
    WORKLOADS[sys.argv[1]](Engine(262144, memoryview(array("Q", bytes(8 * WORDS)))), int(sys.argv[2]))
