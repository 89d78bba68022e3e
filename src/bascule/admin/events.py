"""The status page's stream: one snapshot a second while a page is open, and the last hour.

Rules of this file: a snapshot is computed and encoded once for all watchers (the open status
pages); without watchers only the hour's ring is fed, with one sample every ten seconds (numbers
that are in memory anyway). A watcher that cannot keep up misses snapshots and costs no
memory: it always gets the newest one.

The stream (`text/event-stream`) has three events: ``history`` once, then ``snapshot``
every second and ``sample`` whenever the ring grew; ``history`` again if the clock was set back meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import web

from bascule.admin.overview import overview
from bascule.admin.problem import Problem
from bascule.handover.counters import GatewayWord
from bascule.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bascule.admin.cluster import Cluster
    from bascule.admin.listing import SessionList
    from bascule.admin.view import GatewayView

__all__ = ["SAMPLES", "SAMPLE_EVERY", "LiveFigures", "Sample"]

_log = structlog.get_logger()

SAMPLE_EVERY: Final = 10.0
SAMPLES: Final = 360
"""One hour of samples."""
_SNAPSHOT_EVERY: Final = 1.0
_MOST_WATCHERS: Final = 32
_WRITE_TIMEOUT: Final = 30.0
"""Seconds after which a watcher that takes nothing is disconnected."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One point of the last hour: the time since the epoch, and the counts of the ten seconds before it."""

    at: float
    in_flight: int
    max: int
    rejections: int
    upstream_failures: int


class LiveFigures:
    """Feeds the hour's ring and all watchers.

    Args:
        view: The gateway.
        sessions: Where the live sessions are read.
        cluster: All instances together.
    """

    def __init__(self, view: GatewayView, sessions: SessionList, cluster: Cluster) -> None:
        self._view = view
        self._sessions = sessions
        self._cluster = cluster
        self._ring: deque[Sample] = deque(maxlen=SAMPLES)
        self._last_counts: tuple[int, int] | None = None
        self._watchers = 0
        self._changed = asyncio.Condition()
        self._sequence = 0
        self._snapshot = b""
        self._sample = (0, b"")
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()

    def start(self) -> None:
        """Begin to feed the ring; needs a running loop."""
        self._tasks = [
            spawn(self._feed_ring(), "status ring"),
            spawn(self._feed_watchers(), "status watchers"),
        ]

    async def close(self) -> None:
        """End the streams of all watchers.

        Cancellation: safe.
        """
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        async with self._changed:
            self._changed.notify_all()

    def take_sample(self, now: float) -> None:
        """Add one point to the ring.

        Args:
            now: Seconds since the epoch.
        """
        sample = self._since_last(now)
        self._last_counts = self._counts()
        is_set_back = bool(self._ring) and now < self._ring[-1].at
        if is_set_back:
            self._set_back(self._ring[-1].at + SAMPLE_EVERY - now)
        self._ring.append(sample)
        event = _event("history", self.history()) if is_set_back else _event("sample", _sample_json(sample))
        self._sample = (self._sample[0] + 1, event)

    def _set_back(self, seconds: float) -> None:
        """Move the samples, whose times are of a clock that was set back since: they stay in order."""
        for _ in range(len(self._ring)):
            sample = self._ring.popleft()
            self._ring.append(replace(sample, at=sample.at - seconds))

    def dump(self) -> dict[str, object]:
        """Return what another process needs to go on with the ring, fit for JSON."""
        return {"ring": [astuple(sample) for sample in self._ring], "counts": self._last_counts}

    def restore(self, left: Mapping[str, Any]) -> None:
        """Go on where another process stopped; before `start`."""
        self._ring.extend(Sample(*sample) for sample in left["ring"])
        self._last_counts = None if left["counts"] is None else tuple(left["counts"])

    def _counts(self) -> tuple[int, int]:
        count = self._view.counters.of_gateways
        return count(GatewayWord.REJECTIONS), count(GatewayWord.UPSTREAM_CONNECT_FAILURES)

    def _since_last(self, now: float) -> Sample:
        counts = self._counts()
        before = self._last_counts or counts
        pool = self._view.capacity()
        return Sample(now, pool.in_flight, pool.max, counts[0] - before[0], counts[1] - before[1])

    def _open(self, now: float) -> dict[str, object]:
        # With the time of the sample that it continues: a slow watcher may already have a newer sample.
        since = round(self._ring[-1].at, 1) if self._ring else 0.0
        return {"since": since, **_sample_json(self._since_last(now))}

    def history(self) -> dict[str, object]:
        """Return the ring as parallel lists, oldest first.

        ``gap`` is the longest time between two snapshots, in seconds: a snapshot may wait for others.
        """
        ring = list(self._ring)
        return {
            "every": SAMPLE_EVERY,
            "samples": SAMPLES,
            "gap": _SNAPSHOT_EVERY
            + (self._view.config.capacity.peer_timeout if self._cluster.configured else 0.0),
            "at": [round(sample.at, 1) for sample in ring],
            "inFlight": [sample.in_flight for sample in ring],
            "max": [sample.max for sample in ring],
            "rejections": [sample.rejections for sample in ring],
            "upstreamFailures": [sample.upstream_failures for sample in ring],
        }

    async def snapshot(self) -> dict[str, object]:
        """Compute everything the status page shows, except the list of sessions.

        Cancellation: safe.
        """
        shown = await overview(self._view, self._sessions, self._cluster)
        return {**shown, "open": self._open(time.time())}

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer one watcher until it leaves or the listener closes.

        Raises:
            Problem: 503, when too many pages are open already.

        Cancellation: safe.
        """
        if self._watchers >= _MOST_WATCHERS:
            raise Problem(503, "Too many status pages are open already.", fields={"Retry-After": "10"})
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        self._watchers += 1
        self._wake.set()
        try:
            await response.prepare(request)
            # Read before the first wait: a sample taken during it is not in the history.
            seen, sampled = self._sequence, self._sample[0]
            await self._send(response, _event("history", self.history()))
            while not self._closed:
                async with self._changed:
                    while self._sequence == seen and not self._closed:
                        await self._changed.wait()
                seen = self._sequence
                count, sample = self._sample
                await self._send(response, sample + self._snapshot if count != sampled else self._snapshot)
                sampled = count
        except TimeoutError:
            # The watcher takes nothing any more, so the rest of the answer would never go out.
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # the watcher left
        finally:
            self._watchers -= 1
        return response

    async def _send(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(_WRITE_TIMEOUT):
            await response.write(data)

    async def _feed_ring(self) -> None:
        while True:
            self.take_sample(time.time())
            await asyncio.sleep(SAMPLE_EVERY)

    async def _feed_watchers(self) -> None:
        while True:
            if not self._watchers:
                self._wake.clear()
                await self._wake.wait()
            try:
                self._snapshot = _event("snapshot", await self.snapshot())
            except Exception as error:
                # One reading that fails must not stop the page for good; the next second tries again.
                _log.error("status snapshot failed", exc_info=error)
                await asyncio.sleep(_SNAPSHOT_EVERY)
                continue
            async with self._changed:
                self._sequence += 1
                self._changed.notify_all()
            await asyncio.sleep(_SNAPSHOT_EVERY)


def _sample_json(sample: Sample) -> dict[str, object]:
    return {
        "at": round(sample.at, 1),
        "inFlight": sample.in_flight,
        "max": sample.max,
        "rejections": sample.rejections,
        "upstreamFailures": sample.upstream_failures,
    }


def _event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
