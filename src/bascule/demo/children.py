"""Ports and child processes of the demo: find a free port, wait until a child answers, end it."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from typing import Final

from bascule.errors import ConfigError

__all__ = ["HOST", "check_loopback", "end", "free_port", "wait_for"]

HOST: Final = "127.0.0.1"
"""Address at which everything of the demo listens unless told otherwise."""
_UP_WITHIN: Final = 90.0
"""Seconds for a child to answer: JupyterLab's first start takes 12 on an idle machine, and far more on a
busy one."""
_DOWN_WITHIN: Final = 5.0
_TICK: Final = 0.1


def check_loopback() -> None:
    """Check that the loopback can be used, by which the parts of the demo reach each other.

    Raises:
        ConfigError: It has no address, or is down: a container or a namespace may lack it.
    """
    try:
        free_port()
    except OSError as error:
        problem = f"demo: the loopback ({HOST}) cannot be used: {error.strerror or error}"
        raise ConfigError([problem]) from error


def free_port() -> int:
    """Return a free port of the loopback, which stays free until the caller or its child binds it.

    A connection of ours leaves it in TIME_WAIT, so the kernel gives it to no process that asks for any port.

    Raises:
        OSError: The loopback cannot be used.
    """
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        with socket.create_connection((HOST, port), _DOWN_WITHIN):
            served, _ = listener.accept()
            served.close()
        return port


def wait_for(address: str) -> None:
    """Wait until an address answers with 200.

    Raises:
        TimeoutError: It did not within `_UP_WITHIN`.
    """
    deadline = time.monotonic() + _UP_WITHIN
    while not _answers(address):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{address.partition('?')[0]} did not answer within {_UP_WITHIN:g} s")
        time.sleep(_TICK)


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child: close its input if we hold that, else send SIGTERM; SIGKILL after `_DOWN_WITHIN`."""
    if child.stdin is not None:
        child.stdin.close()  # and no signal: it could arrive while the child closes its event loop
    else:
        child.terminate()
    try:
        child.wait(_DOWN_WITHIN)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
