"""Browsers whose sessions come and go: each checks every byte and their order, and notes how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from bascule.protocol.closing import End
from bascule.vocabulary import Direction
from tests.chaos.connections import far_inode, near_end
from tests.chaos.upstream import GOODBYE
from tests.chaos.wire import END, LARGEST, REPLY, RESET, SAY_CLOSE, Message, Peer, Said, tallied
from tests.support.frames import BINARY, CLOSE, PING, PONG, frame, header
from tests.support.rawclient import upgrade

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.chronicle import Story
    from tests.chaos.scene import Scene

__all__ = ["CEILING", "PATIENCE", "Browser"]

CEILING: Final = 2 * LARGEST
"""``incomingBufferBytes``."""

PATIENCE: Final = 60.0
"""Seconds after which something that should happen never will, whatever is done to the proxy meanwhile."""

_SIZES: Final = (0, 1, 100, 125, 126, 1000, 20_000, 65_535, 70_000)
_MANNERS: Final = {"chatty": 8, "big": 2, "deaf": 3, "idle": 4}
_ENDINGS: Final = {
    "close": 6, "reset": 3, "half close": 2, "break off": 1, "stay": 3, "too big": 1, "nonsense": 1,
    "upstream closes": 3, "upstream ends": 1, "upstream resets": 1,
}  # fmt: skip
"""How likely each is."""

_KEY: Final = bytes(4)


class Browser:
    """One upgrade, and what becomes of it.

    Args:
        scene: Where.
        story: Its own.
        path: At which it opens a session, up to its number.
    """

    def __init__(self, scene: Scene, story: Story, path: str) -> None:
        self._scene = scene
        self._story = story
        self._path = path
        self._dice = random.Random(f"{scene.seed}/{story.number}")
        self._expected: deque[Message] = deque()
        self._moved = asyncio.Condition()
        self._is_over = False
        self._sent = 0

    async def live(self) -> None:
        """From the upgrade to the end of the connection."""
        try:
            async with asyncio.timeout(PATIENCE):
                opened = await self._open()
            if opened is not None:
                await self._converse(opened)
        except TimeoutError:
            self._wrong("no answer to an upgrade")
        except (OSError, asyncio.IncompleteReadError):
            pass  # cut, which is judged later
        self._story.over_at = self._story.over_at or time.monotonic()

    def _wrong(self, what: str) -> None:
        self._scene.chronicle.wrong(f"session {self._story.number} ({self._story.client}): {what}")

    async def _open(self) -> Peer | None:
        story = self._story
        reader, writer = await self._scene.connect()
        connection = writer.get_extra_info("socket")
        story.end = near_end(connection)
        forwarded = b"X-Forwarded-For: " + story.client.encode()
        writer.write(upgrade(f"{self._path}{story.number}".encode(), forwarded))
        status = int((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
        if status == 101:
            story.opened_at = story.active_at = time.monotonic()
            story.inode = far_inode(self._scene.address, connection)
            sent, came = story.sent[Direction.INBOUND], story.came[Direction.OUTBOUND]
            return Peer(reader, writer, sent=sent, came=came, dice=self._dice)
        story.status = status
        writer.close()
        return None

    async def _converse(self, peer: Peer) -> None:
        listening = asyncio.create_task(self._listen(peer))
        manner, ending = (
            self._dice.choices(list(each), list(each.values()))[0] for each in (_MANNERS, _ENDINGS)
        )
        try:
            await self._talk(peer, "chatty", 1)
            await self._talk(peer, manner, self._dice.randrange(2, 12))
            await self._end(peer, ending)
            if not self._story.given_up and not await self._until(lambda: False, PATIENCE):
                self._wrong(f"it has not ended ({manner}, {ending}); heard {self._story.heard}")
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
            peer.writer.close()
            with contextlib.suppress(OSError):
                await peer.writer.wait_closed()

    # -- what it hears ---------------------------------------------------------------------------------------

    async def _listen(self, peer: Peer) -> None:
        story = self._story
        while (came := await peer.hear()) is not None:
            opcode, payload = came
            if opcode == PONG:
                continue  # a heartbeat, or the answer to a ping
            if opcode == PING:
                await peer.say(PONG, payload)
                continue
            if story.heard is not None:
                self._wrong(f"{opcode} came behind a Close")
            if opcode == CLOSE:
                story.heard = Said.of(payload)
                story.missed = len(self._expected) if story.heard == story.said else 0
                if not story.did & {End.CLIENT_CLOSED, End.CLIENT_ABORTED}:
                    await peer.say(CLOSE, payload)
            else:
                self._check(opcode, payload)
            await self._notify()
        story.cut, story.cut_mid_frame = peer.end, peer.mid_frame
        story.over_at = time.monotonic()
        self._is_over = True
        await self._notify()

    def _check(self, opcode: int, payload: bytes) -> None:
        self._story.proven = True
        self._story.moves()
        expected = self._expected.popleft() if self._expected else None
        if expected is None or opcode != BINARY or Message.decoded(payload) != expected:
            self._wrong(f"{len(payload)} bytes, {payload[:13]!r}, came for {expected}")

    async def _notify(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def _until(self, condition: Callable[[], object], seconds: float) -> bool:
        """Wait until a condition holds or the connection is over; tell whether so within ``seconds``."""
        try:
            async with asyncio.timeout(seconds), self._moved:
                await self._moved.wait_for(lambda: condition() or self._is_over)
        except TimeoutError:
            return False
        return True

    # -- what it does ----------------------------------------------------------------------------------------

    async def _may_go_on(self) -> bool:
        """Wait while nothing may begin or end; tell whether there is still a session."""
        await self._scene.going.wait()
        return not self._is_over and self._story.heard is None and not self._scene.stopping

    async def _rest(self, seconds: float) -> None:
        """Do nothing for a while, unless all are to leave."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._scene.leaving:
            if await self._until(lambda: False, min(left, 0.5)):
                return

    async def _talk(self, peer: Peer, manner: str, rounds: int) -> None:
        dice = self._dice
        for _ in range(rounds):
            if not await self._may_go_on() or self._scene.leaving:
                return
            if manner == "chatty":
                await self._ask(peer, dice.randrange(1, 8), dice.choice(_SIZES), dice.choice(_SIZES))
                await self._rest(dice.uniform(0, 0.8))
            elif manner == "big":
                await self._ask(peer, 2, dice.randrange(LARGEST), dice.randrange(LARGEST))
                await self._rest(dice.uniform(0, 2))
            elif manner == "deaf":
                asking = self._ask(peer, 6, 20, dice.randrange(LARGEST // 4, LARGEST))
                await asyncio.gather(asking, self._deaf(peer, dice.uniform(1, 8)))
            else:
                await self._ask(peer, 1, 5, 5)
                await self._rest(dice.uniform(2, 20))

    async def _deaf(self, peer: Peer, seconds: float) -> None:
        """Read nothing for a while, not even a ping."""
        began = time.monotonic()
        transport = peer.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        await self._rest(seconds)
        if not transport.is_closing():
            transport.resume_reading()
        self._story.deaf = max(self._story.deaf, time.monotonic() - began)

    async def _ask(
        self, peer: Peer, count: int, size: int, reply: int, order: int = REPLY, *, waits: bool = True
    ) -> None:
        number = self._story.number
        for _ in range(count):
            message = Message(number, self._sent, reply, order, size)
            self._expected.append(Message(number, self._sent, 0, 0, reply))
            self._sent += 1
            edges = range(1, len(message.encoded()))
            self._story.moves()
            await peer.tell(
                message, tuple(sorted(self._dice.sample(edges, self._dice.choice((0, 0, 0, 1, 3)))))
            )
            if self._dice.random() < 0.1:
                await peer.say(PING, b"here?")
        if order == REPLY and waits:
            answered = await self._until(lambda: not self._expected or self._story.heard, PATIENCE)
            if not answered:
                self._wrong(f"no reply for {PATIENCE:g} s, {len(self._expected)} are awaited")

    async def _end(self, peer: Peer, ending: str) -> None:
        story, dice = self._story, self._dice
        while ending == "stay" and not self._scene.leaving and await self._may_go_on():
            await self._ask(peer, 1, 50, 50)
            await self._rest(dice.uniform(1, 4))
        if not await self._may_go_on():
            return
        if ending == "reset":
            story.did.add(End.CLIENT_ABORTED)
            story.given_up = True
            peer.reset()
        elif ending == "break off":
            story.did.add(End.CLIENT_ABORTED)
            story.given_up = story.breaks_off = True
            tallied(peer.sent, BINARY, 100)  # by its header
            await peer.send(frame(BINARY, bytes(100), key=_KEY)[:50])
        elif ending == "half close" and peer.writer.can_write_eof():
            story.did.add(End.CLIENT_ABORTED)
            with contextlib.suppress(OSError):
                peer.writer.write_eof()
        elif ending == "upstream closes":
            story.did.add(End.UPSTREAM_CLOSED)
            story.said = GOODBYE
            await self._ask(peer, 1, 5, 5, SAY_CLOSE)
        elif ending in ("upstream ends", "upstream resets"):
            story.did.add(End.UPSTREAM_ABORTED)
            await self._ask(peer, 1, 5, 5, END if ending == "upstream ends" else RESET)
        elif ending == "too big":
            story.did.add(End.CLIENT_TOO_BIG)
            await peer.send(header(BINARY, CEILING + 1, key=_KEY))
        elif ending == "nonsense":
            story.did.add(End.CLIENT_PROTOCOL_ERROR)
            await peer.send(frame(3, b"what?", key=_KEY))
        else:
            if dice.random() < 0.3:
                await self._ask(peer, 3, 20, dice.randrange(LARGEST // 4), waits=False)
            story.did.add(End.CLIENT_CLOSED)
            story.said = Said(dice.choice((1000, 1001, 4321)), "goodbye" * dice.randrange(3))
            await peer.say(CLOSE, story.said.payload)
