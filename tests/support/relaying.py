"""Relay and engine over real connections of this host, in the test's own process and thread.

A test holds the far ends (`Peer`) and turns the forwarder's loop by hand (`World.until`), so
nothing runs that the test has not asked for. Time is given to the relay, never waited for.
"""

import contextlib
import importlib
import itertools
import resource
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from bascule.forwarder import hot_pure
from bascule.forwarder.outbox import count_outcome
from bascule.forwarder.relay import Relay
from bascule.forwarder.timers import Intervals
from bascule.handover.counters import (
    KINDS,
    CounterFile,
    ForwarderWord,
    close_code_word,
    ended_word,
)
from bascule.handover.messages import Adopt, Ended
from bascule.protocol.closing import CLOSE_TABLE, End
from tests.support.farends import Peer, tcp_pair, unix_pair
from tests.support.parts import missing

__all__ = [
    "BUILDS",
    "PATIENCE",
    "Line",
    "World",
    "build_of",
    "world",
]

PATIENCE: Final = 5.0
"""Seconds after which something that should happen never will."""

BUILDS: Final = ("pure", "compiled")


def build_of(name: str) -> Any:
    """Return the module of one build of the hot path; skip the test where it is not built."""
    if name == "pure":
        return hot_pure
    try:
        return importlib.import_module("bascule.forwarder._hot")
    except ImportError:
        missing("the compiled hot path is not built: make compiler install")


@dataclass
class Line:
    """One session and its two peers."""

    id: int
    browser: Peer
    upstream: Peer
    world: "World"

    @property
    def ended(self) -> Ended | None:
        """The report of its end, or ``None`` while it lives."""
        return next((report for report in self.world.reports if report.id == self.id), None)

    @property
    def stashed(self) -> int:
        """Bytes that wait for either peer."""
        session = self.world.relay.sessions[self.id]
        return session.inbound.stashed + session.outbound.stashed

    def outcome(self) -> Ended:
        """Wait for the report of its end, and return it."""
        self.world.until(lambda: self.ended)
        assert self.ended is not None
        return self.ended

    def cut(self) -> Ended:
        """Let both peers leave, and wait for the outcome."""
        self.browser.close()
        self.upstream.close()
        return self.outcome()


class World:
    """A forwarder without its process.

    Args:
        build: Module of the hot path.
        window: The engine's receive window.
        heartbeat: Seconds; 0 for none.
        pong: Seconds in which a browser has to answer a heartbeat; 0 if it need not.
        idle: Seconds; 0 for never.
        closing: Seconds a closing handshake may take.
        unix: Use Unix streams instead of TCP.
    """

    def __init__(
        self,
        build: Any,
        *,
        window: int = 65536,
        heartbeat: float = 0.0,
        pong: float = 0.0,
        idle: float = 0.0,
        closing: float = 60.0,
        unix: bool = False,
    ) -> None:
        self.build = build
        self._counters = CounterFile.create(1)
        self.words = self._counters.forwarder(0)
        self.engine = build.Engine(window, self.words, 65536)
        self.reports: list[Ended] = []
        self.relay = Relay(
            self.engine,
            self.words,
            intervals=Intervals(heartbeat, pong, idle, closing),
            report=self._heard,
            flow=build.Flow,
        )
        self.lines: list[Line] = []
        self._unix = unix
        self._ids = itertools.count(1)
        self.late = 0.0

    def _heard(self, ended: Ended) -> None:
        count_outcome(self.words, ended)
        self.reports.append(ended)

    def open(
        self,
        *,
        limit: int = 1 << 20,
        rsv_first: int = 0,
        rsv_continuation: int = 0,
        answer: bytes = b"",
        inbound: bytes = b"",
        outbound: bytes = b"",
        kind: int = 0,
        receive: int = 0,
        send: int = 0,
        each_socket: Callable[[socket.socket], None] | None = None,
    ) -> Line:
        """Adopt a session; arguments as in `Adopt`, and buffer sizes of its connections."""
        identifier = next(self._ids)
        pairs = [unix_pair(send) if self._unix else tcp_pair(receive, send) for _ in range(2)]
        (ours_b, browser), (ours_u, upstream) = pairs
        if each_socket is not None:
            each_socket(ours_b)
            each_socket(ours_u)
        line = Line(identifier, Peer(browser), Peer(upstream), self)
        self.lines.append(line)
        adopt = Adopt(
            identifier, kind, rsv_first, rsv_continuation, time.monotonic(), limit, b"tag", answer,
            inbound, outbound,
        )  # fmt: skip
        self.relay.adopt(adopt, ours_b.detach(), ours_u.detach())
        return line

    # -- turning the loop -----------------------------------------------------------------

    def turn(self, wait: float = 0.0) -> bool:
        """Turn the loop once and let every peer move; tell whether anything happened."""
        reported = self.engine.turn(time.monotonic() + wait)
        for flow, found in reported:
            self.relay.on_signs(flow, found)
        now = time.monotonic() + self.late
        if self.relay.next_at <= now:
            self.relay.on_time(now)
        moved = [peer.pump() for line in self.lines for peer in (line.browser, line.upstream)]
        return bool(reported) or any(moved)

    def until(self, condition: Callable[[], object], what: str = "it happens") -> None:
        """Turn the loop until something is true."""
        end = time.monotonic() + PATIENCE
        while not condition():
            self.turn(0.002)
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: not within {PATIENCE:g} s")

    def quiet(self) -> None:
        """Turn the loop until nothing moves any more."""
        rounds = 0
        while rounds < 3:
            rounds = 0 if self.turn(0.001) else rounds + 1

    def comes_to_rest(self) -> bool:
        """Turn the loop without the peers until it waits in epoll to the end; tell whether that comes soon.

        An engine that is woken again and again, or never waits, would use up a core.
        """
        return any(self._waits(0.005) for _ in range(200))

    def _waits(self, seconds: float) -> bool:
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        reported = self.engine.turn(time.monotonic() + seconds)
        waited = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before
        for flow, found in reported:
            self.relay.on_signs(flow, found)
        return not reported and waited in (1, 2)

    def later(self, seconds: float) -> None:
        """Let time pass for the relay, without waiting, and see what comes of it."""
        self.late += seconds
        self.relay.on_time(time.monotonic() + self.late)
        self.quiet()

    # -- what is counted ----------------------------------------------------------------------

    def word(self, word: ForwarderWord) -> int:
        """Return one counter."""
        return int(self.words[word])

    def ended_as(self, end: End, kind: int = 0) -> int:
        """Return how many sessions the counters say ended by a row."""
        row = CLOSE_TABLE[end]
        return int(self.words[ended_word(KINDS[kind], row.ended_by, row.cause)])

    def closes(self, sender: str, label: str) -> int:
        """Return how many Close frames of one sender and label were counted."""
        return int(self.words[close_code_word(sender, label)])

    def close(self) -> None:
        """End everything."""
        for line in self.lines:
            line.browser.close()
            line.upstream.close()
        for identifier in list(self.relay.sessions):
            self.relay.end(identifier, End.ADMIN)
        self.late += 1e6
        self.relay.on_time(time.monotonic() + self.late)
        self.engine.close()


@contextlib.contextmanager
def world(build: Any, **options: Any) -> Iterator[World]:
    """Run a world that ends with the block."""
    made = World(build, **options)
    try:
        yield made
    finally:
        made.close()
