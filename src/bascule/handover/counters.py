"""Counters in shared memory: one block for each process, one writer for each block.

The supervisor creates one anonymous memory file and passes it on. The gateway in place *n*
writes block *n*: one gateway serves, the others may be former ones that still finish what they began.
The forwarder in slot *n* writes block *GATEWAYS + n*; every process may read every block. When a process
dies, its successor counts on in the same block, so no counter ever goes back. The supervisor then sets
the block's gauges to 0. In every block it notes the processor time, which a process that is killed could
not note itself; in a forwarder's also the sessions that were lost with it and that no gateway could count.
The gateway that serves notes there what the next one has to know of a forwarder.

Layout: a block is ``BLOCK_WORDS`` unsigned 64-bit words in native order, each word
written by one store. A reader sees the old or the new value of a word, never half
of one. Words of one block are not consistent with each other; nothing needs that.

Rules of this file: the order of the enumerations *is* the layout, and all
processes run the same version (`bascule.handover.setup` sees to that).
"""

from __future__ import annotations

import mmap
import os
import weakref
from enum import IntEnum, auto
from typing import TYPE_CHECKING, Final

from bascule.telemetry.durations import DURATIONS
from bascule.telemetry.roundtrips import ROUND_TRIPS
from bascule.vocabulary import CLOSE_CODE_LABELS, CLOSE_SENDERS, Cause, Direction, EndedBy, Kind, Opcode

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BLOCK_BYTES",
    "BLOCK_WORDS",
    "CAUSES",
    "CLOSE_CODES_BASE",
    "DIRECTIONS",
    "DURATIONS_BASE",
    "ENDED_BASE",
    "ENDED_BY",
    "FRAMES_BASE",
    "GATEWAYS",
    "KINDS",
    "ROUND_TRIPS_BASE",
    "TURN_EVERY",
    "CounterFile",
    "ForwarderWord",
    "GatewayWord",
    "close_code_label",
    "close_code_word",
    "durations_of",
    "ended_word",
    "frames_word",
    "round_trips_of",
]

BLOCK_WORDS: Final = 512
BLOCK_BYTES: Final = BLOCK_WORDS * 8

TURN_EVERY: Final = 1.0
"""Most seconds between two increments of ``TURNS`` by a process that does not hang."""

GATEWAYS: Final = 8
"""Places for gateways: the one that serves, one that is to take over, and former ones with work left."""


class GatewayWord(IntEnum):
    """Words at the head of a gateway's block."""

    REJECTIONS = 0
    """`Refusal.CAP`. This word and the next nine count refused upgrades; see `Refusal.meaning`."""
    UPSTREAM_CONNECT_FAILURES = auto()
    """`Refusal.UNREACHABLE`."""
    HANDSHAKES_REFUSED = auto()
    """`Refusal.HANDSHAKE`."""
    NOT_PERMITTED = auto()
    """`Refusal.NOT_PERMITTED`."""
    UPSTREAM_REFUSED = auto()
    """`Refusal.UPSTREAM`."""
    NO_ROOM = auto()
    """`Refusal.NO_ROOM`."""
    USER_CAP = auto()
    """`Refusal.USER_CAP`."""
    ROUTE_CAP = auto()
    """`Refusal.ROUTE_CAP`."""
    CLIENT_GONE = auto()
    """`Refusal.GONE`."""
    DRAINING = auto()
    """`Refusal.DRAINING`."""
    DRAINED_NATURAL = auto()
    """Sessions that a drain found open and that ended by themselves."""
    DRAINED_CLOSED = auto()
    """Sessions that a drain told to end, and that ended in time."""
    DRAINED_ABORTED = auto()
    """Sessions that a drain found open, and that were still open at its end."""
    ADMITTED = auto()
    """Leases taken while a forwarder had room."""
    HTTP_REQUESTS = auto()
    """Plain HTTP requests proxied."""
    HTTP_UPSTREAM_FAILURES = auto()
    """Plain HTTP requests answered 502 or 504 by us, 503 on a route of JupyterHub, or broken off."""
    HOLDS = auto()
    """Repeat refusals that were held back before their Close."""
    FORWARDER_LOST = auto()
    """Sessions that ended because their forwarder died, as far as a gateway counted them."""
    DISTINCT_REJECTED_CLIENTS = auto()
    """Times a client that was not refused within the hold-off window was refused by the cap."""
    PEAK_IN_FLIGHT = auto()
    """Most sessions in flight at once since start."""
    HTTP_IN_FLIGHT = auto()
    """A gauge: plain HTTP requests under way."""
    HTTP_REFUSED = auto()
    """Exchanges answered 503 for want of room: see `bascule.gateway.exchanges.ExchangeCount.refused`."""
    HTTP_2XX = auto()
    """Plain HTTP requests answered with a status of this class, and upgrades that got the upstream's own."""
    HTTP_3XX = auto()
    HTTP_4XX = auto()
    HTTP_5XX = auto()
    TURNS = auto()
    """Rises every `TURN_EVERY` while its loop goes round (`bascule.supervisor.watch`)."""
    COLLECTOR_NANOSECONDS = auto()
    """Time spent in Python's cycle collector."""
    CPU_NANOSECONDS = auto()
    """Time on a CPU of all processes that the place has had; the supervisor writes it."""
    WAIT_NANOSECONDS = auto()
    """Time for which these were ready to run but had no CPU; the supervisor writes it."""


