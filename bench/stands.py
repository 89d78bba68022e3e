"""A stand: one proxy in front of an upstream of its own, ready to be measured.

Every proxy gets its own echo server, so that local ports and counters never mix. ``Fleet`` keeps the stands
with default settings alive between scenarios; a proxy that falls over is reported, restarted for the next
scenario, and the others go on.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import accounting
from bench.generators import Echo, Load, LoadFailed
from bench.peers.base import DidNotStart, Peer, Running
from bench.processors import together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.generators import Answer
    from bench.results import Results


@dataclass
class Stand:
    """A proxy (None: straight to the upstream), its upstream, its processes."""

    name: str
    echo: Echo
    running: Running | None
    pids: list[int]

    @property
    def port(self) -> int:
        """What a client connects to."""
        return self.running.port if self.running else self.echo.port

    @property
    def peer(self) -> Peer | None:
        """The proxy's description."""
        return self.running.peer if self.running else None

    def load(self) -> Load:
        """A new load generator against it."""
        return Load(self.port)

    def measured(self, load: Load, command: str, **words: Any) -> tuple[accounting.Cost, Answer]:
        """A command of the load generator, and what it cost the proxy."""
        before = accounting.read_processor(self.pids)
        answer = load.ask(command, **words)
        return accounting.read_processor(self.pids).since(before), answer

    def measured_one_by_one(self, load: Load, command: str, **words: Any) -> tuple[accounting.Cost, Answer]:
        """Like `measured`, for a command that has one message under way at a time."""
        with together([self.echo.process.pid, load.process.pid]):
            return self.measured(load, command, **words)

    def memory(self, matching: str = "") -> int:
        """User memory in bytes of the processes whose command line has this text."""
        chosen = [pid for pid in self.pids if not matching or matching in accounting.command_line(pid)]
        return sum(accounting.user_memory(pid).total for pid in chosen)

    def stop(self) -> None:
        """End the proxy and its upstream."""
        if self.running:
            self.running.stop()
        self.echo.stop()


def direct(heartbeat_ms: int = 0) -> Stand:
    """No proxy at all: what latency and kernel memory are subtracted from."""
    return Stand("direct", Echo(heartbeat_ms), None, [])


class Fleet:
    """The stands of a run."""

    def __init__(self, peers: list[Peer], results: Results) -> None:
        self.peers = peers
        self.results = results
        self._standing: dict[str, Stand] = {}

    def start(self, peers: list[Peer], **setting: int) -> list[Stand]:
        """Fresh stands, started side by side; one that does not start is noted and left out.

        Args:
            peers: Which.
            setting: ``cap`` and ``heartbeat_ms`` of `Running`; ``heartbeat_ms`` goes to the upstream instead
                for a proxy that sends none of its own.
        """
        beat = setting.pop("heartbeat_ms", 0)
        started = []
        for peer in peers:
            echo = Echo(0 if peer.heartbeats else beat)
            try:
                running = Running(peer, echo.port, heartbeat_ms=beat if peer.heartbeats else 0, **setting)
            except OSError as error:
                echo.stop()
                self.results.note(f"did not start: {peer.name}: {error}")
            else:
                started.append((echo, running))
        stands = []
        for echo, running in started:
            try:
                running.wait()
            except DidNotStart as error:
                echo.stop()
                self.results.note(f"did not start: {error}")
            else:
                stands.append(Stand(running.peer.name, echo, running, running.pids()))
        return stands

    def stands(self) -> list[Stand]:
        """The shared stands with default settings, started when needed and kept."""
        for name, stand in list(self._standing.items()):
            if stand.running and stand.running.process.poll() is not None:
                self.results.note(f"{name} ended by itself: {stand.running.process.returncode}")
                stand.stop()
                del self._standing[name]
        for stand in self.start([peer for peer in self.peers if peer.name not in self._standing]):
            self._standing[stand.name] = stand
        return [self._standing[peer.name] for peer in self.peers if peer.name in self._standing]

    @contextlib.contextmanager
    def guarded(self, stand: Stand, what: str) -> Iterator[None]:
        """What goes wrong with one proxy is noted and does not end the run."""
        try:
            yield
        except (LoadFailed, OSError, ZeroDivisionError, KeyError) as error:
            self.results.note(f"{stand.name}, {what}: {error}")

    @contextlib.contextmanager
    def opened(self, stands: list[Stand], n: int, **more: Any) -> Iterator[dict[str, Load]]:
        """A load for each proxy through which it could open so many sessions, by the proxy's name."""
        with contextlib.ExitStack() as stack:
            loads: dict[str, Load] = {}
            for stand in stands:
                with self.guarded(stand, "opening sessions"):
                    load = stack.enter_context(stand.load())
                    load.ask("open", n=n, **more)
                    loads[stand.name] = load
            yield loads

    def stop(self) -> None:
        """End the shared stands."""
        for stand in self._standing.values():
            stand.stop()
        self._standing.clear()
