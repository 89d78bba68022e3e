"""A browser that sends exactly the bytes a test wants, and shows exactly the bytes that came back.

Blocking, with a deadline on every wait. Nothing here helps a test to be correct by accident: a field is
sent only if the test (or `upgrade`) wrote it.
"""

import contextlib
import re
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from tests.support.frames import KEY, PONG, TEXT, Frame, frame, frames_of, leftover
from tests.support.http import Fields, HasFields, read_fields

__all__ = ["SAMPLE_KEY", "Answer", "Clients", "RawClient", "connect", "connected", "upgrade"]

PATIENCE: Final = 10.0
"""Seconds after which something that should happen never will."""

SAMPLE_KEY: Final = b"dGhlIHNhbXBsZSBub25jZQ=="
SAMPLE_ACCEPT: Final = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""Key and accept value of RFC 6455 §1.3."""

_NEEDED: Final = (
    (b"Host", b"front"),
    (b"Upgrade", b"websocket"),
    (b"Connection", b"Upgrade"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", SAMPLE_KEY),
)


def upgrade(
    target: bytes = b"/",
    *more: bytes,
    without: tuple[bytes, ...] = (),
    start: bytes | None = None,
    host: bytes = b"front",
) -> bytes:
    """Build an upgrade request.

    Args:
        target: Request target.
        more: Further field lines.
        without: Lower-case names of needed fields to leave out.
        start: The whole request line, instead of ``GET target HTTP/1.1``.
        host: Value of ``Host``.
    """
    lines = [start if start is not None else b"GET %b HTTP/1.1" % target]
    for name, value in _NEEDED:
        if name.lower() not in without:
            lines.append(b"%b: %b" % (name, host if name == b"Host" else value))
    return b"\r\n".join([*lines, *more, b"", b""])


@dataclass(frozen=True)
class Answer(HasFields):
    """The head of a response, and its body as far as it was read."""

    status: int
    reason: bytes
    fields: Fields
    body: bytes = b""


class RawClient:
    """One connection.

    Attributes:
        over: Whether the stream has ended.
        was_reset: Whether it ended with a reset.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        connection.settimeout(PATIENCE)
        self.buffer = b""
        self.over = self.was_reset = False

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def receive(self) -> bool:
        """Receive once; tell whether the stream goes on."""
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionError:
            data = b""
            self.was_reset = True
        self.buffer += data
        self.over = not data
        return bool(data)

    def until(self, condition: Callable[[bytes], object], what: str) -> None:
        """Receive until the buffer satisfies a condition."""
        end = time.monotonic() + PATIENCE
        while not condition(self.buffer):
            if not self.receive():
                raise AssertionError(f"{what}: the connection ended with {self.buffer[:300]!r}")
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: {self.buffer[:300]!r}")

    def head(self) -> Answer:
        """Read the head of a response, and leave what follows in the buffer."""
        self.until(lambda data: b"\r\n\r\n" in data, "a response head")
        raw, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        start, *lines = raw.split(b"\r\n")
        match = re.fullmatch(rb"HTTP/1\.[01] (\d{3})(?: (.*))?", start)
        assert match is not None, start
        return Answer(int(match[1]), match[2] or b"", read_fields(lines))

    def switched(self) -> bool:
        """Tell whether a 101 comes; the connection may also end without a word of it."""
        while b"\r\n\r\n" not in self.buffer and self.receive():
            pass
        return b"\r\n\r\n" in self.buffer and self.head().status == 101

    def answer(self) -> Answer:
        """Read a response whose body has a length."""
        head = self.head()
        size = int(head.value(b"Content-Length") or b"0")
        self.until(lambda data: len(data) >= size, "a response body")
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return Answer(head.status, head.reason, head.fields, body)

    def rest(self) -> bytes:
        """Read to the end of the stream, and return all that was not taken yet."""
        end = time.monotonic() + PATIENCE
        while self.receive():
            if time.monotonic() > end:
                raise TimeoutError(f"the connection goes on with {self.buffer[-300:]!r}")
        data, self.buffer = self.buffer, b""
        return data

    def goodbye(self) -> bytes:
        """End our direction, and read what still comes up to the end of the stream."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        return self.rest()

    def frames(self, count: int) -> list[Frame]:
        """Read this many frames; what follows stays in the buffer."""
        self.until(lambda data: len(frames_of(data)) >= count, f"{count} frames")
        found = frames_of(self.buffer)[:count]
        self.buffer = self.buffer[sum(len(one.raw) for one in found) :]
        return found

    def frame(self) -> Frame:
        """Read one frame."""
        return self.frames(1)[0]

    def reply(self) -> Frame:
        """Read the next frame that is no heartbeat."""
        while (found := self.frame()).opcode == PONG:
            pass
        return found

    def say(self, text: bytes, opcode: int = TEXT) -> None:
        """Send one masked frame."""
        self.send(frame(opcode, text, key=KEY))

    def open(self, target: bytes = b"/", *more: bytes, host: bytes = b"front") -> Answer:
        """Shake hands; the answer must be a true 101."""
        self.send(upgrade(target, *more, host=host))
        answer = self.head()
        assert answer.status == 101, answer
        assert answer.value(b"Sec-WebSocket-Accept") == SAMPLE_ACCEPT
        return answer

    def refusal(self) -> Frame:
        """Read the Close of a refusal, which must be all there is."""
        said = self.frame()
        assert leftover(self.buffer) == b""
        return said

    def silent(self, seconds: float) -> bool:
        """Tell whether nothing at all comes for a while."""
        self.socket.settimeout(seconds)
        try:
            self.receive()
        except TimeoutError:
            return True
        else:
            return False
        finally:
            self.socket.settimeout(PATIENCE)

    def close(self) -> None:
        """Close."""
        self.socket.close()

    def reset(self) -> None:
        """Close with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def connect(url: str, context: ssl.SSLContext | None = None, buffers: int = 0) -> RawClient:
    """Connect to ``http://host:port`` or ``unix:/path``.

    Args:
        url: Where.
        context: For TLS.
        buffers: Size of both kernel buffers; 0 leaves them alone.
    """
    where = urlsplit(url)
    is_unix = where.scheme == "unix"
    ip = socket.AF_INET6 if ":" in (where.hostname or "") else socket.AF_INET
    connection = socket.socket(socket.AF_UNIX if is_unix else ip)
    connection.settimeout(PATIENCE)
    if buffers:  # before it connects: they decide what window it offers
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
    if is_unix:
        connection.connect(where.path)
    else:
        connection.connect((where.hostname, where.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is not None:
        connection = context.wrap_socket(connection, server_hostname=where.hostname)
    return RawClient(connection)


Clients = Callable[..., RawClient]
"""Opens connections that end with the test: called with a URL and, for TLS, a context."""


@contextlib.contextmanager
def connected(url: str, context: ssl.SSLContext | None = None) -> Iterator[RawClient]:
    """Connect for the length of a block."""
    client = connect(url, context)
    try:
        yield client
    finally:
        client.close()
