"""The channels between the serving gateway and the forwarders, which the supervisor makes and hands out.

On a channel the gateway hands sessions over, and the forwarder reports what becomes of them. There is one for
each forwarder; when either process is replaced, or had no descriptor left for its end, another follows.

We keep the gateway's end of each as well: what a gateway leaves unread when it dies is still there, even if
the forwarder has died too, and the next gateway reads it. Until that has read it to its end we still keep it,
for that gateway may die as well.

Rules of this file: it makes channels; what is sent on them is none of the supervisor's business.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import structlog

from bascule.handover.control import ASK_AGAIN, ForwarderChannel, GatewayChannel, Unread, send_control
from bascule.handover.descriptors import channel_pair, is_read_out

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from bascule.supervisor.agenda import DoLater
    from bascule.supervisor.forwarderchild import ForwarderChild
    from bascule.supervisor.gatewaychild import GatewayChild
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
        self._kept: dict[tuple[GatewayChild, int], socket.socket] = {}
        """Ends of the gateways that live, by the forwarder's slot."""
        self._left: list[tuple[int, socket.socket]] = []
        """Slots and ends of those that have died, which no gateway has been given yet."""
        self._given: list[tuple[GatewayChild, int, socket.socket]] = []
        """The same, of those that a gateway which lives was given; and earlier ends of its own."""
        self._comes_back = False

    def connect_all(self) -> None:
        """Give the serving gateway a channel to each forwarder, and those that gateways have left behind."""
        self._hand_on()
        for forwarder in self._forwarders:
            self.connect(forwarder)

    def connect(self, forwarder: ForwarderChild) -> None:
        """Give the serving gateway and a forwarder a channel to each other; if that fails, do so later.

        Does nothing while one of the two is not there yet: it is to be called again when that one is.
        """
        gateway = self._gateways.serving
        # A gateway that is not prepared yet cannot act on outcomes, and may never be able to.
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
            self._keep(gateway, forwarder.slot, left)
            with right:
                send_control(forwarder.control, GatewayChannel(number), right.fileno())
                theirs = ForwarderChannel(
                    forwarder.slot, forwarder.process.pid, forwarder.hot_path, forwarder.restarts, number
                )
                send_control(gateway.control, theirs, left.fileno())
        except OSError as error:
            # No descriptors are left; or one of the two reads nothing, or has died: its pidfd tells the rest.
            _log.warning("no channel", forwarder=forwarder.name, error=str(error), retry_in=ASK_AGAIN)
            self._do_later(ASK_AGAIN, lambda: self.replace(forwarder.slot, number))

    def _keep(self, gateway: GatewayChild, slot: int, end: socket.socket) -> None:
        """Keep an end. What is left on an earlier one the gateway itself reads, unless it dies just now."""
        if (before := self._kept.get((gateway, slot))) is not None:
            self._given.append((gateway, slot, before))
            self._do_come_back()
        self._kept[gateway, slot] = end

    def on_gateways_death(self, gateway: GatewayChild) -> None:
        """A gateway has died: what it may have left unread is for the one that serves, now or once it can."""
        given, self._given = self._given, []
        for each in given:
            if each[0] is gateway:
                self._left.append(each[1:])
            else:
                self._given.append(each)
        for key in [key for key in self._kept if key[0] is gateway]:
            self._left.append((key[1], self._kept.pop(key)))
        self._hand_on()

    def _hand_on(self) -> None:
        serving = self._gateways.serving
        while self._left and serving.alive and serving.prepared and serving.control is not None:
            slot, end = self._left[0]
            try:
                send_control(serving.control, Unread(slot), end.fileno())
            except OSError:  # it reads nothing; or it has just died, and its pidfd tells the rest
                break
            del self._left[0]
            self._given.append((serving, slot, end))
        if self._left or self._given:
            self._do_come_back()

    def _do_come_back(self) -> None:
        if not self._comes_back:
            self._comes_back = True
            self._do_later(ASK_AGAIN, self._come_back)

    def _come_back(self) -> None:
        """Let go of what was read to its end, and try again to hand on the rest."""
        self._comes_back = False
        given, self._given = self._given, []
        for each in given:
            if is_read_out(each[2]):
                each[2].close()
            else:
                self._given.append(each)
        self._hand_on()

    def close(self) -> None:
        """Close all ends that are kept."""
        for end in (*self._kept.values(), *(end for _, end in self._left), *(end for *_, end in self._given)):
            end.close()

    def replace(self, slot: int, number: int, *, given_up: bool = False) -> None:
        """Make another channel in the place of a lost one, unless that was done meanwhile.

        If we made one too many and the forwarder had no descriptor for its end, the gateway would see that
        channel end, and take a living forwarder for dead.

        Args:
            slot: The forwarder's slot.
            number: Number of the channel that was lost.
            given_up: Whether the serving gateway has closed its end, perhaps with something unread.
        """
        if self._last.get(slot) == number:
            if given_up and (end := self._kept.pop((self._gateways.serving, slot), None)) is not None:
                self._left.append((slot, end))
                self._hand_on()
            self.connect(self._forwarders[slot])
