"""An upstream that does on each connection, byte by byte, what a test says.

A thread for the listener and one for each connection, so that a test may be written straight down. What a
script does not expect fails the test that owns the upstream, not somebody else's.
"""

import base64
import contextlib
import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from tests.support.frames import CLOSE, Frame, close, frame, frames_of
from tests.support.http import HasFields, read_fields

__all__ = [
    "Call",
    "RawUpstream",
    "accept_for",
    "answer_ok",
    "echo",
    "echo_frames",
    "page_or_echo",
    "run_upstream",
    "switch",
]

PATIENCE: Final = 15.0
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_for(key: bytes) -> bytes:
    """Return the accept value of a key."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


class Call(HasFields):
    """One connection that came in, behind its request head.

    Attributes:
        head: The request head as it was sent, with its empty line.
        fields: Its fields, in order.
        buffer: What came behind it and was not taken yet.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        connection.settimeout(PATIENCE)
        self.head = b""
        self.fields = []
        self.buffer = b""

    def read_head(self) -> bool:
        """Read the request head; tell whether one came."""
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = self.socket.recv(65536)
            if not chunk:
                return False
            data += chunk
        end = data.index(b"\r\n\r\n") + 4
        self.head, self.buffer = data[:end], data[end:]
        self.fields = read_fields(self.head[:-4].split(b"\r\n")[1:])
        return True

    @property
    def start_line(self) -> bytes:
        """The request line."""
        return self.head.split(b"\r\n", 1)[0]

    @property
    def target(self) -> bytes:
        """The request target."""
        return self.start_line.split(b" ")[1]

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def receive(self) -> bool:
        """Receive once; tell whether the stream goes on."""
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionError:
            return False
        self.buffer += data
        return bool(data)

    def frame(self) -> Frame | None:
        """Read one frame; ``None`` when the stream ends first."""
        while not (found := frames_of(self.buffer)):
            if not self.receive():
                return None
        self.buffer = self.buffer[len(found[0].raw) :]
        return found[0]

    def until_over(self) -> bytes:
        """Read to the end of the stream and return everything behind the head."""
        while self.receive():
            pass
        return self.buffer

    def reset(self) -> None:
        """Close with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


Script = Callable[[Call], None]


def switch(call: Call, *more: bytes) -> None:
    """Answer with a true 101."""
    key = call.value(b"Sec-WebSocket-Key")
    assert key is not None
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accept_for(key),
        *more,
    ]
    call.send(b"\r\n".join([*lines, b"", b""]))


def answer_ok(call: Call) -> None:
    """Answer a plain request with a short body."""
    call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def echo(call: Call) -> None:
    """Switch, send every frame back, and answer a Close."""
    switch(call)
    echo_frames(call)


def page_or_echo(call: Call) -> None:
    """Answer a plain request with an empty page, and an upgrade as `echo` does."""
    if call.value(b"Upgrade") is None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    else:
        echo(call)


def echo_frames(call: Call) -> None:
    """Send every frame back unmasked, and answer a Close."""
    while (found := call.frame()) is not None:
        if found.opcode == CLOSE:
            call.send(close(found.code, found.reason))
            return
        call.send(frame(found.opcode, found.payload, fin=found.fin))


class RawUpstream:
    """The server.

    Attributes:
        url: ``http://host:port``, or ``http+unix://`` and a path with escaped slashes.
        scripts: What to do, by path (without the query); the longest prefix that matches is taken.
        calls: Every connection that sent a head.
        connections: How many were accepted.
        errors: What went wrong in scripts.
    """

    def __init__(self, context: ssl.SSLContext | None = None, path: Path | None = None) -> None:
        self._context = context
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
            self.port = self._listener.getsockname()[1]
            self.url = f"{'http' if context is None else 'https'}://127.0.0.1:{self.port}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen(1024)
            self.url = f"http+unix://{quote(str(path), safe='')}"
        self.scripts: dict[bytes, Script] = {b"/": echo}
        self.calls: list[Call] = []
        self.connections = 0
        self.errors: list[BaseException] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def calls_for(self, path: bytes) -> list[Call]:
        """Return the calls for one path."""
        return [call for call in self.calls if call.target.partition(b"?")[0] == path]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with self._lock:
                self._open.add(connection)
            call = Call(connection)
            if not call.read_head():
                return
            self.calls.append(call)
            path = call.target.partition(b"?")[0]
            longest = max((prefix for prefix in self.scripts if path.startswith(prefix)), key=len)
            self.scripts[longest](call)
        except (OSError, ssl.SSLError):
            pass  # the other side has gone, or the test is over
        except BaseException as error:
            self.errors.append(error)
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def close(self) -> None:
        """End everything."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def run_upstream(context: ssl.SSLContext | None = None, *, path: Path | None = None) -> Iterator[RawUpstream]:
    """Run one for the length of a block; a script that went wrong fails the block.

    Args:
        context: For TLS.
        path: A Unix socket to listen at, instead of a port.
    """
    upstream = RawUpstream(context, path)
    try:
        yield upstream
    finally:
        upstream.close()
    if upstream.errors:
        raise ExceptionGroup("in the upstream", [e for e in upstream.errors if isinstance(e, Exception)])
