"""A gateway before it serves: its supervisor hangs up, a stop has begun, or a channel is lost on its way."""

from __future__ import annotations

import contextlib
import fcntl
import json
import resource
import select
import socket
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest

from bascule.handover.control import (
    ASK_AGAIN,
    BeginDrain,
    ChannelLost,
    ForwarderChannel,
    read_control,
    send_control,
)
from bascule.handover.counters import CounterFile
from bascule.handover.descriptors import PacketReader, channel_pair, send_packet
from bascule.handover.journal import Journal
from bascule.handover.messages import Listed, Live
from bascule.telemetry.errand import Errand
from bascule.vocabulary import Kind
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGIN = """
import asyncio, json, sys, time
from bascule.gateway import main as module
from bascule.gateway.main import Gateway, main
from bascule.gateway.setup import GatewaySetup
from bascule.configuration.config import Config

class Slow(Gateway):
    async def _close(self):
        asyncio.get_running_loop().call_soon(time.sleep, float(sys.argv[2]))
        await super()._close()

module.Gateway = Slow
main(GatewaySetup(**json.loads(sys.argv[1]), config=Config()))
"""
"""Becomes a gateway. A copy of this process would not do: tests have threads."""

TAG = Errand("lab", Kind.JUPYTER, "10.0.0.7", "lab:8888", None).tag()
"""What it has to know of a session."""


class Gateway:
    """A gateway that waits for its one forwarder; the test is that, and the supervisor.

    Args:
        stands_still: Seconds for which it stands still as it leaves.
    """

    def __init__(self, stands_still: float = 0.0) -> None:
        self.control, theirs = channel_pair()
        counters, figures, hub = CounterFile.create(1), Journal.create("figures"), Journal.create("hub")
        with (
            socket.create_server(("127.0.0.1", 0)) as public,
            socket.create_server(("127.0.0.1", 0)) as admin,
        ):
            inherited = {
                "control": theirs.fileno(), "counters": counters.descriptor, "public": public.fileno(),
                "admin": admin.fileno(), "figures": figures.descriptor, "hub": hub.descriptor,
            }  # fmt: skip
            told = {**inherited, "forwarders": 1, "sources": {}, "forwarder_restarts": [0]}
            self.process = subprocess.Popen(
                [sys.executable, "-c", BEGIN, json.dumps(told), str(stands_still)],
                pass_fds=tuple(inherited.values()),
                stderr=subprocess.PIPE,
            )
        self.their_control = theirs
        assert eventually(self.says, 30, "it is prepared") == "Prepared"

    def says(self) -> str | None:
        """Return what it has said next; ``None`` when that is nothing yet."""
        with contextlib.suppress(BlockingIOError):
            packet = PacketReader().receive(self.control)
            return type(read_control(packet.data)).__name__ if packet.data else "nothing"
        return None

    def drain(self) -> None:
        """Tell it to drain, and wait until it has read that."""
        send_control(self.control, BeginDrain(time.monotonic()))
        eventually(lambda: not any(fcntl.ioctl(self.control, termios.TIOCOUTQ, bytes(4))), 30, "it is read")

    def serve(self) -> list[str | None]:
        """Let it serve, by the list of a forwarder with a session; return what it says until then."""
        said: list[str | None] = []
        with self.connect() as forwarder:
            send_packet(forwarder, Live(0, 7, 0, 0.0, 0.0, -1.0, 0, 0, 0, 0, TAG).encode())
            send_packet(forwarder, Listed(0).encode())
            while "Ready" not in said:
                said.append(eventually(self.says, 30, "it goes on"))
        return said

    def leaves(self) -> bytes:
        """Hang up; return what it prints until it has left."""
        self.their_control.close()
        self.control.close()
        errors = self.process.communicate(timeout=8)[1]
        assert self.process.returncode == 0
        return errors

    def connect(self) -> socket.socket:
        """Give it the channel to its forwarder, whose end is returned."""
        ours, theirs = channel_pair()
        with theirs:
            send_control(self.control, ForwarderChannel(0, 1, "pure", 0, 1), theirs.fileno())
        ours.setblocking(True)
        ours.settimeout(10)
        return ours


@pytest.fixture
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    gateway = Gateway(*getattr(request, "param", ()))
    yield gateway
    gateway.process.kill()
    gateway.process.communicate()
    gateway.control.close()
    gateway.their_control.close()


def test_one_that_waits_for_its_forwarders_leaves_at_once_and_without_a_word(gateway: Gateway) -> None:
    assert gateway.leaves() == b""


@pytest.mark.parametrize("gateway", [(0.5,)], indirect=True)
def test_one_that_stood_still_as_it_left_has_closed_its_connections_to_upstreams(gateway: Gateway) -> None:
    gateway.serve()
    assert b"Unclosed" not in gateway.leaves()


def test_one_that_does_not_know_its_sessions_yet_does_not_say_that_none_is_left(gateway: Gateway) -> None:
    gateway.drain()
    assert gateway.serve() == ["DrainBegun", "Ready"]


def test_a_channel_is_asked_for_again_when_a_supervisor_that_stood_still_reads_on(gateway: Gateway) -> None:
    pid = gateway.process.pid
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with contextlib.suppress(BlockingIOError):
        while True:  # whatever it has not read
            gateway.their_control.send(b"x" * 4096)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limit[1]))
    with gateway.connect() as lost:
        assert lost.recv(1) == b""  # it has found no room for it
    time.sleep(1.5 * ASK_AGAIN)
    said = b"x"
    while said.startswith(b"x"):
        select.select([gateway.control], [], [], 10)
        said = gateway.control.recv(4096)
    assert read_control(said) == ChannelLost(0, 1)