class ForwarderWord(IntEnum):
    """Single words at the head of a forwarder's block."""

    HEARTBEATS = 0
    ALLOCATED_BYTES = auto()
    """Bytes requested from the allocators; stays 0 where the extension is absent."""
    PINGS_ANSWERED_UPSTREAM = auto()
    PINGS_ANSWERED_BROWSER = auto()
    STASHED_BYTES = auto()
    """A gauge: bytes read that the other side could not take yet."""
    OPEN = auto()
    """A gauge: sessions held now, and those whose outcome is not counted yet. So this is how many are lost if
    the process dies now."""
    PAYLOAD_INBOUND = auto()
    """WebSocket payload bytes of data frames whose header was accepted, towards the upstream."""
    PAYLOAD_OUTBOUND = auto()
    TURNS = auto()
    """Rises every `TURN_EVERY`, or oftener, while its loop goes round (`bascule.supervisor.watch`)."""
    CHANNEL = auto()
    """Number of the channel on which the slot's process, or the last one that had any, tells its outcomes.
    The gateway at the other end counts what is lost with the process, and no former one does."""
    LOST_COUNTED = auto()
    """For which of the slot's last processes the lost sessions have been counted. Written by the process that
    counts them (`bascule.handover.losses`)."""
    LOST_TOLD = auto()
    """The same, of those whose lost sessions a gateway that knew all of them has logged."""
    LOST = auto()
    """Sessions that died with a process of the slot and that no gateway counted; the supervisor writes it."""
    CPU_NANOSECONDS = auto()
    """Time on a CPU of all processes that the slot has had; the supervisor writes it."""
    WAIT_NANOSECONDS = auto()
    """Time for which these were ready to run but had no CPU; the supervisor writes it."""
    GIVEN = auto()
    """A gauge: sessions that the process has, and those on their way to it, as the gateway that serves knows
    or knew them. The next gateway reckons with them until the forwarder has listed what it carries."""
    DIED_ON = auto()
    """What ``CHANNEL`` was when the slot's last process died, for a gateway that hears of the death only when
    the next process has written there. The supervisor writes it."""


FRAMES_BASE: Final = 32
"""In a forwarder's block: one word per direction and opcode, ``FRAMES_BASE + direction * 16 + opcode``."""
ENDED_BASE: Final = 64
"""Then one word per kind, ended-by and cause. A gateway's block has these words as well, for
sessions whose forwarder died before it could count them."""
CLOSE_CODES_BASE: Final = 192
"""Then one word per sender of a Close frame and close-code label."""
DURATIONS_BASE: Final = 256
"""Then the histogram of durations (`bascule.telemetry.durations`); a gateway's is that of sessions that were
lost with their forwarder."""
ROUND_TRIPS_BASE: Final = 288
"""Then, in a forwarder's block, the histogram of browsers' round trips (`bascule.telemetry.roundtrips`)."""

KINDS: Final = tuple(Kind)
DIRECTIONS: Final = tuple(Direction)
ENDED_BY: Final = tuple(EndedBy)
CAUSES: Final = tuple(Cause)


def frames_word(direction: Direction, opcode: Opcode) -> int:
    """Return the word that counts frames of one opcode in one direction."""
    return FRAMES_BASE + DIRECTIONS.index(direction) * 16 + int(opcode)


def ended_word(kind: Kind, ended_by: EndedBy, cause: Cause) -> int:
    """Return the word that counts sessions of one kind that ended in one way."""
    row = (KINDS.index(kind) * len(ENDED_BY) + ENDED_BY.index(ended_by)) * len(CAUSES) + CAUSES.index(cause)
    return ENDED_BASE + row


def close_code_label(code: int | None) -> str:
    """Return the closed label of a close code; ``None`` is a Close frame without one."""
    if code is None:
        return "none"
    text = str(code)
    if text in CLOSE_CODE_LABELS:
        return text
    if 3000 <= code <= 3999:
        return "3000-3999"
    if 4000 <= code <= 4999:
        return "4000-4999"
    return "other"


