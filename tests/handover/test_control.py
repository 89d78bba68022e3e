"""Control messages between the supervisor and its children."""

from __future__ import annotations

import os

import pytest

from bascule.errors import HandoverError
from bascule.handover.control import read_control, send_control
from bascule.handover.descriptors import PacketReader, channel_pair


def test_a_message_arrives_with_its_values_and_descriptors() -> None:
    left, right = channel_pair()
    with left, right:
        send_control(left, "channel", 0, slot=3, hot_path="pure")
        packet = PacketReader().receive(right)
        assert read_control(packet.data) == {"message": "channel", "slot": 3, "hot_path": "pure"}
        (descriptor,) = packet.descriptors
        os.close(descriptor)


def test_what_is_no_json_is_a_handover_error() -> None:
    with pytest.raises(HandoverError, match="not JSON"):
        read_control(b"{")
