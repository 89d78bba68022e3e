"""Hold many idle sessions open through Bascule, with heartbeats on, and measure what one of them costs.

``scripts/soak.py --sessions 5000 --seconds 120`` starts an upstream, ``bascule serve`` and one client,
opens the sessions, lets them idle, and prints one JSON object:

* ``forwarder_bytes_per_session``: growth of the forwarders' anonymous memory (``smaps_rollup``: user
  memory, not the kernel's socket buffers) for each session;
* ``heartbeats_least`` and ``heartbeats_most``: unsolicited pongs that a session saw. Expected are eight in
  ten of what the interval promises, less one for where the count began.

It fails (exit 1) when a session was dropped, a heartbeat is missing, or memory is above ``--most-bytes``.

Client and upstream are bare sockets in epoll loops, one process each, so that they cost little beside
what is measured. A process may be limited to 20,000 descriptors, and a session takes one in the client,
one in the upstream and two in a forwarder.
"""

from __future__ import annotations

import argparse
import base64
import collections
import hashlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

HEARTBEAT: Final = b"\x8a\x00"
"""An unsolicited pong without a payload, as the browser's side sees it."""

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY: Final = base64.b64encode(b"sixteen bytes ok")
REQUEST: Final = (
    b"GET / HTTP/1.1\r\nHost: soak\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
AT_ONCE: Final = 64
"""Opening handshakes in flight together: well below the backlog of any listener."""

PATIENCE: Final = 60.0
"""Seconds for anything to start, and for all sessions of a batch to open."""


def raise_descriptor_limit() -> None:
    """Use all descriptors that this process is allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def upstream() -> None:
    """Serve: answer every upgrade, then keep the connection and read nothing but its end."""
    raise_descriptor_limit()
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    heads: dict[int, bytes] = {}
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == listener.fileno():
                connection, _ = listener.accept()
                connections[connection.fileno()] = connection
                heads[connection.fileno()] = b""
                poll.register(connection, select.EPOLLIN)
                continue
            try:
                data = connections[descriptor].recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                poll.unregister(descriptor)
                heads.pop(descriptor, None)
                connections.pop(descriptor).close()
            elif descriptor in heads:
                heads[descriptor] += data
                if heads[descriptor].endswith(b"\r\n\r\n"):
                    connections[descriptor].sendall(switching(heads.pop(descriptor)))


def switching(head: bytes) -> bytes:
    """Return the 101 that answers a request head."""
    fields = (line.partition(b":") for line in head.split(b"\r\n"))
    key = next(value.strip() for name, _, value in fields if name.lower() == b"sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


class Client:
    """All the browsers: one epoll, one count of heartbeats a session."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.poll = select.epoll()
        self.connections: dict[int, socket.socket] = {}
        self.opening: set[int] = set()
        self.unread: dict[int, bytes] = {}
        self.heartbeats: dict[int, int] = {}
        self.dropped: list[str] = []

    def open(self, sessions: int) -> None:
        """Open sessions and return when all of them are open.

        Raises:
            SystemExit: Not all opened in time, or one was refused.
        """
        end = time.monotonic() + PATIENCE + sessions / 100
        while len(self.connections) < sessions or self.opening:
            while len(self.connections) < sessions and len(self.opening) < AT_ONCE:
                self._connect()
            self._turn(0.1)
            if self.dropped or time.monotonic() > end:
                raise SystemExit(f"{len(self.heartbeats)} of {sessions} sessions opened {self.dropped[:3]}")

    def idle(self, seconds: float) -> None:
        """Read heartbeats for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._turn(min(left, 0.5))

    def _connect(self) -> None:
        connection = socket.create_connection(self.address)
        connection.sendall(REQUEST)
        connection.setblocking(False)
        descriptor = connection.fileno()
        self.connections[descriptor] = connection
        self.opening.add(descriptor)
        self.unread[descriptor] = b""
        self.poll.register(descriptor, select.EPOLLIN)

    def _turn(self, seconds: float) -> None:
        for descriptor, _ in self.poll.poll(seconds, 1024):
            try:
                data = self.connections[descriptor].recv(65536)
            except ConnectionError:
                data = b""
            self._read(descriptor, data)

    def _read(self, descriptor: int, data: bytes) -> None:
        text = self.unread[descriptor] + data
        if descriptor in self.opening:
            head, found, text = text.partition(b"\r\n\r\n")
            if found and head.startswith(b"HTTP/1.1 101 "):
                self.opening.remove(descriptor)
                self.heartbeats[descriptor] = 0
            elif found or not data:
                self._drop(descriptor, head + text)
                return
            else:
                text = head
        if descriptor not in self.opening:
            beats = len(text) // len(HEARTBEAT)
            if not data or text[: beats * len(HEARTBEAT)] != HEARTBEAT * beats:
                self._drop(descriptor, text)  # its end, a Close frame, or what an idle session never sees
                return
            self.heartbeats[descriptor] += beats
            text = text[beats * len(HEARTBEAT) :]
        self.unread[descriptor] = text

    def _drop(self, descriptor: int, text: bytes) -> None:
        self.poll.unregister(descriptor)
        self.opening.discard(descriptor)
        self.dropped.append(text[:80].decode("latin-1"))


def start(command: list[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start a child whose output goes to a file."""
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})


