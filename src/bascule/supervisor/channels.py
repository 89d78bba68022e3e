"""The channels between the serving gateway and the forwarders, which the supervisor makes and hands out.

On a channel the gateway hands sessions over, and the forwarder reports what becomes of them. There is one for
each forwarder; when either process is replaced, or had no descriptor left for its end, another follows.

Rules of this file: it makes channels; what is sent on them is none of the supervisor's business.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import structlog

from bascule.handover.control import ASK_AGAIN, ForwarderChannel, GatewayChannel, send_control
from bascule.handover.descriptors import channel_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bascule.supervisor.agenda import DoLater
    from bascule.supervisor.child import ForwarderChild
    from bascule.supervisor.gateways import Gateways

__all__ = ["Channels"]

_log = structlog.get_logger()


class Channels:
    """The channels of one proxy, numbered in the order in which they were made.

    Args:
        gateways: The gateways, of which the serving one has the channels.
        forwarders: All forwarders, by slot.
        do_later: Calls something after that many seconds.
    """

    def __init__(self, gateways: Gateways, forwarders: Sequence[ForwarderChild], do_later: DoLater) -> None:
        self._gateways = gateways
        self._forwarders = forwarders
        self._do_later = do_later
        self._numbers = itertools.count(1)
        self._last: dict[int, int] = {}

    def connect_all(self) -> None:
        """Give the serving gateway a channel to each forwarder."""
        for forwarder in self._forwarders:
            self.connect(forwarder)

    def connect(self, forwarder: ForwarderChild) -> None:
        """Give the serving gateway and a forwarder a channel to each other; if that fails, do so later.

        Does nothing while one of the two is not there yet: it is to be called again when that one is.
        """
        gateway = self._gateways.serving
        # Outcomes told to a gateway that dies before it is prepared would be lost with it, unread.
        if (
            not gateway.prepared
            or gateway.control is None
            or forwarder.control is None
            or not forwarder.ready
        ):
            return
        assert forwarder.process is not None
        number = self._last[forwarder.slot] = next(self._numbers)
        try:
            left, right = channel_pair()
            with left, right:
                send_control(forwarder.control, GatewayChannel(number), right.fileno())
                theirs = ForwarderChannel(
                    forwarder.slot, forwarder.process.pid, forwarder.hot_path, forwarder.restarts, number
                )
                send_control(gateway.control, theirs, left.fileno())
        except OSError as error:
            # No descriptors are left; or one of the two reads nothing, or has died: its pidfd tells the rest.
            _log.warning("no channel", forwarder=forwarder.name, error=str(error), retry_in=ASK_AGAIN)
            self._do_later(ASK_AGAIN, lambda: self.replace(forwarder.slot, number))

    def replace(self, slot: int, number: int) -> None:
        """Make another channel in the place of a lost one, unless that was done meanwhile.

        If we made one too many and the forwarder had no descriptor for its end, the gateway would see that
        channel end, and take a living forwarder for dead.

        Args:
            slot: The forwarder's slot.
            number: Number of the channel that was lost.
        """
        if self._last.get(slot) == number:
            self.connect(self._forwarders[slot])
