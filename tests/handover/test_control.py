"""Control messages between the supervisor and its children."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from bascule.errors import HandoverError
from bascule.handover.control import (
    BeginDrain,
    ChangeIntervals,
    ForwarderChannel,
    Misread,
    NotReloaded,
    Serve,
    read_control,
    receive_control,
    send_control,
)
from bascule.handover.descriptors import PacketReader, channel_pair

if TYPE_CHECKING:
    from bascule.handover.control import ControlMessage


@pytest.mark.parametrize(
    "message",
    [
        ForwarderChannel(3, 17, "pure", 0, 5),
        ChangeIntervals(0, 60.0, 2**63, 0.5),
        BeginDrain(12.5),
        Serve([0, 2], None, reloaded=False),
        NotReloaded(),
    ],
)
def test_a_message_arrives_with_its_values_and_descriptors(message: ControlMessage) -> None:
    left, right = channel_pair()
    with left, right:
        send_control(left, message, 0)
        packet = PacketReader().receive(right)
        assert read_control(packet.data) == message
        (descriptor,) = packet.descriptors
        os.close(descriptor)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"{}",
        b"[]",
        b'["Serve"]',
        b'["Nothing", {}]',
        b'["Serve", {}]',
        b'["Serve", 1]',
        b"[[], {}]",
        b"\xff",
    ],
)
def test_what_is_no_message_is_a_handover_error(data: bytes) -> None:
    with pytest.raises(HandoverError, match="no control message"):
        read_control(data)


def test_a_message_is_received_with_its_packet() -> None:
    ours, theirs = channel_pair()
    with ours, theirs:
        send_control(theirs, Misread("what"))
        message, packet = receive_control(PacketReader(), ours)
        assert message == Misread("what")
        assert packet.descriptors == ()


def test_the_end_of_a_channel_is_no_message() -> None:
    ours, theirs = channel_pair()
    with ours:
        theirs.close()
        assert receive_control(PacketReader(), ours)[0] is None


def test_what_is_no_message_leaves_no_descriptor_open() -> None:
    ours, theirs = channel_pair()
    reading, writing = os.pipe()
    with ours, theirs:
        socket.send_fds(theirs, [b"what"], [writing])
        os.close(writing)
        with pytest.raises(HandoverError):
            receive_control(PacketReader(), ours)
        assert os.read(reading, 1) == b""  # nobody has the other end any more
    os.close(reading)