def wait_for_line(log: Path, child: subprocess.Popen[bytes], needle: str) -> str:
    """Return the first line of a child's output that contains ``needle``.

    Raises:
        SystemExit: It ended, or took too long.
    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and child.poll() is None:
        for line in log.read_text(errors="replace").splitlines():
            if needle in line:
                return line
        time.sleep(0.02)
    raise SystemExit(f"{child.args!r} did not start:\n{log.read_text(errors='replace')[-2000:]}")


def forwarders(supervisor: int) -> list[int]:
    """Return the process ids of a supervisor's forwarders."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [int(pid) for pid in children if b"bascule.forwarder" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def anonymous_bytes(pids: list[int]) -> int:
    """Return the anonymous memory of processes: what they allocated, not what they share or map."""
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def ends(log: Path) -> dict[str, int]:
    """Count why sessions ended before the stop, as the proxy's own log says."""
    causes = collections.Counter[str]()
    for line in log.read_text(errors="replace").splitlines():
        if '"session ended"' in line:
            said = json.loads(line)
            causes[f"{said['ended_by']} {said['cause']}"] += 1
    del causes["proxy drain"]
    return dict(causes)


def soak(arguments: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Run it all and return the figures."""
    raise_descriptor_limit()
    behind = start([sys.executable, __file__, "--upstream"], home / "upstream.log")
    try:
        origin = f"http://127.0.0.1:{wait_for_line(home / 'upstream.log', behind, '')}"
        return soak_before(origin, arguments, home)
    finally:
        behind.kill()
        behind.wait()


def soak_before(origin: str, arguments: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Run the proxy in front of an upstream, with its clients, and return the figures."""
    configuration = {
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "websocketProxy": {
            "maxSessionsPerApp": arguments.sessions,
            "heartbeatIntervalMs": arguments.heartbeat_ms,
        },
        "routes": [{"name": "soak", "path": "/", "upstream": origin}],
        "forwarders": {"count": arguments.forwarders},
        "drain": {"rate": 0},
        "log": {"format": "json"},
    }
    (home / "bascule.yaml").write_text(json.dumps(configuration))
    bascule = str(Path(sys.executable).parent / "bascule")
    proxy = start([bascule, "serve", "--config", str(home / "bascule.yaml")], home / "bascule.log")
    try:
        said = json.loads(wait_for_line(home / "bascule.log", proxy, '"listening"'))
        host, _, port = said["public"].rpartition(":")
        workers = forwarders(proxy.pid)
        before = anonymous_bytes(workers)
        client = Client((host, int(port)))
        begun = time.monotonic()
        client.open(arguments.sessions)
        opened = time.monotonic() - begun
        client.idle(arguments.seconds)
        after = anonymous_bytes(workers)
        if forwarders(proxy.pid) != workers:
            client.dropped.append("a forwarder was replaced")
        with urllib.request.urlopen(f"http://{said['admin']}/metrics", timeout=30) as answer:
            metrics = answer.read().decode().splitlines()
        in_flight = next(m.split()[-1] for m in metrics if m.startswith("ws_connection_in_flight_count"))
    finally:
        proxy.send_signal(signal.SIGTERM)
        status = proxy.wait()
    beats = client.heartbeats.values()
    return {
        "sessions": arguments.sessions,
        "in_flight_at_the_end": int(float(in_flight)),
        "dropped": len(client.dropped),
        "dropped_with": sorted(set(client.dropped))[:5],
        "ended_by_the_log": ends(home / "bascule.log"),
        "seconds": arguments.seconds,
        "seconds_to_open": round(opened, 1),
        "forwarders": len(workers),
        "forwarder_bytes_before": before,
        "forwarder_bytes_after": after,
        "forwarder_bytes_per_session": round((after - before) / arguments.sessions),
        "heartbeats_expected": int(0.8 * arguments.seconds * 1000 / arguments.heartbeat_ms) - 1,
        "heartbeats_least": min(beats),
        "heartbeats_most": max(beats),
        "exit_status": status,
    }


def main() -> int:
    """Parse the command line, run, print, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--heartbeat-ms", type=int, default=5000)
    parser.add_argument("--forwarders", type=int, default=None, help="default: as many as cores")
    parser.add_argument("--most-bytes", type=int, default=2048, help="a session, in the forwarder")
    parser.add_argument("--keep", type=Path, help="an existing directory for configuration and logs")
    parser.add_argument("--upstream", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.upstream:
        upstream()
    with tempfile.TemporaryDirectory(prefix="bascule-soak-") as home:
        figures = soak(arguments, arguments.keep or Path(home))
    print(json.dumps(figures, indent=1))
    held = figures["dropped"] == 0 and figures["in_flight_at_the_end"] == arguments.sessions
    beating = figures["heartbeats_least"] >= figures["heartbeats_expected"]
    small = figures["forwarder_bytes_per_session"] <= arguments.most_bytes
    return 0 if held and beating and small and figures["exit_status"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
