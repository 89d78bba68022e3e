"""JupyterHub that is restarted: it stops its proxy, does not wait, and starts another at the same ports."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.hubapi import HubApi
from tests.support.processes import Service, answers, reserve_port
from tests.support.rawclient import connected

if TYPE_CHECKING:
    from tests.support.rawupstream import RawUpstream

TOKEN = "the-token-of-the-hub"


def started(log: Path, port: int, api_port: int) -> Service:
    """Start a proxy as JupyterHub does."""
    command = Path(sys.executable).parent / "bascule"
    ports = ["--ip", "127.0.0.1", "--port", str(port), "--api-ip", "127.0.0.1", "--api-port", str(api_port)]
    return Service(
        "bascule chp", [command, "chp", *ports], log, env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": TOKEN}
    )


def test_the_next_proxy_waits_for_one_whose_browser_does_not_answer(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    port, api_port = reserve_port(), reserve_port()
    api, probe = HubApi(f"http://127.0.0.1:{api_port}", TOKEN), f"http://127.0.0.1:{port}/_chp_healthz"
    first = started(tmp_path / "first.log", port, api_port)
    first.wait_until(lambda: answers(probe), 30)
    api.add("/user/ada", upstream.url)
    with connected(f"http://127.0.0.1:{port}") as asleep:
        asleep.open(b"/user/ada/x")  # and reads nothing more, like a laptop whose lid is closed

        first.process.terminate()
        second = started(tmp_path / "second.log", port, api_port)
        try:
            second.wait_until(lambda: first.process.poll() is not None and answers(probe), 30)
            assert first.process.poll() == 0
            assert api.routes() == {}
            assert "waiting for an address that is in use" in second.said()
        finally:
            statuses = [each.stop(20) for each in (first, second)]
        assert statuses == [0, 0]
