"""Control messages between the supervisor and its children."""

from __future__ import annotations

import os

import pytest

from bascule.errors import HandoverError
from bascule.handover.control import receive_control, send_control
from bascule.handover.descriptors import PacketReader, channel_pair


def test_a_message_arrives_with_its_values_and_descriptors() -> None:
    left, right = channel_pair()
    with left, right:
        send_control(left, "channel", 0, slot=3, hot_path="pure")
        received = receive_control(right, PacketReader())
        assert received is not None
        message, descriptors = received
        assert message == {"message": "channel", "slot": 3, "hot_path": "pure"}
        assert len(descriptors) == 1
        os.close(descriptors[0])


def test_the_end_of_the_other_process_is_none() -> None:
    left, right = channel_pair()
    with right:
        left.close()
        assert receive_control(right, PacketReader()) is None


def test_what_is_no_json_is_a_handover_error() -> None:
    left, right = channel_pair()
    with left, right:
        left.send(b"{")
        with pytest.raises(HandoverError, match="not JSON"):
            receive_control(right, PacketReader())