def close_code_word(sender: str, label: str) -> int:
    """Return the word that counts Close frames with one label from one sender (`CLOSE_SENDERS`)."""
    return (
        CLOSE_CODES_BASE
        + CLOSE_SENDERS.index(sender) * len(CLOSE_CODE_LABELS)
        + CLOSE_CODE_LABELS.index(label)
    )


def durations_of(block: memoryview) -> memoryview:
    """Return the histogram of durations in a process's block."""
    return block[DURATIONS_BASE : DURATIONS_BASE + DURATIONS.words]


def round_trips_of(block: memoryview) -> memoryview:
    """Return the histogram of browsers' round trips in a forwarder's block."""
    return block[ROUND_TRIPS_BASE : ROUND_TRIPS_BASE + ROUND_TRIPS.words]


class CounterFile:
    """The shared memory file, mapped into this process.

    Args:
        descriptor: The memory file. Kept open; `descriptor` hands it to children.
        forwarders: Number of forwarder slots; the file has a block for each, and one for each place of a
            gateway.
    """

    def __init__(self, descriptor: int, forwarders: int) -> None:
        self.descriptor = descriptor
        self.forwarders = forwarders
        self._map = mmap.mmap(descriptor, (GATEWAYS + forwarders) * BLOCK_BYTES)
        self._words = memoryview(self._map).cast("Q")

    @classmethod
    def create(cls, forwarders: int) -> CounterFile:
        """Create a zeroed file for so many forwarder slots; its descriptor is closed with the object."""
        descriptor = os.memfd_create("bascule-counters", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, (GATEWAYS + forwarders) * BLOCK_BYTES)
        created = cls(descriptor, forwarders)
        weakref.finalize(created, os.close, descriptor)
        return created

    def gateway(self, place: int) -> memoryview:
        """Return the block of a gateway's place as writable 64-bit words.

        Raises:
            IndexError: There is no such place.
        """
        if not 0 <= place < GATEWAYS:
            raise IndexError(f"place {place} of {GATEWAYS}")
        return self._block(place)

    def forwarder(self, slot: int) -> memoryview:
        """Return the block of a forwarder slot as writable 64-bit words.

        Raises:
            IndexError: There is no such slot.
        """
        if not 0 <= slot < self.forwarders:
            raise IndexError(f"forwarder slot {slot} of {self.forwarders}")
        return self._block(GATEWAYS + slot)

    def _block(self, number: int) -> memoryview:
        return self._words[number * BLOCK_WORDS : (number + 1) * BLOCK_WORDS]

    def total(self, word: int) -> int:
        """Return one forwarder word summed over all slots."""
        return sum(self._each(word)[GATEWAYS:])

    def of_gateways(self, word: int) -> int:
        """Return one word of the gateways summed over all places."""
        return sum(self._each(word)[:GATEWAYS])

    def peak(self) -> int:
        """Return the most sessions in flight at once since the start, whichever gateway saw them."""
        return max(self._each(GatewayWord.PEAK_IN_FLIGHT)[:GATEWAYS])

    def _each(self, word: int) -> Sequence[int]:
        """Return one word of every block."""
        return self._words[word::BLOCK_WORDS].tolist()

    def ended(self, kind: Kind, ended_by: EndedBy, cause: Cause) -> int:
        """Return how many sessions of one kind ended in one way, whoever counted them."""
        word = ended_word(kind, ended_by, cause)
        return self.total(word) + self.of_gateways(word)

    def durations(self) -> list[int]:
        """Return the histogram of the durations of all sessions that ended, whoever counted them.

        Sessions that were lost with their forwarder while there was no gateway are not included.
        """
        words = range(DURATIONS_BASE, DURATIONS_BASE + DURATIONS.words)
        return [sum(self._each(word)) for word in words]

    def round_trips(self) -> list[int]:
        """Return the histogram of all browsers' round trips."""
        words = range(ROUND_TRIPS_BASE, ROUND_TRIPS_BASE + ROUND_TRIPS.words)
        return [self.total(word) for word in words]

    def lost_count(self) -> int:
        """Return how many sessions were lost with their forwarder, whoever counted them."""
        return self.of_gateways(GatewayWord.FORWARDER_LOST) + self.total(ForwarderWord.LOST)


assert max(ForwarderWord) < FRAMES_BASE
assert max(GatewayWord) < ENDED_BASE
assert FRAMES_BASE + 32 <= ENDED_BASE
assert ENDED_BASE + len(KINDS) * len(ENDED_BY) * len(CAUSES) <= CLOSE_CODES_BASE
assert CLOSE_CODES_BASE + len(CLOSE_SENDERS) * len(CLOSE_CODE_LABELS) <= DURATIONS_BASE
assert DURATIONS_BASE + DURATIONS.words <= ROUND_TRIPS_BASE
assert ROUND_TRIPS_BASE + ROUND_TRIPS.words <= BLOCK_WORDS
