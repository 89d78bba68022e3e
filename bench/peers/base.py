"""What every proxy under test must say of itself: is it here, which version, how is it started.

A peer writes its configuration into a directory of its own and names one command. The suite starts it, pins
it to one processor, waits until it answers, and counts the processes below that command.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench import accounting
from bench.places import WORK
from bench.processors import pin, proxy_processors


class DidNotStart(Exception):
    """The proxy ended, or did not answer in time."""


@dataclass(frozen=True)
class Setting:
    """What a scenario asks of a proxy: where to listen, what is behind, and Bascule's cap and heartbeat."""

    port: int
    upstream: int
    directory: Path
    cap: int = 18000
    heartbeat_ms: int = 0
    spare: tuple[int, ...] = ()  #: further free ports, for administrative listeners that cannot be turned off


@dataclass(frozen=True)
class Launch:
    """How to start it."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)


class Peer(ABC):
    """One proxy with one configuration."""

    #: Short name: the column of the table, the word for ``--proxies``.
    name: str
    #: One line for the page: what it is and how it is tuned.
    about: str
    #: Speaks HTTP, so that handshakes and plain requests can be compared (the yardstick only passes bytes).
    parses: bool = True
    #: Serves plain HTTP as well.
    http: bool = True
    #: Sends heartbeats of its own; without, the upstream's pings pass through it.
    heartbeats: bool = False

    @abstractmethod
    def missing(self) -> str | None:
        """Why it cannot run here; None when it can."""

    @abstractmethod
    def version(self) -> str:
        """As it names itself."""

    @abstractmethod
    def launch(self, setting: Setting) -> Launch:
        """Write the configuration, name the command."""


def first_line(command: list[str], environment: dict[str, str] | None = None) -> str:
    """The first non-empty line a version command prints on either stream."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    for line in (done.stdout + "\n" + done.stderr).splitlines():
        if line.strip():
            return line.strip()
    return "?"


#: The ports from which the kernel chooses for a connection: two numbers.
CHOSEN_BY_KERNEL = Path("/proc/sys/net/ipv4/ip_local_port_range")
#: Below are ports that a service of the computer may want.
LOWEST_PORT = 10_000

_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has, each given once.

    Proxies that cannot bind port 0 and report it need the number before. All start side by side, so no port
    may be given twice, nor may the kernel choose it for a connection in the meantime.
    """
    end = int(CHOSEN_BY_KERNEL.read_text().split()[0])
    found: list[int] = []
    for port in random.sample(range(LOWEST_PORT, end), end - LOWEST_PORT):
        if len(found) == count:
            break
        if port not in _given:
            with socket.socket() as one, contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
    _given.update(found)
    return found


class Running:
    """A started proxy."""

    def __init__(self, peer: Peer, upstream: int, *, cap: int = 18000, heartbeat_ms: int = 0) -> None:
        self.peer = peer
        port, *spare = free_ports(3)
        self.port = port
        directory = WORK / f"{peer.name}-{port}"
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "output.log"
        launch = peer.launch(Setting(port, upstream, directory, cap, heartbeat_ms, tuple(spare)))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                launch.command,
                cwd=directory,
                env={**os.environ, **launch.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=pin(proxy_processors()),
                process_group=0,  # no session of its own: see `processors.ahead`
            )

    def wait(self, timeout: float = 30.0, port: int = 0) -> None:
        """Until a request through it is answered by the upstream; a proxy that never does is stopped.

        Args:
            timeout: Seconds.
            port: Where to ask, if that is not its own port.

        Raises:
            DidNotStart: With its last words.
        """
        port = port or self.port
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", port), 1.0) as probe:
                    probe.settimeout(2.0)
                    probe.sendall(
                        b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % port
                    )
                    if probe.recv(64).startswith(b"HTTP/1.1 200"):
                        return
            except OSError:
                pass
            time.sleep(0.05)
        self.stop()
        tail = self.log.read_text(errors="replace")[-800:]
        raise DidNotStart(f"{self.peer.name}: {tail.strip() or 'no answer'}")

    def pids(self) -> list[int]:
        """All its processes."""
        return accounting.descendants(self.process.pid)

    def stop(self) -> None:
        """TERM, then KILL, to the process and what is left of its descendants."""
        mine = accounting.descendants(self.process.pid)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(2.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in mine[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def __enter__(self) -> Self:
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
