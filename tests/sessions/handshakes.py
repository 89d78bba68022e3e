"""A proxy with narrow limits on opening handshakes, and what it says of those it refuses."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.rawupstream import RawUpstream, switch
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.rawupstream import Call

__all__ = ["EARLY", "FIELDS", "SECRET", "asks", "narrow", "refused_handshakes"]

HEAD_BYTES = 16384
FIELDS = 40
EARLY = 4096
DEADLINE = 2.0

SECRET = b"s3cr3t-never-in-a-log"


@contextlib.contextmanager
def narrow(upstream: RawUpstream, folder: Path) -> Iterator[RunningBascule]:
    """Run it; ``/asks`` has a route of its own."""
    config = {
        "routes": [
            {"name": "all", "path": "/", "upstream": upstream.url},
            {"name": "asks", "path": "/asks", "upstream": upstream.url},
        ],
        "forwarders": {"count": 1},
        "limits": {
            "requestHeadBytes": HEAD_BYTES,
            "requestFields": FIELDS,
            "earlyBytes": EARLY,
            "handshakeTimeout": f"{DEADLINE:g}s",
            "maxHandshakes": 20,
            "closingHandshakeTimeout": "300ms",
        },
    }
    with run_bascule(folder, config) as running:
        yield running


def refused_handshakes(bascule: RunningBascule) -> list[dict[str, Any]]:
    """Return their log lines, each of which is written before the answer is."""
    return [line for line in bascule.events("session refused") if line["reason"] == "handshake"]


def asks(upstream: RawUpstream, path: bytes) -> Callable[[], Call]:
    """Let the upstream switch on a path; return what gives the call it got."""
    before = len(upstream.calls)

    def wait(call: Call) -> None:
        switch(call)
        call.until_over()

    upstream.scripts[path] = wait
    return lambda: eventually(
        lambda: next((call for call in upstream.calls[before:] if call.target.startswith(path)), None),
        5,
        "the upstream is asked",
    )
