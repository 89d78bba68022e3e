"""A run from start to stop, and what it finds."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.figures import Figures
from tests.chaos.holdings import grown, held
from tests.chaos.hub import come_and_go
from tests.chaos.journal import Journal
from tests.chaos.oracle import Oracle
from tests.chaos.scene import Scene
from tests.chaos.violence import Violence
from tests.support.proctree import alive, children
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

    from tests.chaos.chronicle import Deed

__all__ = ["Run"]

_ROUND: Final = 30.0
"""Seconds of violence between two moments at which all is compared."""

_STOPS_WITHIN: Final = 3.0 + 4.0 + 2.0
"""The drain's time, what a stop may take beyond it, and what a busy machine adds."""


class Run:
    """One run.

    Args:
        variant: See `tests.chaos.scene.VARIANTS`.
        seed: From which all chance comes.
        seconds: Of violence; with less than `_ROUND` nothing is done that takes long to heal.
        home: An empty directory, where configuration, log and deeds stay.
    """

    def __init__(self, variant: str, seed: int, seconds: float, home: Path) -> None:
        self._scene = Scene(variant, seed, home)
        self._chronicle = self._scene.chronicle
        self._seconds = seconds
        self._figures = Figures(self._scene)

    async def run(self) -> list[str]:
        """Do it; return what was wrong."""
        with contextlib.suppress(AssertionError):  # of an exit status, which is noted by then
            async with AsyncExitStack() as stack:
                await self._scene.start(stack)
                self._journal = Journal(self._scene.proxy.process.log)
                stack.callback(self._journal.close)
                self._violence = Violence(self._scene, self._journal, swiftly=self._seconds < _ROUND)
                lives = [self._scene.traffic(), self._figures.watch(), self._progress()]
                if self._scene.variant == "hub":
                    lives.append(come_and_go(self._scene))
                for life in lives:
                    await self._beside(stack, life)
                await self._rounds()
                await self._stop()
        return self._chronicle.wrongs

    async def _beside(self, stack: AsyncExitStack, life: Coroutine[Any, Any, None]) -> None:
        """Let something go on until the run is over."""
        task = asyncio.create_task(life)

        async def end() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        stack.push_async_callback(end)

    async def _rounds(self) -> None:
        going = self._scene.going
        going.set()
        await asyncio.sleep(min(5.0, self._seconds / 4))
        async with self._nobody_there():
            first = held(self._scene.proxy)
        left = self._seconds
        while left > 0:
            raging = asyncio.create_task(self._violence.rage())
            await asyncio.sleep(min(left, _ROUND))
            left -= _ROUND
            going.clear()
            raging.cancel()
            await self._violence.calm()
            await self._figures.settle()
            going.set()
        async with self._nobody_there():
            if more := await grown(self._scene.proxy, first):
                self._chronicle.wrong(f"descriptors and memory: {first} became {more}")

    @contextlib.asynccontextmanager
    async def _nobody_there(self) -> AsyncIterator[None]:
        """Let all sessions and requests end, and none begin before the block is over."""
        scene = self._scene
        scene.leaving = True
        await scene.all_over()
        scene.going.clear()
        await scene.all_over()
        await self._figures.settle()
        yield
        scene.leaving = False
        scene.going.set()

    async def _stop(self) -> None:
        """Tell the proxy to stop in the middle of everything."""
        scene, chronicle, service = self._scene, self._chronicle, self._scene.proxy.process
        await asyncio.sleep(min(5.0, self._seconds / 4))
        self._violence.strike(2)
        await asyncio.sleep(0.1)
        family = children(service.pid)
        scene.stopping = True
        chronicle.stopped_at = time.monotonic()
        chronicle.did("stop")
        service.process.send_signal(signal.SIGTERM)
        try:
            await eventually_async(lambda: service.process.poll() is not None, _STOPS_WITHIN, "it stops")
        except TimeoutError as late:
            chronicle.wrong(str(late))
        if (status := service.process.poll()) != 0:
            chronicle.wrong(f"it ended with {status}")
        if left := [pid for pid in family if alive(pid)]:
            chronicle.wrong(f"processes are left: {left}")
        if sockets := [path.name for path in scene.home.rglob("*.sock") if path.is_socket()]:
            chronicle.wrong(f"sockets are left: {sockets}")
        scene.leaving = True
        await self._violence.calm(leave=True)
        await scene.all_over()
        (scene.home / "deeds.txt").write_text("\n".join(map(self._told, chronicle.deeds)))
        for finding in Oracle(chronicle, self._journal.lines, has_tls=scene.variant == "tls").findings():
            chronicle.wrong(finding)

    def _told(self, deed: Deed) -> str:
        times = map(self._chronicle.at, (deed.began, deed.over, deed.healed))
        return f"{' / '.join(times)}: {deed.what} {deed.pid or ''} {deed.child}"

    async def _progress(self) -> None:
        told = 0
        while True:
            await asyncio.sleep(5)
            print(self.summary, *self._chronicle.wrongs[told:], sep="\n  ", flush=True)
            told = len(self._chronicle.wrongs)

    @property
    def summary(self) -> str:
        """What happened so far, in a line."""
        chronicle = self._chronicle
        refused = sum(story.is_refused for story in chronicle.stories.values())
        deeds, wrongs = chronicle.deeds, chronicle.wrongs
        return (
            f"{chronicle.at(time.monotonic()):>8} s: {chronicle.live} sessions, {refused} of"
            f" {len(chronicle.stories)} upgrades refused; {chronicle.answered} requests answered,"
            f" {chronicle.failed} failed; {len(deeds)} deeds, last {[deed.what for deed in deeds[-1:]]};"
            f" {len(wrongs)} wrong"
        )
