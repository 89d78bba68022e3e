"""An operator's terminal: one shell that is given line after line, as somebody types them."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from tests.support.waiting import eventually

__all__ = ["Answer", "Terminal", "open_terminal"]

_CURL: Final = "fail-with-body\nno-progress-meter\n"
"""For ``CURL_HOME``: an answer that is an error is one."""


@dataclass(frozen=True)
class Answer:
    """What a command printed, both streams together, and how it ended."""

    status: int
    text: str


class Terminal:
    """A running bash. A pipe fails where any of its commands does."""

    def __init__(self, process: subprocess.Popen[bytes], screen: Path, ends: IO[str]) -> None:
        self._process, self._screen, self._ends = process, screen, ends

    def type(self, command: str, seconds: float = 60.0) -> Answer:
        """Type one command and wait until the prompt is back."""
        before = self._screen.stat().st_size
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\necho $? >>'{self._ends.name}'\n".encode())
        self._process.stdin.flush()
        status = eventually(self._ends.readline, seconds, command)
        return Answer(int(status), self._screen.read_bytes()[before:].decode(errors="replace"))

    def run(self, command: str, seconds: float = 60.0) -> str:
        """Type one command that must succeed; returns what it printed."""
        answer = self.type(command, seconds)
        assert answer.status == 0, f"{command}\nended with {answer.status}:\n{answer.text[-4000:]}"
        return answer.text


@contextmanager
def open_terminal(
    home: Path,
    *,
    at: Path,
    path: tuple[Path, ...] = (),
    env: Mapping[str, str] | None = None,
    under: tuple[str, ...] = (),
) -> Iterator[Terminal]:
    """Open a terminal, and end what is left running in it.

    Args:
        home: An existing directory, the ``HOME`` of who sits there.
        at: Where the commands are typed.
        path: Folders to look for programs in, before those of ``PATH``.
        env: More environment.
        under: A command and its arguments that the shell is run by.
    """
    (home / ".curlrc").write_text(_CURL)
    screen, ends = home / "screen", home / "ends"
    ends.touch()
    inherited = {key: value for key, value in os.environ.items() if not _is_ours(key)}
    places = os.pathsep.join([*map(str, path), os.environ["PATH"], "/usr/sbin", "/sbin"])
    whole = {**inherited, "PATH": places, "HOME": str(home), "CURL_HOME": str(home), **(env or {})}
    with screen.open("wb") as output, ends.open("r") as told:
        process = subprocess.Popen(
            [*under, "bash", "-o", "pipefail"],
            cwd=at,
            env=whole,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield Terminal(process, screen, told)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _is_ours(name: str) -> bool:
    """Say whether a variable speaks to this very run of the tests, or of make, and not to a command."""
    return bool(re.match(r"PYTEST_|MAKE|MFLAGS|COV_|BASCULE_|KUBECONFIG|HELM_", name))
