"""What tests of a reload do: reload, use sessions, and wait for the gateway that takes over."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

from tests.support.proctree import gateway, gateways, kill
from tests.support.rawclient import RawClient, connected
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.bascule import RunningBascule
    from tests.support.rawupstream import Call, RawUpstream

    Proxy = Callable[..., RunningBascule]


@contextlib.contextmanager
def half_a_download(bascule: RunningBascule, upstream: RawUpstream) -> Iterator[Callable[[], None]]:
    """Have half of a download; yields what lets the other half come, and waits for it."""
    go_on = threading.Event()

    def download(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        assert go_on.wait(60)
        call.send(b"world")

    upstream.scripts[b"/download"] = download
    with connected(bascule.public_url) as client:
        client.send(b"GET /download HTTP/1.1\r\nHost: front\r\n\r\n")
        client.until(lambda data: b"hello" in data, "the beginning")

        def finish() -> None:
            go_on.set()
            client.until(lambda data: data.endswith(b"helloworld"), "the end")

        yield finish


def route(upstream: RawUpstream, path: str = "/", name: str = "all") -> dict[str, str]:
    return {"name": name, "path": path, "upstream": upstream.url}


def works(client: RawClient) -> bool:
    """Use a session."""
    client.say(b"hello")
    return client.reply().payload == b"hello"


def get(client: RawClient, target: bytes) -> int:
    client.send(b"GET " + target + b" HTTP/1.1\r\nHost: front\r\n\r\n")
    return client.answer().status


def begins_to_go_over(bascule: RunningBascule, sessions: int) -> int:
    """Let another gateway start that is to serve with this cap; return its process id.

    The serving one stands still from then on. Otherwise it might have retired, and left, before this has
    looked.
    """
    kill(before := gateway(bascule), signal.SIGSTOP)
    bascule.change(websocketProxy={"maxSessionsPerApp": sessions})
    bascule.hang_up()
    eventually(lambda: len(gateways(bascule)) == 2, 10, "another one starts")
    return next(pid for pid in gateways(bascule) if pid != before)


def serves_with(bascule: RunningBascule, sessions: int) -> None:
    """Wait until the gateway with this cap serves."""
    eventually(lambda: bascule.cap_if_up == sessions, 20, f"the cap is {sessions}")
