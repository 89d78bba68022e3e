"""After many sessions of every kind of end, every process has as many descriptors as before."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests.support.bascule import run_bascule
from tests.support.echo import run_echo
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.bascule import RunningBascule

DEAD = "http://127.0.0.1:1"


def descriptors(proxy: RunningBascule) -> dict[int, int]:
    """Count the open descriptors of the supervisor and its children."""
    pid = proxy.process.process.pid
    family = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    return {member: len(os.listdir(f"/proc/{member}/fd")) for member in family}


def live(proxy: RunningBascule, path: str) -> None:
    """Open a session, say something, and end it as the path says."""
    address = proxy.public_url.replace("http", "ws") + path
    with contextlib.suppress(WebSocketException, OSError), connect(address, ping_interval=None) as session:
        session.send("hello")
        session.recv(timeout=10)
        if path == "/abort":
            session.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            session.socket.close()


def test_every_descriptor_comes_back(bascule: Callable[..., RunningBascule]) -> None:
    with run_echo() as echo:
        proxy = bascule(
            {
                "routes": [
                    {"name": "echo", "path": "/", "upstream": echo},
                    {"name": "dead", "path": "/dead/", "upstream": DEAD},
                ],
                "limits": {"refusalHoldMax": 0},
                "trustedProxies": ["127.0.0.1/32"],
            }
        )
        for path in ("/close", "/abort", "/dead/x", "/%2e%2e/"):
            live(proxy, path)
        eventually(lambda: proxy.in_flight == 0, 10, "warmed up")
        before = descriptors(proxy)
        for number in range(120):
            live(proxy, ("/close", "/abort", "/dead/x", "/%2e%2e/")[number % 4])
        eventually(lambda: proxy.in_flight == 0, 10, "all are over")
        eventually(
            lambda: all(count <= before[pid] + 2 for pid, count in descriptors(proxy).items()),
            10,
            f"descriptors are back at {before}",
        )


def test_a_proxy_that_stops_leaves_nothing_for_the_collector_to_close(tmp_path: Path) -> None:
    config = {"routes": [{"name": "dead", "path": "/", "upstream": DEAD}], "forwarders": {"count": 1}}
    with run_bascule(tmp_path, config, env={"PYTHONWARNINGS": "default::ResourceWarning"}) as proxy:
        pass
    assert "ResourceWarning" not in proxy.process.said()
