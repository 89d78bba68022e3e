"""Channels to forwarders: what is said on one is heard, whatever happens to its other end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.gateway.dispatch import Dispatch
from bascule.handover.descriptors import channel_pair, send_packet
from bascule.handover.messages import Ended

if TYPE_CHECKING:
    import socket


class Heard:
    """What a gateway was told, in order."""

    def __init__(self) -> None:
        self.log: list[tuple[str, int]] = []
        self.dispatch = Dispatch(
            {},
            on_row=lambda _, row: self.log.append(("row", row.id)),
            on_ended=lambda _, ended: self.log.append(("ended", ended.id)),
            on_lost=lambda slot: self.log.append(("lost", slot)),
        )

    def forwarder(self, slot: int) -> socket.socket:
        """Start one, and return its end of the channel."""
        ours, theirs = channel_pair()
        self.dispatch.add(slot, 1, "pure", ours)
        return theirs

    def forget(self) -> None:
        """End all channels from our side."""
        for link in list(self.dispatch.links.values()):
            self.dispatch._lose(link)


def ended(identifier: int) -> bytes:
    """Return the report of a session that ended well."""
    return Ended(identifier, 0, 0, 1000, 1.0, 0, 0, 0, 0, b"", b"").encode()


async def test_outcomes_of_a_forwarder_that_died_are_heard_before_its_successor() -> None:
    heard = Heard()
    former = heard.forwarder(0)
    for identifier in range(600):
        send_packet(former, ended(identifier))
    former.close()
    # The gateway had no turn since: it reads of the successor first.
    successor = heard.forwarder(0)
    assert heard.log == [*(("ended", identifier) for identifier in range(600)), ("lost", 0)]
    heard.forget()
    successor.close()


async def test_a_channel_that_is_replaced_is_lost_once() -> None:
    heard = Heard()
    former = heard.forwarder(0)
    successor = heard.forwarder(0)
    assert heard.log == [("lost", 0)]
    assert former.recv(1) == b""
    heard.forget()
    for end in (former, successor):
        end.close()
