"""An upstream that checks each byte and replies, does what a message orders, and dies and returns."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, quote, urlsplit

from bascule.vocabulary import Direction
from tests.chaos.wire import END, RESET, SAY_CLOSE, Message, Peer, Said, content
from tests.support.frames import CLOSE, PONG
from tests.support.http import read_fields
from tests.support.rawupstream import accept_for

if TYPE_CHECKING:
    import ssl

    from tests.chaos.chronicle import Chronicle, Story
    from tests.chaos.connections import Address

__all__ = ["GOODBYE", "Upstream"]

GOODBYE: Final = Said(4000, "the upstream has had enough")
_PIECE: Final = 50_000


class Upstream:
    """A server for WebSockets or for plain requests; its address stays the same.

    Args:
        chronicle: Gets what is wrong.
        address: Where it is; 0 for a port that the kernel chooses.
        context: For TLS.
    """

    def __init__(
        self, chronicle: Chronicle, address: Address = 0, context: ssl.SSLContext | None = None
    ) -> None:
        self.address = address
        self._chronicle = chronicle
        self._context = context
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, Story | None] = {}

    @property
    def url(self) -> str:
        """Where it is."""
        if isinstance(self.address, str):
            return f"http+unix://{quote(self.address, safe='')}"
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.address}"

    async def start(self) -> None:
        """Begin, or return."""
        if isinstance(self.address, str):
            self._server = await asyncio.start_unix_server(self._serve, self.address, backlog=1024)
            return
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.address, ssl=self._context, backlog=1024
        )
        self.address = int(self._server.sockets[0].getsockname()[1])

    def die(self) -> None:
        """End everything, as the kernel does for a process that is killed."""
        assert self._server is not None
        self._server.close()
        for writer, story in list(self._open.items()):
            if story is not None:
                story.upstream_died = True
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        try:
            while True:
                start, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
                fields = {name.lower(): value for name, value in read_fields(lines)}
                target = urlsplit(start.split(b" ")[1].decode())
                number = int(target.path.rpartition("/")[2])
                if b"upgrade" in fields:
                    story = self._open[writer] = self._chronicle.stories[number]
                    writer.write(
                        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_for(fields[b"sec-websocket-key"])
                    )
                    sent, came = story.sent[Direction.OUTBOUND], story.came[Direction.INBOUND]
                    return await self._session(story, Peer(reader, writer, sent=sent, came=came))
                query = {name: int(value) for name, (value,) in parse_qs(target.query).items()}
                length = int(fields.get(b"content-length", b"0"))
                if await reader.readexactly(length) != content(number, 1, length):
                    self._chronicle.wrong(f"upstream: the body of request {number} is not what was sent")
                await _answer(content(number, 2, query["size"]), bool(query["chunked"]), writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the proxy or the browser has gone
        finally:
            del self._open[writer]
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _session(self, story: Story, peer: Peer) -> None:
        place, said = 0, False
        while (came := await peer.hear()) is not None:
            opcode, payload = came
            if opcode == CLOSE:
                story.upstream_heard = Said.of(payload)
                if not said:
                    await peer.say(CLOSE, payload)
                return  # a server is the first to end the connection (RFC 6455 §7.1.1)
            if opcode == PONG:
                continue  # a browser's answer to the ping of a heartbeat that is asked for no longer
            message = Message.decoded(payload)
            if opcode > CLOSE or message is None or message[:2] != (story.number, place):
                self._chronicle.wrong(f"upstream of {story.number}: {place} is {opcode} {payload[:13]!r}")
                return
            place += 1
            if said:
                continue  # nothing follows a Close
            await peer.tell(Message(story.number, message.place, 0, 0, message.reply))
            if message.order == SAY_CLOSE:
                said = True
                await peer.say(CLOSE, GOODBYE.payload)
            elif message.order == RESET:
                return peer.reset()
            elif message.order == END:
                return


async def _answer(body: bytes, chunked: bool, writer: asyncio.StreamWriter) -> None:
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
    for at in range(0, len(body), _PIECE):
        piece = body[at : at + _PIECE]
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")
        await writer.drain()
