"""What a drain counts, every session that was there when it was ordered, once; and that it tells each."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bascule.configuration.config import Config, Drain
from bascule.gateway.sessions.drain import Draining, Silence
from bascule.handover.counters import CounterFile, GatewayWord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

CONFIG = Config.model_validate(
    {
        "routes": [{"name": "r", "path": "/", "upstream": "http://127.0.0.1:1"}],
        "drain": {"timeout": 5, "rate": 0},
    }
)


def ordered(sessions: set[int], on_list: Callable[[], None] = lambda: None) -> Draining:
    """Return a drain of these sessions, each of which goes when it is told."""

    async def rows() -> Sequence[tuple[int, float]]:
        listed = [(identifier, 0.0) for identifier in sorted(sessions)]
        on_list()
        return listed

    def close(identifier: int, within: float) -> bool:
        sessions.discard(identifier)
        return True

    return begun(CONFIG, rows, close, lambda: len(sessions))


def begun(
    config: Config,
    rows: Callable[[], Awaitable[Sequence[Silence]]],
    close: Callable[[int, float], bool],
    in_flight: Callable[[], int],
    *,
    ago: float = 0.0,
    words: memoryview | None = None,
) -> Draining:
    """Return a drain that was asked for so many seconds ago."""
    if words is None:
        words = CounterFile.create(1).gateway(0)
    return Draining(config, rows, close, in_flight, words, time.monotonic() - ago)


async def test_who_is_told_is_counted_as_closed() -> None:
    drain = ordered({1, 2, 3})
    await drain.run()
    assert drain.outcomes == {"natural": 0, "closed": 3, "aborted": 0}


async def test_who_leaves_before_the_first_step_left_naturally() -> None:
    sessions = {1, 2, 3}
    drain = ordered(sessions)
    sessions.discard(1)
    await drain.run()
    assert drain.outcomes == {"natural": 1, "closed": 2, "aborted": 0}


async def test_who_leaves_after_the_list_was_made_left_naturally() -> None:
    sessions = {1, 2, 3}
    drain = ordered(sessions, lambda: sessions.discard(2))
    await drain.run()
    assert drain.outcomes == {"natural": 1, "closed": 2, "aborted": 0}


async def test_a_handshake_that_becomes_a_session_meanwhile_is_counted_once() -> None:
    sessions: set[int] = set()
    under_way = {1}

    async def rows() -> list[Silence]:
        return [(identifier, 0.0) for identifier in sessions]

    def close(identifier: int, within: float) -> bool:
        sessions.discard(identifier)
        return True

    settings = Drain(timeout=5, rate=0, natural_end=0.5)
    drain = begun(Config(drain=settings), rows, close, lambda: len(sessions) + len(under_way))
    asyncio.get_running_loop().call_later(0.1, lambda: sessions.add(under_way.pop()))
    await drain.run()
    assert drain.outcomes == {"natural": 0, "closed": 1, "aborted": 0}


class Pod:
    """Sessions that end when they are told, behind a channel with room for a few messages."""

    def __init__(self, sessions: int, room: int) -> None:
        self.live = set(range(sessions))
        self.room = room
        self._left = room

    async def rows(self) -> list[Silence]:
        """List the sessions; the forwarder has read its channel by then."""
        self._left = self.room
        return [(identifier, 0.0) for identifier in self.live]

    def close(self, identifier: int, within: float) -> bool:
        """Tell one, if there is room."""
        if not self._left:
            return False
        self._left -= 1
        self.live.discard(identifier)
        return True


async def drained(pod: Pod, within: float) -> dict[str, int]:
    drain = begun(Config(drain=Drain(timeout=within, rate=0)), pod.rows, pod.close, lambda: len(pod.live))
    await drain.run()
    return drain.outcomes


async def test_a_burst_that_does_not_fit_into_the_channel_is_told_in_rounds() -> None:
    pod = Pod(sessions=20, room=6)
    assert await drained(pod, 10.0) == {"natural": 0, "closed": 20, "aborted": 0}


async def test_a_forwarder_that_takes_nothing_does_not_hold_up_the_end() -> None:
    pod = Pod(sessions=3, room=0)
    assert await drained(pod, 0.4) == {"natural": 0, "closed": 0, "aborted": 3}


async def test_outcomes_are_counted_where_other_gateways_find_them() -> None:
    words = CounterFile.create(1).gateway(0)
    words[GatewayWord.DRAINED_CLOSED] = 10  # of another drain
    pod = Pod(sessions=3, room=3)
    drain = begun(CONFIG, pod.rows, pod.close, lambda: len(pod.live), words=words)
    pod.live.discard(0)
    await drain.run()
    assert words[GatewayWord.DRAINED_NATURAL] == 1
    assert words[GatewayWord.DRAINED_CLOSED] == 12
    assert drain.outcomes == {"natural": 1, "closed": 2, "aborted": 0}


async def test_a_drain_that_another_gateway_began_goes_on_where_it_was() -> None:
    settings = Config(drain=Drain(timeout=3600, rate=0, natural_end=600))
    pod = Pod(sessions=3, room=3)
    async with asyncio.timeout(60):  # seconds, of the ten minutes that are over
        await begun(settings, pod.rows, pod.close, lambda: len(pod.live), ago=601).run()
    assert not pod.live


async def test_a_window_of_a_drain_that_another_gateway_began_goes_on_where_it_was() -> None:
    settings = Config(drain=Drain(timeout=7200, window=3600, natural_end=0))
    pod = Pod(sessions=3, room=3)
    async with asyncio.timeout(60):  # seconds, of the hour that is over
        await begun(settings, pod.rows, pod.close, lambda: len(pod.live), ago=3601).run()
    assert not pod.live


async def test_a_drain_whose_time_is_up_leaves_time_for_closing_handshakes() -> None:
    within = []

    def close(identifier: int, seconds: float) -> bool:
        within.append(seconds)
        return pod.close(identifier, seconds)

    settings = Config(drain=Drain(timeout=100, rate=1, natural_end=10))
    pod = Pod(sessions=3, room=3)
    async with asyncio.timeout(60):
        await begun(settings, pod.rows, close, lambda: len(pod.live), ago=1000).run()
    assert len(within) == 3
    assert all(5 < seconds < 10 for seconds in within)
