"""The header walk: both builds take the same actions for any bytes and any split."""

from __future__ import annotations

import importlib
import os
import socket
from typing import Any

from bascule.forwarder import hot_pure, signs
from bascule.handover.counters import BLOCK_WORDS
from fuzz.running import run

try:
    _hot: Any = importlib.import_module("bascule.forwarder._hot")
except ImportError:
    _hot = None

WINDOW = 4096
_STATE = (
    "mode", "remaining", "in_message", "held", "stop", "pings", "close_code", "close_reason", "fault",
    "frames", "payload",
)  # fmt: skip


def _walk(build: Any, inbound: bool, limit: int, stop_at: int, parts: list[bytes]) -> list[object]:
    """Feed the parts to one build; return what it wrote, said and was left with."""
    words = memoryview(bytearray(BLOCK_WORDS * 8)).cast("Q")
    engine = build.Engine(WINDOW, words)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    try:
        flow = build.Flow(None, -1, ours.fileno(), inbound, limit, 0x40, 0, 0.0)
        seen: list[object] = []
        for number, part in enumerate(parts):
            if number == stop_at:
                flow.stop = True
                if flow.remaining == 0 and flow.mode == signs.RELAY:
                    flow.mode = signs.DISCARD
            found = engine.feed(flow, part)
            try:
                written = os.read(theirs.fileno(), 1 << 20)
            except BlockingIOError:
                written = b""
            seen.append((found, written, [getattr(flow, name) for name in _STATE]))
        seen.append(list(words))
        return seen
    finally:
        ours.close()
        theirs.close()
        engine.close()


def check(data: bytes) -> None:
    """The first bytes choose direction, limit and split; the rest is the stream."""
    if len(data) < 4:
        return
    inbound = bool(data[0] & 1)
    limit = (16, 125, 65535, 1 << 25)[data[0] >> 1 & 3]
    stop_at = data[1] if data[0] & 0x80 else -1
    step = data[2] or WINDOW
    stream = data[3:]
    parts = [stream[start : start + step] for start in range(0, len(stream), step)]
    pure = _walk(hot_pure, inbound, limit, stop_at, parts)
    if _hot is not None:
        assert _walk(_hot, inbound, limit, stop_at, parts) == pure
    if stop_at < 0:
        # However the stream is cut, the same bytes come out.
        whole = _walk(
            hot_pure, inbound, limit, -1, [stream[i : i + WINDOW] for i in range(0, len(stream), WINDOW)]
        )
        written = b"".join(part[1] for part in pure[:-1])  # type: ignore[index]
        assert written == b"".join(part[1] for part in whole[:-1])  # type: ignore[index]


if __name__ == "__main__":
    run(check)
