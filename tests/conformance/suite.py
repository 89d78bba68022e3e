"""Run Autobahn cases with kosoku, in a process of their own.

kosoku imports the suite's Python 2 sources through shims that change ``sys.path`` and ``binascii`` for
everybody, so it must not share a process with other tests. Run as a module this is that process:
``client URL CASE…`` fuzzes a server, ``server CASE…`` serves the cases and prints its port first; both
end by printing their verdicts as one line of JSON.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.support.parts import ROOT
from tests.support.processes import Service
from tests.support.waiting import eventually

__all__ = ["FuzzingUpstream", "Verdict", "drive_cases", "fuzz", "run_fuzzing_upstream"]

AT_ONCE: Final = 4
"""Cases in flight together: many of them only wait for a timer of the suite."""

_DEADLINE: Final = 100.0


@dataclass(frozen=True)
class Verdict:
    """What the suite says about one case.

    Attributes:
        behavior: About the messages.
        close: About the closing handshake.
        accepted: Every verdict about the messages that passes this case. More than one where a case sends
            a message and breaks the protocol right behind it: whether the echo or the failure comes first
            is a race in every peer, and both are right.
    """

    behavior: str
    close: str
    accepted: frozenset[str]

    @property
    def pair(self) -> tuple[str, str]:
        """Both verdicts."""
        return self.behavior, self.close

    def same_as(self, other: "Verdict") -> bool:
        """Say whether two runs of a case agree, up to a race that the case itself allows."""
        raced = {self.behavior, other.behavior} <= self.accepted
        return self.close == other.close and (raced or self.behavior == other.behavior)


def _decode(text: str) -> dict[str, Verdict]:
    return {
        case: Verdict(behavior, close, frozenset(accepted))
        for case, (behavior, close, accepted) in json.loads(text.splitlines()[-1]).items()
    }


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", __name__, *words]


def fuzz(url: str, cases: Sequence[str]) -> dict[str, Verdict]:
    """Run cases against a server at ``url`` (``ws://…``) and return the verdict of each."""
    done = subprocess.run(
        _command("client", url, *cases),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_DEADLINE,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
    return _decode(done.stdout)


@dataclass(frozen=True)
class FuzzingUpstream:
    """A server that misbehaves by the book.

    Attributes:
        origin: ``http://host:port``.
        output: What its process prints.
    """

    origin: str
    output: Path

    def verdicts(self) -> dict[str, Verdict]:
        """Return the verdict of each case, once `drive_cases` is done."""
        return _decode(eventually(self._last_line, 20, "the verdicts"))

    def _last_line(self) -> str | None:
        text = self.output.read_text()
        return text if text.endswith("}\n") else None


@contextlib.contextmanager
def run_fuzzing_upstream(cases: Sequence[str]) -> Iterator[FuzzingUpstream]:
    """Serve cases to one client, for one run."""
    with tempfile.TemporaryDirectory() as home:
        output = Path(home) / "suite.log"
        service = Service("fuzzing server", _command("server", *cases), output, cwd=ROOT)
        try:
            port = service.wait_until(lambda: output.read_text().strip(), 30.0)
            yield FuzzingUpstream(f"http://127.0.0.1:{port}", output)
        finally:
            service.stop()


async def drive_cases(front: str) -> None:
    """Be the client of a fuzzing server at ``front`` (``ws://…``): echo through every case.

    Raises:
        TimeoutError: Not within the deadline of a run.
    """
    turns = asyncio.Semaphore(AT_ONCE)

    async def echo(case: int) -> None:
        async with turns:
            with contextlib.suppress(WebSocketException, ConnectionError, EOFError):
                url = f"{front}/runCase?case={case}&agent=echo"
                async with connect(url, max_size=None, ping_interval=None, compression=None) as connection:
                    async for message in connection:
                        await connection.send(message)

    async with asyncio.timeout(_DEADLINE):
        async with connect(f"{front}/getCaseCount") as connection:
            count = int(await connection.recv())
        async with asyncio.TaskGroup() as tasks:
            for case in range(1, count + 1):
                tasks.create_task(echo(case))
        async with connect(f"{front}/updateReports?agent=echo") as connection:
            await connection.wait_closed()


def _encode(results: Sequence[Any]) -> str:
    return json.dumps(
        {
            result.case_id: (
                result.behavior.value,
                result.behavior_close.value,
                sorted(result.expected or ()),
            )
            for result in results
        }
    )


async def _main(role: str, *words: str) -> None:
    import kosoku

    try:
        if role == "client":
            url, *cases = words
            results = await kosoku.run_fuzzingclient(url, cases=cases, concurrency=AT_ONCE)
        else:
            async with kosoku.run_fuzzingserver(cases=list(words), host="127.0.0.1", port=0) as server:
                print(server.port, flush=True)
                results = await server.get_result()
    except kosoku.FailureError as failure:  # some case failed: the verdicts are what is asked for
        results = failure.results
    print(_encode(results), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
    # Not by the interpreter's own end: threads of kosoku outlive the run, and one that wants the interpreter
    # while it is taken down aborts the process, in one run of five, with every verdict told.
    os._exit(0)
