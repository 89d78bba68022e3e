"""What is done to a proxy at random times, one or two things at once; each is noted in the chronicle."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

from tests.chaos.connections import accepted
from tests.support.proctree import age, alive, children, forwarders, gateways, links, state
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.chaos.chronicle import Deed
    from tests.chaos.journal import Journal
    from tests.chaos.scene import Scene

__all__ = ["IDLE", "PONG", "Violence"]

IDLE: Final = 6
PONG: Final = 4
"""Seconds of ``sessionIdleTimeoutMs`` and ``pongTimeout``, where they are on."""

_HEALED_WITHIN: Final = 60.0
_HOG: Final = "import time; end = time.monotonic() + {}\nwhile time.monotonic() < end: pass"


class Violence:
    """Does it.

    Args:
        scene: To which proxy.
        journal: Its log.
        swiftly: Whether to do only what is over within a second or two.
    """

    def __init__(self, scene: Scene, journal: Journal, *, swiftly: bool) -> None:
        self._scene = scene
        self._chronicle = scene.chronicle
        self._journal = journal
        self._dice = random.Random(f"{scene.seed}/violence")
        self._victims: set[int] = set()
        self._at_work: set[asyncio.Task[None]] = set()
        self._reloading, self._ending = asyncio.Lock(), asyncio.Lock()
        self._choice: dict[Callable[[], Awaitable[None]], int] = {
            lambda: self._kill("forwarder"): 3,
            lambda: self._kill("gateway"): 4,
            lambda: self._stop("forwarder"): 2,
            lambda: self._stop("gateway"): 2,
            self._reload: 4,
            self._end_upstreams: 1,
            self._close: 2,
        }
        if not swiftly:
            self._choice |= {
                lambda: self._hang("forwarder"): 1,
                lambda: self._hang("gateway"): 1,
                self._freeze: 1,
                self._hog: 1,
            }

    async def rage(self) -> None:
        """Do one thing after the other, now and then two at once, until cancelled."""
        while True:
            await asyncio.sleep(self._dice.uniform(0.3, 4))
            self.strike(2 if self._dice.random() < 0.3 else 1)
            while len(self._at_work) >= 3:
                await asyncio.wait(self._at_work, return_when=asyncio.FIRST_COMPLETED)

    def strike(self, count: int) -> None:
        """Begin to do so many things."""
        for do in self._dice.choices(list(self._choice), list(self._choice.values()), k=count):
            task = asyncio.create_task(self._try(do))
            self._at_work.add(task)
            task.add_done_callback(self._at_work.discard)

    async def calm(self, *, leave: bool = False) -> None:
        """Wait until all that was begun is healed, or leave everything as it is."""
        for task in self._at_work if leave else ():
            task.cancel()
        while self._at_work:
            await asyncio.wait(self._at_work)

    async def _try(self, do: Callable[[], Awaitable[None]]) -> None:
        try:
            await do()
        except (TimeoutError, OSError) as error:
            if not self._scene.stopping:
                self._chronicle.wrong(f"while harm was done: {error!r}")

    # -- processes -------------------------------------------------------------------------------------------

    async def _halt(self, role: str, what: str) -> Deed | None:
        """Stop a process and note it; ``None`` if there is none that nothing is done to, or it leaves."""
        found = (gateways if role == "gateway" else forwarders)(self._scene.proxy)
        # The watchdog lets one that starts stand still for a minute.
        least = 1.0 if what == "hangs" else 0.0
        free = [pid for pid in found if pid not in self._victims and age(pid) >= least]
        if not free:
            return None
        deed = self._chronicle.did(f"{role} {what}", self._dice.choice(free))
        self._victims.add(deed.pid)
        try:
            os.kill(deed.pid, signal.SIGSTOP)
            await eventually_async(lambda: state(deed.pid) == "T", 5, "it stands")
        except (OSError, TimeoutError):
            if alive(deed.pid):
                raise
            deed.ends()  # a former gateway
            return None
        return deed

    def _doom(self, deed: Deed) -> None:
        """Note which sessions a forwarder has adopted that will not go on."""
        held = {int(name[8:-1]) for name in links(deed.pid).values() if name.startswith("socket:")}
        ends = {far for inode, far in accepted(self._scene.address).items() if inode in held}
        for story in self._chronicle.stories.values():
            is_held = story.inode in held or story.end in ends
            if is_held and (story.over_at is None or story.over_at > deed.began - 120):
                story.doomed_by = deed

    async def _gone(self, deed: Deed) -> None:
        """Wait until a process is dead and another one serves."""
        proxy = self._scene.proxy
        await eventually_async(lambda: not alive(deed.pid), _HEALED_WITHIN, f"{deed.pid} is gone")
        deed.over = time.monotonic()
        if deed.what.startswith("forwarder"):
            told = eventually_async(
                lambda: self._journal.deaths.get(deed.pid), _HEALED_WITHIN, "a death is told"
            )
            deed.child = str(await told)

        async def is_whole() -> bool:
            if len(forwarders(proxy)) < 2 or not gateways(proxy):
                return False
            return await asyncio.to_thread(lambda: proxy.cap_if_up) is not None

        await eventually_async(is_whole, _HEALED_WITHIN, "all is as before")
        deed.healed = time.monotonic()

    async def _kill(self, role: str) -> None:
        if (deed := await self._halt(role, "killed")) is not None:
            if role == "forwarder":
                self._doom(deed)
            os.kill(deed.pid, signal.SIGKILL)
            await self._gone(deed)

    async def _hang(self, role: str) -> None:
        if (deed := await self._halt(role, "hangs")) is not None:
            if role == "forwarder":
                self._doom(deed)
            await self._gone(deed)

    async def _stop(self, role: str) -> None:
        """Let a process stand still for less time than the watchdog gives it."""
        if (deed := await self._halt(role, "stopped")) is not None:
            await asyncio.sleep(self._dice.uniform(0.1, 2.5))
            self._go_on(deed.pid)
            self._victims.discard(deed.pid)
            deed.ends()

    def _go_on(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # a former gateway
            os.kill(pid, signal.SIGCONT)

    async def _freeze(self) -> None:
        """Let all processes stand still, as ``docker pause`` does."""
        deed = self._chronicle.did("all frozen")
        top = self._scene.proxy.process.pid
        family = [top, *(pid for pid in children(top) if pid not in self._victims)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(self._dice.uniform(0.5, 8))
        for pid in reversed(family):
            if pid not in self._victims:  # of something else meanwhile
                self._go_on(pid)
        deed.ends()

    # -- everything else -------------------------------------------------------------------------------------

    async def _reload(self) -> None:
        dice, proxy = self._dice, self._scene.proxy
        async with self._reloading:
            began = time.monotonic()
            before = self._chronicle.then("cap", began, began)
            wanted = {
                "cap": dice.choice([cap for cap in range(16, 44) if cap not in before]),
                "idle": dice.choice((0, 0, IDLE)),
                "pong": dice.choice((0, 0, PONG)),
                "sometimes": dice.random() < 0.6,
                "former": dice.choice((0, 0, 1)),
            }
            deed = self._chronicle.did("reload that cuts" if wanted["former"] else "reload")
            for name, value in wanted.items():
                self._chronicle.now(name, value, *self._chronicle.then(name, began, began))
            proxy.change(**self._scene.settings(**wanted))
            while not await self._loads():
                if not self._chronicle.during(deed.began, time.monotonic(), "gateway"):
                    self._chronicle.wrong("a reload failed for no reason")

            async def is_in_force() -> bool:
                return await asyncio.to_thread(lambda: proxy.cap_if_up) == wanted["cap"]

            await eventually_async(is_in_force, _HEALED_WITHIN, f"a reload with {wanted}")
            for name, value in wanted.items():
                self._chronicle.now(name, value)
            deed.over = time.monotonic()
            if wanted["former"]:
                await eventually_async(lambda: len(gateways(proxy)) < 2, _HEALED_WITHIN, "former ones leave")
            deed.healed = time.monotonic()

    async def _loads(self) -> bool:
        """Let the proxy load its configuration; tell whether it did."""
        said = len(self._journal.reloads)
        self._scene.proxy.hang_up()
        await eventually_async(lambda: self._journal.reloads[said:], _HEALED_WITHIN, "a reload has an end")
        return self._journal.reloads[said]

    async def _end_upstreams(self) -> None:
        both = self._scene.sessions_upstream, self._scene.requests_upstream
        async with self._ending:
            deed = self._chronicle.did("upstreams dead")
            for upstream in both:
                upstream.die()
            await asyncio.sleep(self._dice.uniform(0.2, 4))
            for upstream in both:
                await upstream.start()
            deed.ends()

    async def _hog(self) -> None:
        """Keep the cores busy."""
        deed = self._chronicle.did("cores hogged")
        code = _HOG.format(self._dice.uniform(1, 6))
        hogs = [await asyncio.create_subprocess_exec(sys.executable, "-c", code) for _ in range(3)]
        await asyncio.gather(*(hog.wait() for hog in hogs))
        deed.ends()

    async def _close(self) -> None:
        """Close a session as an administrator, if a gateway is there to list them."""
        api, chosen = self._scene.api, self._dice.random()
        listed = await asyncio.to_thread(api.call_if_up, "GET", "/sessions")
        rows = json.loads(listed[1])["sessions"] if listed and listed[0] == 200 else ()
        if rows:
            row = rows[int(chosen * len(rows))]
            stories = self._chronicle.stories.values()
            story = next(story for story in stories if story.client == row["client"])
            self._chronicle.did(f"session {story.number} closed by an administrator").ends()
            story.closed_by_admin = True
            await asyncio.to_thread(api.call_if_up, "DELETE", f"/sessions/{row['id']}")
