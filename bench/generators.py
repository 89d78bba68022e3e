"""The suite's native parts: built with ``cc -O2``, started, spoken to.

``Echo`` is the upstream, ``Load`` the load generator: one command a line in, one JSON object a line out (see
native/load.c). A command has answered when nothing of it is in flight, so clocks read before and after
bracket it exactly.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
from pathlib import Path
from typing import Any, Self

from bench.places import PARTS
from bench.processors import other_processors, pin

SOURCES = Path(__file__).parent / "native"
BUILT = PARTS / "native"
COMPILE = ("cc", "-O2", "-Wall", "-Wextra")

Answer = dict[str, Any]

#: What no answer should have any of. ``shed``: paced messages that were never sent, since their session still
#: waited for 64 others; the longest delays of all would be missing from the percentiles.
FAULTS = ("lost", "bad", "failed", "http_failed", "shed")


class LoadFailed(Exception):
    """A command answered with lost sessions, wrong bytes or not at all."""


def build(name: str) -> Path:
    """The binary of ``native/NAME.c``, compiled when a source is newer."""
    source, binary = SOURCES / f"{name}.c", BUILT / name
    newest = max(path.stat().st_mtime for path in (source, SOURCES / "ws.h"))
    if not binary.exists() or binary.stat().st_mtime < newest:
        BUILT.mkdir(parents=True, exist_ok=True)
        unfinished = binary.with_suffix(f".{os.getpid()}")
        subprocess.run([*COMPILE, "-o", str(unfinished), str(source), "-lm"], check=True)
        unfinished.rename(binary)
    return binary


class Echo:
    """The upstream: WebSocket echo, /source, /heartbeat, /large."""

    def __init__(self, heartbeat_ms: int = 0) -> None:
        self.process = subprocess.Popen(
            [str(build("echo")), "0", str(heartbeat_ms)],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=pin(other_processors()),
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Load:
    """A load generator against one port of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self.process = subprocess.Popen(
            [str(build("load")), f"127.0.0.1:{port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            preexec_fn=pin(other_processors()),
        )

    def send(self, command: str, **words: Any) -> None:
        """Start a command without waiting for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join([command, *(f"{k}={v}" for k, v in words.items())]) + "\n")
        self.process.stdin.flush()

    def answer(self, timeout: float = 90.0, *, strict: bool = False) -> Answer:
        """The next answer; ``strict`` refuses one that lost or garbled anything, or left a message out."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                raise LoadFailed(f"no answer within {timeout:g} s")
        line = self.process.stdout.readline()
        if not line:
            raise LoadFailed(f"the load generator ended: {self.process.wait()}")
        answer: Answer = json.loads(line)
        wrong = {name: answer[name] for name in FAULTS if answer.get(name)}
        if strict and wrong:
            raise LoadFailed(f"{wrong} of {answer['sessions']} sessions")
        return answer

    def ask(self, command: str, *, strict: bool = True, **words: Any) -> Answer:
        """Send a command and wait; ``strict`` as for `answer`."""
        self.send(command, **words)
        try:
            return self.answer(strict=strict)
        except LoadFailed as error:
            raise LoadFailed(f"{command} {words}: {error}") from None

    def stop(self) -> None:
        """End it; its sessions are dropped."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
