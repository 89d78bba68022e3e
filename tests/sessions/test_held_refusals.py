"""Whoever is held when the proxy stops, drains or goes over to another configuration is told at once."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.frames import KEY, close
from tests.support.processes import reserve_port
from tests.support.proctree import gateways
from tests.support.rawclient import upgrade
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import ssl

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.certificates import Certificate
    from tests.support.rawclient import Clients, RawClient

UNREACHABLE = b"WebSocket upstream is not reachable"
REFUSED = 8
"""The last of so many at once is held for 15 seconds at least."""


def held(proxy: RunningBascule, clients: Clients, context: ssl.SSLContext | None = None) -> list[RawClient]:
    """Let one client be refused so often that it is held; the 101s have come."""
    found = [clients(proxy.public_url, context) for _ in range(REFUSED)]
    for client in found:
        client.send(upgrade())
        assert client.head().status == 101
    return found


def config(timeout: str, **more: Any) -> dict[str, Any]:
    dead = {"name": "dead", "path": "/", "upstream": f"http://127.0.0.1:{reserve_port()}"}
    return {"routes": [dead], "forwarders": {"count": 1}, "drain": {"timeout": timeout}, **more}


@pytest.mark.parametrize("scheme", ["plain", "tls"])
@pytest.mark.parametrize("how", ["stop", "drain", "reload"])
def test_who_is_held_is_told_why_at_once_and_has_its_line(
    bascule: Start,
    clients: Clients,
    certificate: Certificate,
    context: ssl.SSLContext | None,
    scheme: str,
    how: str,
) -> None:
    proxy = bascule(config("20s", **({"tls": certificate.block()} if scheme == "tls" else {})))
    refused = held(proxy, clients, context)
    began = time.monotonic()
    if how == "stop":
        os.kill(proxy.process.pid, signal.SIGTERM)
    elif how == "drain":
        proxy.drain()
    else:
        assert proxy.reload(websocketProxy={"maxSessionsPerApp": 7})
    for client in refused:
        said = client.refusal()
        assert (said.code, said.reason) == (1013, UNREACHABLE)
        client.send(close(1013, key=KEY))
        assert client.rest() == b""
    assert time.monotonic() - began < 10
    if how == "stop":
        assert proxy.process.process.wait(10) == 0
    if how == "reload":
        eventually(lambda: len(gateways(proxy)) == 1, 5, "the former one has left")
    lines = proxy.all_events("session refused", REFUSED)
    assert [line["close_code"] for line in lines] == [1013] * REFUSED
    assert [line["held_seconds"] < 10 for line in lines if "held_seconds" in line] == [True] * (REFUSED - 1)


def test_a_stop_that_gives_no_time_tells_who_is_held(bascule: Start, clients: Clients) -> None:
    proxy = bascule(config("0s"))
    refused = held(proxy, clients)
    os.kill(proxy.process.pid, signal.SIGTERM)
    assert [client.refusal().code for client in refused] == [1013] * REFUSED
    assert proxy.process.process.wait(10) == 0
    lines = proxy.all_events("session refused", REFUSED)
    assert [line["close_code"] for line in lines] == [1013] * REFUSED
