"""A client that has not taken the end of an answer when the proxy has written all of it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from tests.support.rawclient import connect
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.bascule import RunningBascule
    from tests.support.rawclient import RawClient
    from tests.support.rawupstream import Call, RawUpstream

SIZE: Final = 60_000
"""Bytes of the answer's body: they fit into a transport's buffer, and into no small one of the kernel."""

SOCKETS: Final = {"notsentLowatBytes": 4096}
"""Block ``sockets`` of the proxy, so that its kernel keeps little."""


@contextlib.contextmanager
def reading_slowly(bascule: RunningBascule, upstream: RawUpstream) -> Iterator[RawClient]:
    """Ask, and read until the request counts as over; the rest of the body is the block's to read."""

    def answer(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE))

    upstream.scripts[b"/long"] = answer
    with contextlib.closing(connect(bascule.public_url, buffers=4096)) as client:
        client.send(b"GET /long HTTP/1.1\r\nHost: front\r\n\r\n")
        client.head()

        def is_over() -> bool:
            if not bascule.metric("bascule_http_requests_in_flight"):
                return True
            if len(client.buffer) < SIZE // 2:  # half is left, however late we hear that it is over
                client.receive()
            return False

        eventually(is_over, 10, "the request counts as over")
        yield client
