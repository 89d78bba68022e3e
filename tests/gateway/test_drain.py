"""What a drain counts: every session that was there when it was ordered, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.gateway.drain import Drain
from bascule.policy.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONFIG = Config.model_validate(
    {
        "routes": [{"name": "r", "path": "/", "upstream": "http://127.0.0.1:1"}],
        "drain": {"timeout": 5, "rate": 0},
    }
)


def ordered(sessions: set[int], on_list: Callable[[], None] = lambda: None) -> Drain:
    """Return a drain of these sessions, each of which goes when it is told."""

    async def rows() -> Sequence[tuple[int, float]]:
        listed = [(identifier, 0.0) for identifier in sorted(sessions)]
        on_list()
        return listed

    return Drain(CONFIG, rows, lambda identifier, _: sessions.discard(identifier), lambda: len(sessions))


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
