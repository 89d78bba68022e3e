"""The channel to the supervisor, which gives orders; the gateway says how far it has come.

Rules of this file: it carries messages and judges none, except a channel to a forwarder that came without
its descriptor, which it asks for again. What makes no sense is told to the log, and ends nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from bascule.errors import HandoverError
from bascule.handover import control
from bascule.handover.control import ASK_AGAIN, receive_control, send_control
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

    def ask_for_channel(self, slot: int, number: int) -> None:
        """Ask, a little later, for another channel to a forwarder: one did not fit, or failed.

        Args:
            slot: The forwarder's slot.
            number: Number of the channel.
        """
        asyncio.get_running_loop().call_later(ASK_AGAIN, self._ask, slot, number)

    def _read(self) -> None:
        while True:
            try:
                message, packet = receive_control(self._reader, self._channel)
            except BlockingIOError:
                return
            except HandoverError as error:
                # Whatever is wrong with the supervisor must not end what this process has begun.
                _log.error("a control message cannot be read", error=str(error))
                continue
            match message:
                case None:
                    asyncio.get_running_loop().remove_reader(self._channel.fileno())
                    self._on_end()
                    return
                case control.ForwarderChannel(slot=slot, number=number) if not packet.complete:
                    # Without one the forwarder can be given no session.
                    _log.warning(
                        "no descriptors left for a forwarder's channel", slot=slot, seconds=ASK_AGAIN
                    )
                    self.ask_for_channel(slot, number)
                case _:
                    self._on_message(message, packet)

    def _ask(self, slot: int, number: int) -> None:
        try:
            send_control(self._channel, control.ChannelLost(slot, number))
        except OSError:  # full; or the supervisor has hung up, and we are leaving
            self.ask_for_channel(slot, number)
