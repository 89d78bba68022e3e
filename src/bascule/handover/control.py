"""What the supervisor and its children say to each other: JSON packets on a channel.

These are rare (starts, deaths, stops), so they are readable rather than small.

================  ==============  =====================================================
message           to              meaning
================  ==============  =====================================================
``channel``       both            a new gateway-forwarder channel (one descriptor)
``intervals``     forwarder       go over to other times for heartbeats, idleness and closing handshakes
``drain``         gateway         refuse new sessions, end the live ones
``retire``        gateway         another takes over: take nothing more, end what was begun
``serve``         gateway         take over, with the forwarders of these slots; go on with a drain
``not_reloaded``  gateway         the configuration could not be loaded again
``ready``         supervisor      the child works
``prepared``      supervisor      the gateway has all it needs: it could take over, or be given channels
``retired``       supervisor      the gateway has nothing left but what ends by itself
``channel_lost``  supervisor      a ``channel`` came without its descriptor: make another
``draining``      supervisor      a drain has begun, and when: the gateways to come go on with it
``drained``       supervisor      no session is left, or no time
================  ==============  =====================================================
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from bascule.errors import HandoverError
from bascule.handover.descriptors import send_packet

if TYPE_CHECKING:
    import socket

ASK_AGAIN: Final = 1.0
"""Seconds from a ``channel`` without its descriptor to ``channel_lost``: a line is logged each time."""


def send_control(channel: socket.socket, message: str, *descriptors: int, **values: Any) -> None:
    """Send one control message.

    Raises:
        OSError: The other process is gone, or does not read.
    """
    send_packet(channel, json.dumps({"message": message, **values}).encode(), descriptors)


def read_control(packet: bytes) -> dict[str, Any]:
    """Read one control message, the data of a `bascule.handover.descriptors.Packet`.

    Raises:
        HandoverError: It is not a control message.
    """
    try:
        message: dict[str, Any] = json.loads(packet)
    except ValueError as error:
        raise HandoverError("a control message that is not JSON") from error
    return message
