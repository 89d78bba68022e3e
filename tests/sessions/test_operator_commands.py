"""`bascule status`, `sessions`, `close` and `drain` beside a running proxy, found by its configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.processes import reserve_port
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.conftest import Start
    from tests.support.rawclient import Clients
    from tests.support.rawupstream import RawUpstream


def test_an_operator_finds_a_session_closes_it_and_drains_with_nothing_but_the_configuration(
    bascule: Start, upstream: RawUpstream, clients: Clients
) -> None:
    proxy = bascule(
        {
            "routes": [{"name": "shell", "kind": "terminal", "path": "/", "upstream": upstream.url}],
            "admin": f"0.0.0.0:{reserve_port()}",  # as in a pod
            "adminToken": "a-secret-that-is-long-enough",
        }
    )
    environment = {**os.environ, "BASCULE_CONFIG": str(proxy.file)}

    def run(*arguments: str, status: int = 0) -> str:
        command = [sys.executable, "-m", "bascule", *arguments]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (status, "")
        return done.stdout

    client = clients(proxy.public_url)
    client.open(b"/")
    client.say(b"hello")
    assert client.reply().payload == b"hello"

    (session,) = eventually(
        lambda: run("sessions", "--kind", "terminal", "--ids").split(), 10, "it is listed"
    )
    assert json.loads(run("sessions", "--json"))["id"] == session
    assert "1 of 500" in run("status")
    assert run("close", session, "--code", "1012", "--reason", "back soon") == f"{session}: 1012 back soon\n"
    said = client.reply()
    assert (said.code, said.reason) == (1012, b"back soon")

    assert run("drain").startswith("Draining; ")
    assert "not ready: draining" in run("status", status=1)
