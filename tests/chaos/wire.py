"""Frames and messages on asyncio's streams; each message can be checked wherever it arrives."""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from collections import Counter
from itertools import pairwise
from typing import Final, NamedTuple

from tests.support.farends import reset_on_close
from tests.support.frames import BINARY, CLOSE, CONTINUATION, frame, xor

__all__ = [
    "END",
    "LARGEST",
    "PAYLOAD",
    "REPLY",
    "RESET",
    "SAY_CLOSE",
    "Message",
    "Peer",
    "Said",
    "Tally",
    "content",
    "tallied",
]

Tally = Counter[int]
"""Frames in one direction, as one end saw them, by opcode; at `PAYLOAD` the payload bytes of data frames."""

PAYLOAD: Final = -1

REPLY, SAY_CLOSE, END, RESET = range(4)
"""What an upstream is told to do when it has replied."""

LARGEST: Final = 1 << 20
_NOISE: Final = random.Random(0).randbytes(2 * LARGEST)
_HEAD: Final = struct.Struct("!IIIB")


def content(number: int, place: int, size: int) -> bytes:
    """Return the bytes that stand at a place of a session or a request."""
    at = (number * 7919 + place * 104_729) % LARGEST
    return _NOISE[at : at + size]


def tallied(tally: Tally, opcode: int, size: int) -> None:
    """Note a frame in a tally."""
    tally[opcode] += 1
    if opcode < CLOSE:
        tally[PAYLOAD] += size


class Said(NamedTuple):
    """What a Close frame says."""

    code: int | None
    reason: str

    @classmethod
    def of(cls, payload: bytes) -> Said:
        """Read it."""
        return cls(int.from_bytes(payload[:2], "big") if payload else None, payload[2:].decode())

    @property
    def payload(self) -> bytes:
        """Its bytes."""
        return b"" if self.code is None else self.code.to_bytes(2, "big") + self.reason.encode()


class Message(NamedTuple):
    """A message of a session, or its reply.

    Attributes:
        number: The session's.
        place: How many came before it in its direction.
        reply: Bytes that its reply is to have.
        order: What the upstream is to do.
        size: Bytes behind the head.
    """

    number: int
    place: int
    reply: int
    order: int
    size: int

    def encoded(self) -> bytes:
        """Return its bytes."""
        head = _HEAD.pack(self.number, self.place, self.reply, self.order)
        return head + content(self.number, self.place, self.size)

    @classmethod
    def decoded(cls, data: bytes) -> Message | None:
        """Return what some bytes say; ``None`` if any of them is wrong."""
        if len(data) < _HEAD.size:
            return None
        number, place, reply, order = _HEAD.unpack_from(data)
        message = cls(number, place, reply, order, len(data) - _HEAD.size)
        return message if message.encoded() == data else None


class Peer:
    """One end of a session; what it says is lost if the connection has ended.

    Args:
        reader: Of its connection.
        writer: Of its connection.
        sent: Gets each valid frame that it begins to send.
        came: Gets each frame that came whole.
        dice: Chooses the masks of a browser; ``None`` for an upstream.

    Attributes:
        end: How the stream ended.
        mid_frame: Whether the frame that began last has not come whole.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        sent: Tally,
        came: Tally,
        dice: random.Random | None = None,
    ) -> None:
        self.writer = writer
        self.end = ""
        self.mid_frame = False
        self.sent = sent
        self._came = came
        self._reader = reader
        self._dice = dice

    async def hear(self) -> tuple[int, bytes] | None:
        """Return the next message or control frame; ``None`` when the stream ends, however it does."""
        whole, first = b"", 0
        try:
            while True:
                opcode, fin, payload = await self._frame()
                if opcode >= CLOSE:
                    return opcode, payload
                whole += payload
                first = opcode or first
                if fin:
                    return first, whole
        except (asyncio.IncompleteReadError, OSError) as end:
            self.end = repr(end)
            return None

    async def _frame(self) -> tuple[int, bool, bytes]:
        read = self._reader.readexactly
        first, second = await read(2)
        self.mid_frame = True
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(await read(2 if length == 126 else 8), "big")
        key = await read(4) if second & 0x80 else None
        payload = await read(length)
        self.mid_frame = False
        tallied(self._came, first & 0x0F, length)
        return first & 0x0F, bool(first & 0x80), payload if key is None else xor(payload, key)

    async def send(self, data: bytes) -> None:
        """Send some bytes."""
        with contextlib.suppress(OSError, RuntimeError):  # it has ended, or we have ended our direction
            self.writer.write(data)
            await self.writer.drain()

    async def say(self, opcode: int, payload: bytes, cuts: tuple[int, ...] = ()) -> None:
        """Send a message or a control frame, divided into frames where ``cuts`` says."""
        edges = (0, *cuts, len(payload))
        for begin, end in pairwise(edges):
            key = self._dice.randbytes(4) if self._dice else None
            kind, fin = CONTINUATION if begin else opcode, end == len(payload)
            tallied(self.sent, kind, end - begin)
            await self.send(frame(kind, payload[begin:end], fin=fin, key=key))

    async def tell(self, message: Message, cuts: tuple[int, ...] = ()) -> None:
        """Send a message."""
        await self.say(BINARY, message.encoded(), cuts)

    def reset(self) -> None:
        """End the connection with a reset."""
        with contextlib.suppress(OSError):
            reset_on_close(self.writer.get_extra_info("socket"))
        self.writer.transport.abort()
