"""Waiting for requests that a listener has begun to get, or to answer, when it has stopped accepting."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from bascule.gateway.connections.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ARRIVES", "wait_for_answers", "wait_for_arrivals"]

ARRIVES: Final = 1.0
"""Seconds that a retiring gateway waits for TLS handshakes and heads that have begun: the round trips of a
slow network."""

_ANSWERED: Final = 6.0
"""Seconds that it waits for answers of the admin listener: the longest is JupyterHub's list of routes, for
which other instances may take 5 s to tell their activity."""

_LOOK_EVERY: Final = 0.01
"""Seconds between checks whether they have arrived, or are answered."""


async def wait_for_arrivals(are_awaited: Callable[[], object]) -> None:
    """Wait until nothing is on its way any more, `ARRIVES` at most.

    Args:
        are_awaited: Tells whether something still is.

    Cancellation: safe.
    """
    await asyncio.sleep(0)  # the task of a connection that was just accepted begins after us
    await _wait_while(are_awaited, ARRIVES)


async def wait_for_answers(are_owed: Callable[[], object]) -> None:
    """Wait until no answer is owed any more, `_ANSWERED` at most.

    Args:
        are_owed: Tells whether one still is.

    Cancellation: safe.
    """
    await _wait_while(are_owed, _ANSWERED)


async def _wait_while(are_left: Callable[[], object], seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with Patience(seconds):
            while are_left():  # noqa: ASYNC110 - what arrives is no event
                await asyncio.sleep(_LOOK_EVERY)
