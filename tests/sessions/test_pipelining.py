"""Clients that send request after request and do not read the answers: they are read no further."""

from __future__ import annotations

import contextlib
import select
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.bascule import run_bascule
from tests.support.proctree import gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.bascule import RunningBascule
    from tests.support.certificates import Certificate
    from tests.support.rawclient import Clients, RawClient
    from tests.support.rawupstream import RawUpstream

REQUEST: Final = b"GET /%00 HTTP/1.1\r\nHost: front\r\n\r\n"
LAST: Final = b"GET /%00 HTTP/1.1\r\nHost: front\r\nConnection: close\r\n\r\n"
TOO_MUCH: Final = 6 << 20
"""Bytes of requests: more than the buffers on the way hold, those of the client being small."""
STALLED: Final = 1.5
"""Seconds in which not a byte is taken."""
MOST_KEPT: Final = 8 << 20
"""Bytes by which the gateway may grow meanwhile, its buffers for TLS among them."""


@pytest.fixture(scope="module", params=["plain", "tls"])
def bascule(
    request: pytest.FixtureRequest,
    upstream: RawUpstream,
    certificate: Certificate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningBascule]:
    config = {"routes": [{"name": "all", "path": "/", "upstream": upstream.url}], "forwarders": {"count": 1}}
    if request.param == "tls":
        config["tls"] = certificate.block()
    with run_bascule(tmp_path_factory.mktemp("bascule"), config) as running:
        yield running


@pytest.mark.parametrize("first_alone", [False, True], ids=["at-once", "after-an-answer"])
def test_who_reads_no_answers_is_read_no_further_and_then_gets_them_all(
    bascule: RunningBascule, clients: Clients, context: ssl.SSLContext | None, first_alone: bool
) -> None:
    client = clients(bascule.public_url, context, buffers=16384)
    if first_alone:
        client.send(REQUEST)
        assert client.answer().status == 400
    before = _resident(bascule)
    sent, left = _send_until_stalled(client)
    assert sent < TOO_MUCH
    assert _resident(bascule) - before < MOST_KEPT
    answers = _exchange(client, left, LAST)
    assert answers.count(b"HTTP/1.1 400 Bad Request\r\n") == (sent + len(left)) // len(REQUEST) + 1


def _resident(bascule: RunningBascule) -> int:
    """Return the bytes that the gateway has in memory."""
    return int(Path(f"/proc/{gateway(bascule)}/statm").read_text().split()[1]) * 4096


def _send_until_stalled(client: RawClient) -> tuple[int, bytes]:
    """Send requests until nothing is taken for a while, or far too much was.

    Returns:
        How many bytes were taken, and what is left of the last requests.
    """
    client.socket.setblocking(False)
    sent, left = 0, REQUEST * 100
    while sent < TOO_MUCH:
        try:
            taken = client.socket.send(left)
        except (BlockingIOError, ssl.SSLWantWriteError):
            if not select.select([], [client.socket], [], STALLED)[1]:
                break
        else:
            sent += taken
            left = left[taken:] or REQUEST * 100
    return sent, left


def _exchange(client: RawClient, *parts: bytes) -> bytes:
    """Send what is left, part by part, while all answers are read to the end of the stream."""
    received = bytearray()
    waiting = list(parts)
    while True:
        readable, writable, _ = select.select([client.socket], [client.socket] if waiting else [], [], 20)
        assert readable or writable, "nothing moves"
        with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError):
            if waiting:
                waiting[0] = waiting[0][client.socket.send(waiting[0]) :]
                waiting = [part for part in waiting if part]
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            while chunk := client.socket.recv(1 << 18):
                received += chunk
            return bytes(received)
