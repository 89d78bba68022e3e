"""The far ends of a forwarder's connections, which a test holds: sockets, and browsers or upstreams."""

import contextlib
import errno
import socket
import struct

from tests.support.frames import Frame, frames_of, leftover

__all__ = ["Peer", "fill", "reset_on_close", "tcp_pair", "unix_pair"]


def reset_on_close(connection: socket.socket) -> None:
    """Let the close of a connection be a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def tcp_pair(receive: int = 0, send: int = 0) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection: the forwarder's and the peer's.

    Args:
        receive: Receive buffer of the peer, in bytes; 0 for the kernel's choice.
        send: Send buffer of the forwarder's end.
    """
    with socket.socket() as listener, contextlib.ExitStack() as undo:
        if receive:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        ours = undo.enter_context(socket.create_connection(listener.getsockname()))
        theirs, _ = listener.accept()
        undo.pop_all()
    for end in (ours, theirs):
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if send:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send)
    return ours, theirs


def unix_pair(send: int = 0) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a Unix stream: cheaper than TCP, without its resets."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    if send:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send)
    return ours, theirs


def fill(end: socket.socket) -> None:
    """Write to a connection until it takes no more, though not every byte: its peer reads nothing."""
    with contextlib.suppress(BlockingIOError):
        while True:
            end.send(bytes(65536))
    with contextlib.suppress(BlockingIOError):
        while True:
            end.send(b"x")


class Peer:
    """The far end of one connection of a session: a browser or an upstream.

    Attributes:
        received: Everything that came.
        ended: Whether the forwarder ended its direction.
        error: Errno with which reading failed, or 0.
        stalled: Reads nothing while true.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.received = bytearray()
        self.ended = False
        self.error = 0
        self.stalled = False
        self._unsent = bytearray()

    @property
    def frames(self) -> list[Frame]:
        """The whole frames that came."""
        return frames_of(bytes(self.received))

    @property
    def unfinished(self) -> bytes:
        """What came behind the last whole frame."""
        return leftover(bytes(self.received))

    @property
    def over(self) -> bool:
        """Whether the connection has ended, well or badly."""
        return self.ended or self.error != 0

    def send(self, data: bytes) -> None:
        """Send now what the connection takes, and the rest whenever it does."""
        self._unsent += data
        self._flush()

    @property
    def unsent(self) -> int:
        """Bytes that the connection has not taken yet."""
        return len(self._unsent)

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self.socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()

    def pump(self) -> bool:
        """Move what can be moved; tell whether anything came."""
        if self.socket.fileno() < 0:
            return False
        if self._unsent:
            self._flush()
        if self.stalled or self.over:
            return False
        came = False
        try:
            while data := self.socket.recv(1 << 18):
                self.received += data
                came = True
            self.ended = True
        except BlockingIOError:
            return came
        except OSError as error:
            self.error = error.errno or errno.EIO
        return True

    def take(self, most: int) -> bool:
        """Read once, stalled or not; tell whether anything came, be it the end."""
        try:
            self.received += self.socket.recv(most)
        except BlockingIOError:
            return False
        return True

    def half_close(self) -> None:
        """End our direction and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close in order."""
        self.socket.close()

    def reset(self) -> None:
        """Close with a reset."""
        reset_on_close(self.socket)
        self.socket.close()
