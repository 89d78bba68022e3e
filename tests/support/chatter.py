"""Browsers that talk to an echo without pause, and check every byte that comes back.

For faults: whatever happens to the proxy, what came back must be a prefix of what was sent, in whole
frames, and the end must be an honest one.
"""

import contextlib
import random
import selectors
import threading
from collections.abc import Iterator
from typing import Final

from tests.support.frames import CLOSE, KEY, PONG, frame, frames_of, leftover
from tests.support.rawclient import RawClient, connect
from tests.support.waiting import eventually

__all__ = ["Chatter", "Talker", "chatting"]

_IN_FLIGHT: Final = 4
_SIZES: Final = (1, 20, 125, 126, 2000, 20_000)


class Talker:
    """One session.

    Attributes:
        echoed: Messages that came back, right and in order.
        mistake: What was wrong, if anything was.
        ended: How it ended: ``close <code>``, ``eof`` or ``error``; empty while it lives.
        unfinished: Bytes of a frame that had begun when it ended.
    """

    def __init__(self, client: RawClient, number: int) -> None:
        self.client = client
        self.number = number
        self.echoed = 0
        self.mistake = ""
        self.ended = ""
        self.unfinished = b""
        self._sent = 0
        self._random = random.Random(number)
        self._expected: list[bytes] = []
        self._outgoing = b""
        self._incoming = client.buffer
        client.socket.setblocking(False)

    def talk(self) -> None:
        """Send what the connection takes."""
        while len(self._expected) < _IN_FLIGHT:
            payload = b"%d:%d:" % (self.number, self._sent) + b"x" * self._random.choice(_SIZES)
            self._sent += 1
            self._expected.append(payload)
            self._outgoing += frame(2, payload, key=KEY)
        try:
            self._outgoing = self._outgoing[self.client.socket.send(self._outgoing) :]
        except BlockingIOError:
            pass
        except OSError:
            self._finish("error")

    def listen(self) -> None:
        """Read and check."""
        try:
            data = self.client.socket.recv(1 << 17)
        except BlockingIOError:
            return
        except OSError:
            self._finish("error")
            return
        if not data:
            self._finish("eof")
            return
        self._incoming += data
        for found in frames_of(self._incoming):
            self._incoming = self._incoming[len(found.raw) :]
            if found.opcode == CLOSE:
                self._finish(f"close {found.code}")
                return
            if found.opcode == PONG:
                continue
            if not self._expected or found.payload != self._expected.pop(0):
                self.mistake = f"message {self.echoed} is {found.payload[:40]!r}"
            self.echoed += 1

    def _finish(self, how: str) -> None:
        self.ended = self.ended or how
        self.unfinished = leftover(self._incoming)


class Chatter(threading.Thread):
    """All talkers, in a thread of their own."""

    def __init__(self, url: str, count: int, path: bytes = b"/") -> None:
        super().__init__(daemon=True)
        self.talkers = []
        for number in range(count):
            client = connect(url)
            client.open(path)
            self.talkers.append(Talker(client, number))
        self._stop_asked = threading.Event()

    def run(self) -> None:
        """Talk until told to stop."""
        with selectors.DefaultSelector() as selector:
            for talker in self.talkers:
                selector.register(talker.client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, talker)
            while not self._stop_asked.is_set():
                for key, events in selector.select(0.05):
                    talker = key.data
                    if events & selectors.EVENT_READ:
                        talker.listen()
                    if events & selectors.EVENT_WRITE and not talker.ended:
                        talker.talk()
                    if talker.ended:
                        selector.unregister(key.fileobj)

    @property
    def living(self) -> list[Talker]:
        """Those whose session goes on."""
        return [talker for talker in self.talkers if not talker.ended]

    @property
    def ended(self) -> list[Talker]:
        """Those whose session has ended."""
        return [talker for talker in self.talkers if talker.ended]

    def progress(self, talkers: list[Talker] | None = None, messages: int = 20) -> None:
        """Wait until each of these, all living by default, has had some more messages echoed."""
        chosen = self.living if talkers is None else talkers
        goals = [(talker, talker.echoed + messages) for talker in chosen]
        eventually(
            lambda: all(talker.ended or talker.echoed >= goal for talker, goal in goals),
            15,
            "they go on talking",
        )
        assert [talker.number for talker in chosen if talker.ended] == []
        self.check()

    def check(self) -> None:
        """Fail if anything that came back was wrong."""
        assert [talker.mistake for talker in self.talkers if talker.mistake] == []

    def stop(self) -> None:
        """Stop talking and close every connection."""
        self._stop_asked.set()
        if self.ident is not None:
            self.join(10)
        for talker in self.talkers:
            talker.client.close()


@contextlib.contextmanager
def chatting(url: str, count: int, path: bytes = b"/") -> Iterator[Chatter]:
    """Talk for the length of a block."""
    chatter = Chatter(url, count, path)
    chatter.start()
    try:
        # With its 101 a session has a forwarder; once something came back, it has the upstream too.
        chatter.progress(messages=1)
        yield chatter
        chatter.check()
    finally:
        chatter.stop()
