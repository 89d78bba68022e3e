"""A gateway's channels to forwarders whose part the tests play, and what it was told on them."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from bascule.gateway.life import Life
from bascule.gateway.sessions.dispatch import Dispatch
from bascule.gateway.sessions.links import Links
from bascule.handover.control import ForwarderChannel
from bascule.handover.counters import ForwarderWord
from bascule.handover.descriptors import channel_pair, send_packet
from bascule.handover.messages import Ended, Listed, Live

if TYPE_CHECKING:
    import socket

    from bascule.gateway.sessions.link import Link


class Heard:
    """What a gateway was told, in order.

    Attributes:
        listed: With each list: the slot, the sessions, and whether others have been counted.
        asked: Slots and numbers of the channels in whose place another was asked for.
    """

    def __init__(self, most: int | None = None, life: Life | None = None) -> None:
        self.log: list[tuple[str, int]] = []
        self.listed: list[tuple[int, set[int], bool]] = []
        self.asked: list[tuple[int, int]] = []
        self.words: defaultdict[int, list[int]] = defaultdict(lambda: [0] * len(ForwarderWord))
        self.started = 0
        self.channels = 0
        self.counts: Counter[int] = Counter()
        self.links = Links(
            counts=self.counts,
            books=self,
            ask=lambda *lost: self.asked.append(lost),
            words=lambda slot: self.words[slot],
            life=life or Life(),
            slots=2,
        )
        self.dispatch = Dispatch(self.links, self.counts, most)

    def on_live(self, _: int, live: Live) -> None:
        self.log.append((("live",)[live.kind], live.id))

    def on_ended(self, _: int, ended: Ended) -> None:
        self.log.append(("ended", ended.id))

    def on_listed(self, slot: int, carried: set[int], counted: bool) -> None:
        self.listed.append((slot, carried, counted))

    def on_lost(self, link: Link) -> None:
        self.log.append(("lost", link.slot))

    def forwarder(self, slot: int) -> socket.socket:
        """Start one, and return its end of the channel."""
        self.started += 1
        return self.channel(slot)

    def channel(self, slot: int) -> socket.socket:
        """Return the forwarder's end of a channel to the one that was started last."""
        ours, theirs = channel_pair()
        self.channels += 1
        self.words[slot][ForwarderWord.CHANNEL] = self.channels
        self.links.add(ForwarderChannel(slot, 1, "pure", self.started, self.channels), ours)
        return theirs

    def forget(self) -> None:
        """End all channels from our side."""
        for link in self.links.by_slot.values():
            link.close()


def ended(identifier: int) -> bytes:
    """Return the report of a session that ended well."""
    return Ended(identifier, 0, 0, 1000, 1.0, 0.0, 0, 0, 0, 0, b"", b"").encode()


def live(request: int, identifier: int) -> bytes:
    """Return what a forwarder says of one session in a list."""
    return Live(request, identifier, 0, 0.0, 0.0, -1.0, 0, 0, 0, 0, b"").encode()


async def changed(heard: Heard) -> None:
    """Wait until a channel is listed, or has ended."""
    heard.links.changed.clear()
    async with asyncio.timeout(5):
        await heard.links.changed.wait()


async def failed(heard: Heard, nonsense: bytes = b"\xff") -> socket.socket:
    """Start a forwarder that lists sessions 1 and 2, and then says what makes no sense."""
    channel = heard.forwarder(0)
    send_packet(channel, live(0, 1) + live(0, 2) + Listed(0).encode())
    await changed(heard)
    send_packet(channel, nonsense)
    await changed(heard)
    return channel
