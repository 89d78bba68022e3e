"""One slow server for a whole test run, also when pytest-xdist spreads it over several workers.

The first worker that asks starts the server and owns it; the others wait on a file lock and
read where it is. Everyone leaves a mark, and the owner ends the server only when no mark of a
living process is left.
"""

import contextlib
import fcntl
import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.processes import Service
from tests.support.waiting import eventually

__all__ = ["one_at_a_time", "run_directory", "shared_service"]

_LONGEST_RUN: Final = 900.0
"""Seconds the owner waits for the other workers before it ends the server all the same."""


def run_directory(factory: pytest.TempPathFactory) -> Path:
    """Return a directory that all workers of this run share, and no other run."""
    base = factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@contextlib.contextmanager
def one_at_a_time(name: str, factory: pytest.TempPathFactory) -> Iterator[None]:
    """Wait until no other worker of this run is in a block of this name."""
    home = run_directory(factory) / f"one-{name}"
    home.mkdir(exist_ok=True)
    with _locked(home):
        yield


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def shared_service(
    name: str,
    factory: pytest.TempPathFactory,
    start: Callable[[Path], tuple[Service, dict[str, Any]]],
) -> Iterator[dict[str, Any]]:
    """Use a server that this run starts once.

    Args:
        name: Its name, and that of its directory.
        factory: pytest's own, for the directory.
        start: Called by at most one worker with an empty directory; returns the running server and
            what others need to know to use it, which must survive JSON.

    Yields:
        What ``start`` said about it.
    """
    home = run_directory(factory) / f"shared-{name}"
    users = home / "users"
    users.mkdir(parents=True, exist_ok=True)
    mine = users / str(os.getpid())
    facts_file = home / "facts.json"
    owned: Service | None = None
    with _locked(home):
        if not facts_file.exists():
            owned, facts = start(Path(tempfile.mkdtemp(dir=home)))  # another one if a start failed before
            facts_file.write_text(json.dumps(facts))
        facts = json.loads(facts_file.read_text())
        mine.touch()
    try:
        yield facts
    finally:
        mine.unlink()
        if owned is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)  # the last test's time-out is not for others' tests
            with contextlib.suppress(TimeoutError):
                eventually(
                    lambda: not any(_alive(int(user.name)) for user in users.iterdir()),
                    _LONGEST_RUN,
                    f"the other workers are done with {name}",
                )
            with _locked(home):
                facts_file.unlink()
            owned.stop()
