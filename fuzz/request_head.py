"""Heads and opening handshakes of browsers."""

from __future__ import annotations

from bascule.errors import RequestRefused
from bascule.protocol.handshake import check_request, refusal_subprotocol, wants_websocket
from bascule.protocol.http1 import BadHead, parse_request_head
from fuzz.running import run


def check(data: bytes) -> None:
    """A head is accepted or refused; an accepted one has no bare line end in anything it says."""
    try:
        head = parse_request_head(data, 100)
    except BadHead as refused:
        assert refused.status in (400, 431, 505)
        return
    for name, value in head.fields:
        assert name
        assert not set(b"\r\n\0") & set(name + value)
    if not wants_websocket(head):
        return
    try:
        offer = check_request(head)
    except RequestRefused as refused:
        assert refused.status in (400, 405, 426)
        return
    chosen = refusal_subprotocol(offer)
    assert chosen is None or b"," not in chosen


if __name__ == "__main__":
    run(check)
