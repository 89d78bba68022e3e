"""What a child says just before it dies is heard. The rest: tests/sessions, tests/faults."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from bascule.policy.config import Config
from bascule.policy.loading import Loaded
from bascule.supervisor.main import Supervisor
from bascule.supervisor.sockets import Listeners

if TYPE_CHECKING:
    from pathlib import Path

SINCE = 7.5
"""What the drain of the gateway that dies began at."""

TALKER = f"""\
import socket
from bascule.handover.control import DrainBegun, Prepared, send_control
from bascule.handover.setup import GatewaySetup

control = socket.socket(fileno=GatewaySetup.read().control)
for message in (Prepared(), DrainBegun({SINCE})):
    send_control(control, message)
"""


@pytest.fixture
def talker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the module of a gateway that says two things in one instant, and is gone."""
    (tmp_path / "talker.py").write_text(TALKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "talker"


def test_all_that_a_child_said_counts_though_it_has_died(talker: str) -> None:
    """A drain that had just begun must go on: here its message is the second of two, both unread."""
    config = Config.model_validate({"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"})
    with contextlib.closing(Listeners.open(config)) as listeners:
        supervisor = Supervisor(Loaded(config, {}), listeners, None)
        gateway = supervisor._gateways.serving
        gateway.module = talker
        supervisor.start(gateway)
        assert gateway.process is not None
        assert gateway.process.wait(30) == 0

        # One turn of the loop: both descriptors are ready, and each is looked at once.
        for key, _ in supervisor._selector.select(10):
            key.data()

        assert not gateway.alive
        assert gateway.prepared
        assert supervisor._shutdown.draining_since == SINCE
