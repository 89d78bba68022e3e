"""What a kubelet does for one pod: its log, its commands, its ports. The pod is a process of this host."""

import contextlib
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from tests.support.kube.spdy import Connection, Stream

__all__ = ["Pod"]

_CHUNK: Final = 65536


@dataclass(frozen=True)
class Pod:
    """A running process that stands for a container.

    Attributes:
        log: What it wrote.
        ports: Its ports, and where they really are.
        files: Paths that differ in a container, by how they begin, and where they are here.
        environment: What its commands have in their environment.
        stop: What sends it SIGTERM and waits for its end.
    """

    log: Path
    ports: Mapping[int, tuple[str, int]]
    files: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    stop: Callable[[], object] = lambda: None

    def logged(self, seconds: int | None) -> bytes:
        """Return its log, or what it wrote in the last seconds."""
        lines = self.log.read_bytes().splitlines(keepends=True)
        if seconds is None:
            return b"".join(lines)
        since = datetime.now(UTC) - timedelta(seconds=seconds)
        return b"".join(line for line in lines if _written(line) >= since)

    def execute(self, connection: Connection, command: list[str], wanted: set[str]) -> None:
        """Run a command, and send what it prints and how it ended on the streams of an exec."""
        streams: dict[str, Stream] = {}
        for stream, data, _ in connection.events():
            if data is None:
                streams[stream.headers["streamtype"]] = stream
            if streams.keys() >= wanted:
                break
        here, environment = [self._here(word) for word in command], {**os.environ, **self.environment}
        done = subprocess.run(here, env=environment, capture_output=True, check=False)
        streams["stdout"].send(done.stdout, last=True)
        streams["stderr"].send(done.stderr, last=True)
        streams["error"].send(json.dumps(_status(done.returncode)).encode(), last=True)
        for _ in connection.events():  # until the client has read it
            pass

    def forward(self, connection: Connection) -> None:
        """Join the streams of a port-forward with connections to the pod's ports."""
        errors: dict[str, Stream] = {}
        sockets: dict[int, socket.socket] = {}
        with contextlib.ExitStack() as held:
            for stream, data, last in connection.events():
                request = stream.headers["requestid"]
                if stream.headers["streamtype"] == "error":
                    errors[request] = stream
                elif data is None:
                    address = self.ports.get(int(stream.headers["port"]))
                    try:
                        sockets[stream.number] = held.enter_context(_dial(address))
                    except OSError as error:
                        errors[request].send(str(error).encode(), last=True)
                        continue
                    what = (sockets[stream.number], stream, errors[request])
                    threading.Thread(target=_answer, args=what, daemon=True).start()
                elif target := sockets.get(stream.number):
                    with contextlib.suppress(OSError):
                        target.sendall(data)
                        if last:
                            target.shutdown(socket.SHUT_WR)

    def _here(self, word: str) -> str:
        for beginning, place in self.files.items():
            if word.startswith(beginning):
                return str(place / word.removeprefix(beginning))
        return word


def _written(line: bytes) -> datetime:
    found = re.search(rb'"time":"([^"]+)"', line)
    return datetime.fromisoformat(found[1].decode()) if found else datetime.now(UTC)


def _status(code: int) -> dict[str, object]:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    causes = [{"reason": "ExitCode", "message": str(code)}]
    failure = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}
    return {"metadata": {}, **failure, "message": f"command terminated with exit code {code}"}


def _dial(address: tuple[str, int] | None) -> socket.socket:
    if address is None:
        raise ConnectionRefusedError("nobody listens on that port of the pod")
    return socket.create_connection(address)


def _answer(source: socket.socket, stream: Stream, error: Stream) -> None:
    with contextlib.suppress(OSError, ValueError):  # whichever side leaves first
        while data := source.recv(_CHUNK):
            stream.send(data)
        stream.send(b"", last=True)
        error.send(b"", last=True)
