"""Start other people's servers, know when they are up, and end them.

Rules of this file: only processes started here are ended here, by their id; everything a
process says goes to a file, whose end is part of every failure.
"""

import contextlib
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, Self, TypeVar

# For servers that want a number and cannot take 0. Left in TIME_WAIT: whoever binds it sets SO_REUSEADDR, as
# all of ours do.
from bascule.demo.children import free_port as reserve_port
from tests.support.imported import Copy
from tests.support.waiting import eventually

__all__ = ["Service", "answers", "kept_ports", "reserve_port"]

T = TypeVar("T")

_SAID: Final = 4000
"""Characters of a process's output that a failure quotes."""


def answers(url: str, fields: Mapping[str, str] | None = None) -> bool:
    """Say whether a GET is answered with 200."""
    request = urllib.request.Request(url, headers=dict(fields or {}))
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:  # URLError too
        return False


@contextlib.contextmanager
def kept_ports(count: int) -> Iterator[list[int]]:
    """Keep ports of the loopback for whoever binds them later, as `reserve_port` does for a minute only.

    The kernel gives a port that is bound to nobody else, and who sets SO_REUSEADDR may bind it as well.
    """
    with contextlib.ExitStack() as kept:
        sockets = [kept.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        yield [each.getsockname()[1] for each in sockets]


class Service:
    """One child process.

    Attributes:
        name: For failures.
        log: File with all it wrote.
        process: The child.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | os.PathLike[str]],
        log: Path,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.process: subprocess.Popen[bytes] | Copy
        output: IO[bytes]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [os.fspath(word) for word in argv],
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that what is left of it can be ended as a group
            )

    @classmethod
    def of(cls, name: str, process: Copy, log: Path) -> Self:
        """Return that of a child that was started already, and whose output goes to ``log``."""
        service = cls.__new__(cls)
        service.name, service.process, service.log = name, process, log
        return service

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def said(self) -> str:
        """Return the end of the output."""
        return self.log.read_text(errors="replace")[-_SAID:]

    def wait_until(self, ready: Callable[[], T | None], seconds: float) -> T:
        """Return the first true answer of ``ready``.

        Raises:
            RuntimeError: The process ended first, or the time is up. Quotes its output.
        """

        def look() -> T | None:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.said()}")
            return ready()

        try:
            return eventually(look, seconds, f"{self.name} is up")
        except TimeoutError as late:
            raise RuntimeError(f"{late}\n{self.said()}") from None

    def stop(self, seconds: float = 10.0) -> int:
        """End it with SIGTERM, and whatever is left of its process group with SIGKILL.

        Returns:
            Its exit status; negative for the signal that ended it.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
