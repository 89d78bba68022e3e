"""The order to drain, which takes effect once however often it is given.

SIGTERM gives it through the supervisor, `POST /drain` here, and a former gateway may have begun to obey it.
How sessions are ended then is in `bascule.gateway.sessions.drain`.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bascule.gateway.sessions.drain import Draining
from bascule.handover.control import DrainBegun
from bascule.protocol.closing import End
from bascule.tasks import spawn

if TYPE_CHECKING:
    from bascule.configuration.config import Config
    from bascule.gateway.control_channel import ControlChannel
    from bascule.gateway.life import Life
    from bascule.gateway.sessions.links import Links
    from bascule.gateway.sessions.refusal import Refuser
    from bascule.gateway.sessions.registry import Registry
    from bascule.policy.budget import SessionBudget

__all__ = ["DrainOrder"]


class DrainOrder:
    """The drain of this gateway, if one was ordered."""

    def __init__(
        self,
        config: Config,
        *,
        life: Life,
        budget: SessionBudget,
        registry: Registry,
        links: Links,
        refuser: Refuser,
        words: memoryview,
        supervisor: ControlChannel,
    ) -> None:
        self._config = config
        self._life = life
        self._budget = budget
        self._registry = registry
        self._links = links
        self._refuser = refuser
        self._words = words
        self._supervisor = supervisor
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin a drain, or go on with the one that another gateway began; a second call changes nothing."""
        if self._task is not None:
            return
        since = self._life.drain(time.monotonic())
        self._refuser.release()  # other instances may have room; a browser that comes back here is held again
        draining = Draining(
            self._config, self._rows, self._close, lambda: self._budget.in_use, self._words, since
        )
        self._task = spawn(draining.run(), "drain")
        self._supervisor.say(DrainBegun(since))

    def leave(self) -> None:
        """Leave the rest of the drain to another gateway: it goes on, and we can tell no session any more."""
        if self._task is not None:
            self._task.cancel()

    async def wait_ended(self) -> None:
        """Wait until the drain, which has begun, has ended.

        Cancellation: safe; the drain goes on.
        """
        assert self._task is not None
        await asyncio.wait([self._task])

    async def _rows(self) -> list[tuple[int, float]]:
        listed = {live.id: live.idle for live in await self._links.list_sessions()}
        return [(record.id, listed.get(record.id, 0.0)) for record in self._registry]

    def _close(self, identifier: int, within: float) -> bool:
        record = self._registry.get(identifier)
        return record is None or self._links.close_session(record.slot, identifier, End.DRAIN, within=within)
