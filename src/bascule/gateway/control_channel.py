"""The channel to the supervisor, which gives orders; the gateway says how far it has come.

Rules of this file: it carries messages and judges none, except a channel to a forwarder that came without
its descriptor, which it asks for again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from bascule.handover import control
from bascule.handover.control import ASK_AGAIN, read_control, send_control
from bascule.handover.descriptors import PacketReader

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from bascule.handover.descriptors import Packet

__all__ = ["ControlChannel"]

_log = structlog.get_logger()


class ControlChannel:
    """This gateway's channel to the supervisor.

    Args:
        channel: Where the supervisor sends packets, and gets them.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel: Final = channel
        self._reader = PacketReader()

    def start(
        self, on_message: Callable[[control.ControlMessage, Packet], None], on_end: Callable[[], None]
    ) -> None:
        """Begin to read.

        Args:
            on_message: Called with each message and its packet; that of a forwarder's channel is complete.
            on_end: Called once, when the supervisor has hung up.
        """
        self._on_message, self._on_end = on_message, on_end
        self._channel.setblocking(False)
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._read)

    def say(self, message: control.ControlMessage) -> None:
        """Tell the supervisor something; one that has hung up is told nothing, since we leave then."""
        with contextlib.suppress(OSError):
            send_control(self._channel, message)

    def _read(self) -> None:
        while True:
            try:
                packet = self._reader.receive(self._channel)
            except BlockingIOError:
                return
            if not packet.data:
                asyncio.get_running_loop().remove_reader(self._channel.fileno())
                self._on_end()
                return
            match read_control(packet.data):
                case control.ForwarderChannel(slot=slot, number=number) if not packet.complete:
                    # Without one the forwarder can be given no session.
                    _log.warning(
                        "no descriptors left for a forwarder's channel", slot=slot, seconds=ASK_AGAIN
                    )
                    self._ask_later(control.ChannelLost(slot, number))
                case message:
                    self._on_message(message, packet)

    def _ask_later(self, lost: control.ChannelLost) -> None:
        asyncio.get_running_loop().call_later(ASK_AGAIN, self._ask, lost)

    def _ask(self, lost: control.ChannelLost) -> None:
        try:
            send_control(self._channel, lost)
        except OSError:  # full; or the supervisor has hung up, and we are leaving
            self._ask_later(lost)
