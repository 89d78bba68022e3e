"""Starts of ``bascule`` without its imports, which take three quarters of the CPU of a start.

A process that has imported all of it forks, and its copy becomes the command. It has an environment, a
directory, a session and an output of its own, but its interpreter's options, its limits and its network are
those of the process that it is a copy of: whoever wants others starts the command itself, as tests/commands
does.

Rules of this file: what is imported here, a command imports as well before it serves.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Copy", "copies_would_differ", "start_copy"]

_FOR_INTERPRETERS: Final = ("PYTHON", "LD_", "MALLOC_", "LANG", "LC_", "COVERAGE")
"""How variables begin that are read before a program is."""


def _network() -> int:
    """Return the number of the network that this thread is in."""
    return os.stat("/proc/thread-self/ns/net").st_ino


_NETWORK: Final = _network()


def copies_would_differ(env: Mapping[str, str]) -> bool:
    """Tell whether a copy would not be what a command is that is started here with these variables."""
    return _network() != _NETWORK or any(name.startswith(_FOR_INTERPRETERS) for name in env)


class Copy:
    """A process, with as much of `subprocess.Popen` as tests use.

    Attributes:
        pid: Its id, which stays its own until its exit status was asked for.
        returncode: That, as `subprocess` has it; ``None`` while it runs.
    """

    def __init__(self, origin: _Origin, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._origin = origin
        self._descriptor = os.pidfd_open(pid)
        self._end = (
            select.poll()
        )  # select(2) knows no descriptor above 1,023, which a job may have in the end
        self._end.register(self._descriptor, select.POLLIN)

    def poll(self) -> int | None:
        """Return `returncode`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: It has not, within so many seconds.
        """
        if self.returncode is None:
            if not self._end.poll(None if timeout is None else 1000 * timeout):
                raise subprocess.TimeoutExpired("bascule", timeout or 0)
            self.returncode = self._origin.ask(wait=self.pid)
            os.close(self._descriptor)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless its exit status is known."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class _Origin:
    """The process of which copies are made."""

    def __init__(self, **env: str) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        self._process = subprocess.Popen(command, env={**os.environ, **env}, pass_fds=[theirs.fileno()])
        theirs.close()
        self._channel = ours.makefile("rwb")
        ours.close()
        self._lock = threading.Lock()

    def ask(self, **order: Any) -> int:
        """Give an order, and return the number that it is answered with."""
        with self._lock:
            self._channel.write(json.dumps(order).encode() + b"\n")
            self._channel.flush()
            return int(self._channel.readline())

    def end(self) -> None:
        """End it; its copies go on."""
        self._channel.close()
        self._process.wait()


@functools.cache
def _origin(**env: str) -> _Origin:
    origin = _Origin(**env)
    atexit.register(origin.end)
    return origin


def start_copy(argv: Sequence[str], log: Path, cwd: Path, env: Mapping[str, str], modules: Path) -> Copy:
    """Start ``bascule``.

    Args:
        argv: Its arguments.
        log: A file to which its output is appended.
        cwd: Its directory.
        env: More environment, to which `copies_would_differ` says no.
        modules: A folder of modules that stand before all others.
    """
    origin = _origin(PYTHONPATH=str(modules), BASCULE_PURE=env.get("BASCULE_PURE", ""))
    order = {"argv": list(argv), "log": str(log), "cwd": str(cwd), "env": {**os.environ, **env}}
    return Copy(origin, origin.ask(**order))


def _obey(channel: socket.socket) -> None:
    """Make copies until nobody can ask for any more; return in each."""
    gc.collect()
    gc.freeze()
    file = channel.makefile("rwb")
    while line := file.readline():
        order = json.loads(line)
        if "wait" in order:
            said = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        elif said := os.fork():
            pass
        else:
            file.close()
            channel.close()
            _be(**order)
            return
        file.write(b"%d\n" % said)
        file.flush()
    os._exit(0)


def _be(argv: list[str], log: str, cwd: str, env: dict[str, str]) -> None:
    """Take the place that a command has where it starts."""
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_APPEND)):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(1, 2)
    sys.argv = ["bascule", *argv]


if __name__ == "__main__":
    from bascule.__main__ import main

    for name in ("cli", "supervisor.main", "gateway.main", "forwarder.main"):
        importlib.import_module(f"bascule.{name}")
    _obey(socket.socket(fileno=int(sys.argv[1])))
    main()
