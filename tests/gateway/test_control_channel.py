"""The gateway's channel to the supervisor."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from bascule.gateway import control_channel
from bascule.gateway.control_channel import ControlChannel
from bascule.handover import control
from bascule.handover.control import read_control, send_control
from tests.support.fewdescriptors import no_descriptors_left

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bascule.handover.descriptors import Packet

CHANNEL = control.ForwarderChannel(slot=1, pid=7, hot_path="pure", restarts=0, number=42)


class Rig:
    """A started channel, the supervisor's end of it, and what it has reported."""

    def __init__(self) -> None:
        self.supervisor, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.supervisor.setblocking(False)
        self.heard: list[tuple[control.ControlMessage, int]] = []
        self.changed = asyncio.Event()
        self.ended = asyncio.Event()
        self.channel = ControlChannel(ours)
        self.ours = ours

    def start(self) -> None:
        self.channel.start(self._on_message, self.ended.set)

    def _on_message(self, message: control.ControlMessage, packet: Packet) -> None:
        for descriptor in packet.descriptors:
            os.close(descriptor)
        self.heard.append((message, len(packet.descriptors)))
        self.changed.set()

    async def told(self) -> control.ControlMessage:
        return read_control(await asyncio.get_running_loop().sock_recv(self.supervisor, 65536))


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.supervisor.close()
    made.ours.close()


def send_channel(rig: Rig) -> None:
    """Send the forwarder's channel; any descriptor will do."""
    send_control(rig.supervisor, CHANNEL, rig.supervisor.fileno())


async def test_messages_arrive_in_order_and_a_forwarders_channel_with_its_descriptor(rig: Rig) -> None:
    send_channel(rig)
    send_control(rig.supervisor, control.Retire())
    rig.start()

    await asyncio.wait_for(rig.changed.wait(), 5)

    assert rig.heard == [(CHANNEL, 1), (control.Retire(), 0)]


async def test_a_channel_that_came_without_its_descriptor_is_asked_for_until_the_question_is_sent(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [BlockingIOError(), BlockingIOError()]

    def send(channel: socket.socket, message: control.ControlMessage) -> None:
        if full:
            raise full.pop()
        send_control(channel, message)

    monkeypatch.setattr(control_channel, "ASK_AGAIN", 0.01)
    monkeypatch.setattr(control_channel, "send_control", send)
    send_channel(rig)
    rig.start()

    with no_descriptors_left():
        assert await asyncio.wait_for(rig.told(), 5) == control.ChannelLost(slot=1, number=42)
    assert rig.heard == []


async def test_a_supervisor_that_hangs_up_is_noticed_once_and_told_nothing_more(rig: Rig) -> None:
    rig.start()
    rig.supervisor.close()

    await asyncio.wait_for(rig.ended.wait(), 5)

    rig.channel.say(control.Ready())
    assert rig.heard == []


async def test_what_makes_no_sense_is_told_once_and_the_supervisor_is_heard_on(rig: Rig) -> None:
    left, right = socket.socketpair()
    with left:
        with right:
            socket.send_fds(rig.supervisor, [b"no JSON"], [right.fileno()])
        send_control(rig.supervisor, control.Retire())
        with capture_logs() as lines:
            rig.start()
            await asyncio.wait_for(rig.changed.wait(), 5)
        assert left.recv(1) == b"", "no descriptor is kept"
    assert rig.heard == [(control.Retire(), 0)]
    assert [line["event"] for line in lines] == ["a control message cannot be read"]


async def test_a_channel_that_failed_is_asked_for_a_little_later(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_channel, "ASK_AGAIN", 0.01)
    rig.channel.ask_for_channel(1, 42)
    assert await asyncio.wait_for(rig.told(), 5) == control.ChannelLost(slot=1, number=42)
