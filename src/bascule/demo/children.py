"""Ports and child processes of the demo: find a free one, wait until it answers, end it."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from typing import Final

from bascule.errors import ConfigError
from bascule.policy.endpoints import Endpoint

_UP_WITHIN: Final = 90.0
"""Seconds: a first start of JupyterLab takes 12 on an idle machine and several times that on a busy one."""
_DOWN_WITHIN: Final = 5.0
_TICK: Final = 0.1


def free_endpoint(wanted: Endpoint, *, any_port: bool = False) -> Endpoint:
    """Turn an endpoint into one with a port that is free now.

    A port that the kernel chose is left in TIME_WAIT, so that it gives it to nobody else before it is bound.

    Args:
        wanted: The endpoint; port 0 for any.
        any_port: Take another port when this one is taken.

    Raises:
        ConfigError: It is taken, or not an address of this machine.
    """
    try:
        with socket.create_server((wanted.host, wanted.port)) as listener:
            port: int = listener.getsockname()[1]
            if wanted.port == 0:
                with socket.create_connection((wanted.host, port)):
                    served, _ = listener.accept()
                    served.close()
            return Endpoint(wanted.host, port)
    except OSError as error:
        if any_port and wanted.port != 0:
            return free_endpoint(Endpoint(wanted.host, 0))
        raise ConfigError([f"{wanted} cannot be used: {error.strerror}"]) from None


def wait_for(address: str) -> None:
    """Wait until an address answers with 200.

    Raises:
        TimeoutError: It did not.
    """
    deadline = time.monotonic() + _UP_WITHIN
    while not _answers(address):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{address.partition('?')[0]} did not answer within {_UP_WITHIN:g} s")
        time.sleep(_TICK)


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child: by the end of its input, by SIGTERM, by SIGKILL if it takes its time."""
    if child.stdin is not None:
        child.stdin.close()
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
