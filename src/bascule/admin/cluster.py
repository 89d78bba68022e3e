"""Asks the other instances how full they are.

Each is asked ``GET /capacity?scope=instance``. One round serves all callers within
`capacity.cacheFor`, callers that arrive during a round wait for that round, and a round takes at
most `capacity.peerTimeout`, name resolution included.

A headless service lists this instance too, under an address it cannot know, and one may be listed
more than once: by list and service, or with an address of each family. An instance is recognised
by the random identity in its answer and counted once. Its name will not do: two proxies of one
machine may have the same name.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp

from bascule import tasks
from bascule.admin.capacity import ClusterCapacity, InstanceReading, cluster_capacity
from bascule.vocabulary import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.admin.instanceclient import InstanceClient
    from bascule.admin.view import GatewayView
    from bascule.configuration.endpoints import Endpoint

__all__ = ["Cluster"]

_ANSWER_BYTES: Final = 4096
"""Most bytes read of an answer. An instance's has under 200; a longer one is not an instance's."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What one address told us last."""

    identity: str
    max: int


class Cluster:
    """The cluster as this instance sees it.

    Args:
        view: The gateway.
        client: Asks the other instances.
        identity: Random text that tells this instance from all others.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        view: GatewayView,
        client: InstanceClient,
        identity: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._view = view
        self._client = client
        self._identity = identity
        self._clock = clock
        self._known: dict[Endpoint, _Known] = {}
        self._readings: list[InstanceReading] = []
        self._read_at: float | None = None
        self._round: asyncio.Task[None] | None = None

    @property
    def configured(self) -> bool:
        """Whether there can be any other instance."""
        return self._client.configured

    async def read(self) -> ClusterCapacity:
        """Return the cluster's capacity: our own part now, the others' at most `cacheFor` old.

        Cancellation: safe; the round goes on for the others who wait for it.
        """
        settings = self._view.config.capacity
        if self.configured and (self._read_at is None or self._clock() - self._read_at >= settings.cache_for):
            if self._round is None:
                self._round = tasks.spawn(self._ask_all(), "ask instances")
            await asyncio.shield(self._round)
        return cluster_capacity(self._view.capacity(), self._readings, settings.warning_share)

    async def close(self) -> None:
        """Stop asking, when those who wait for a round have had it: somebody at the public listener may.

        Cancellation: safe; the round goes on.
        """
        if self._round is not None:
            await asyncio.wait([self._round])

    async def _ask_all(self) -> None:
        try:
            deadline = asyncio.get_running_loop().time() + self._view.config.capacity.peer_timeout
            targets = await self._client.targets(deadline)
            answers = await asyncio.gather(*(self._ask(target, deadline) for target in targets))
            counted = {self._identity}
            readings = []
            # Instances that answered come first: another address of the same instance may be silent.
            for target, in_flight in sorted(
                zip(targets, answers, strict=True), key=lambda answer: answer[1] is None
            ):
                known = self._known.get(target)
                if known is not None:
                    if known.identity in counted:
                        continue
                    counted.add(known.identity)
                readings.append(InstanceReading(in_flight, known.max if known else None))
            self._readings = readings
            # Addresses that the service no longer lists are gone, not silent.
            self._known = {target: known for target, known in self._known.items() if target in targets}
            self._read_at = self._clock()
        finally:
            self._round = None

    async def _ask(self, target: Endpoint, deadline: float) -> int | None:
        """Return the sessions an instance has in flight, ``None`` if it did not say."""
        try:
            async with (
                asyncio.timeout_at(deadline),
                self._client.ask(
                    "GET", target, "/capacity?scope=instance", headers={"Accept": "application/json"}
                ) as answer,
            ):
                body = await _whole(answer.content)
                if answer.status != 200:
                    return None
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
        return self._learn(target, body)

    def _learn(self, target: Endpoint, body: bytes) -> int | None:
        answer = _parse(body)
        if answer is None:
            return None
        identity, in_flight, maximum = answer
        self._known[target] = _Known(identity, maximum)
        return in_flight


async def _whole(content: aiohttp.StreamReader) -> bytes:
    """Return an answer's body, in however many pieces it comes; at most `_ANSWER_BYTES` of it."""
    try:
        return await content.readexactly(_ANSWER_BYTES)
    except asyncio.IncompleteReadError as end:
        return end.partial


def _parse(body: bytes) -> tuple[str, int, int] | None:
    """Read (identity, in flight, cap), 0 and 0 if it drains, from an answer; ``None`` if that is unusable."""
    try:
        answer = json.loads(body)
        instance = answer["instance"]
        identity, in_flight, maximum = answer["identity"], instance["inFlight"], instance["max"]
        # One that does not say whether it drains runs an older version, and is critical while it does.
        is_critical = Level(instance["level"]) is Level.CRITICAL
        draining = instance.get("draining", is_critical and in_flight < maximum)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not isinstance(identity, str) or type(in_flight) is not int or type(maximum) is not int:
        return None
    if in_flight < 0 or maximum < 1 or type(draining) is not bool:
        return None
    return (identity, 0, 0) if draining else (identity, in_flight, maximum)
