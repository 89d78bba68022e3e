"""A name server of which only names of one kind are alive, and a resolver; run inside a network namespace.

Prints, as JSON, how long living names took while dead ones were still being asked for, and how many of these
there were: far more than threads, each with a name that URLs have chosen.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import sys
import threading
import time

import uvloop

from bascule.gateway.upstreams.resolver import AT_ONCE, Resolver

ALIVE = b"\x05alive"
DEAD = 100


def answer(query: bytes) -> bytes | None:
    """Return the answer to a question about a living name (RFC 1035 §4.1); dead names have none, ever."""
    if query[12 : 12 + len(ALIVE)] != ALIVE:
        return None
    question = query[12 : query.index(b"\0", 12) + 5]
    is_address = question[-4:-2] == b"\x00\x01"
    record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01" if is_address else b""
    return query[:2] + struct.pack("!5H", 0x8180, 1, int(is_address), 0, 0) + question + record


class NameServer(threading.Thread):
    """Answers on port 53 of the loopback."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        self.dead: set[bytes] = set()
        self.all_asked = threading.Event()

    def run(self) -> None:
        while True:
            query, who = self.socket.recvfrom(512)
            if (data := answer(query)) is not None:
                self.socket.sendto(data, who)
                continue
            self.dead.add(query[12:20])
            if len(self.dead) == AT_ONCE // 4:
                self.all_asked.set()


async def main() -> None:
    server = NameServer()
    server.start()
    resolver = Resolver()
    dead = [
        asyncio.create_task(resolver.resolve(f"dead{number:03}.test", 80, named_by_url=True))
        for number in range(DEAD)
    ]
    asked = await asyncio.to_thread(server.all_asked.wait, 5)
    begin = time.monotonic()
    found = [
        *await resolver.resolve("alive.test", 80),
        *await resolver.resolve("alive.other", 80, named_by_url=True),
    ]
    said = {
        "asked": asked,
        "seconds": time.monotonic() - begin,
        "found": [where[0] for _, where in found],
        "pending": sum(not task.done() for task in dead),
    }
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    os._exit(0)  # the look-ups of the dead take their time


if __name__ == "__main__":
    uvloop.run(main())
