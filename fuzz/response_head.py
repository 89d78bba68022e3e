"""Heads of upstreams, and the end of a chunked body."""

from __future__ import annotations

from bascule.protocol.body import ChunkScanner
from bascule.protocol.handshake import Offer, check_response
from bascule.protocol.http1 import END_OF_HEAD, BadHead, parse_response_head
from fuzz.running import run

_OFFER = Offer(b"k", (b"a", b"b"), frozenset({b"permessage-deflate"}), b"host", None)


def check(data: bytes) -> None:
    """Accepted, or refused with 502; never more than was there."""
    end = data.find(END_OF_HEAD)
    body = data if end < 0 else data[end + len(END_OF_HEAD) :]
    scanner = ChunkScanner()
    try:
        used = scanner.feed(body)
        assert used <= len(body)
        assert scanner.done or used == len(body)
    except BadHead as refused:
        assert refused.status == 502
    if end < 0:
        return
    try:
        head = parse_response_head(data[: end + len(END_OF_HEAD)], 100)
    except BadHead as refused:
        assert refused.status == 502
        return
    agreed = check_response(head, _OFFER, b"k")
    assert agreed is None or head.values(b"sec-websocket-accept")


if __name__ == "__main__":
    run(check)
