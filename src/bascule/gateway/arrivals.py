"""Waiting for requests that have begun to arrive at a listener that has stopped accepting."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ARRIVES", "wait_for_arrivals"]

ARRIVES: Final = 1.0
"""Seconds that a retiring gateway waits for TLS handshakes and heads that have begun: the round trips of a
slow network."""

_LOOK_EVERY: Final = 0.01
"""Seconds between checks whether they have arrived."""


async def wait_for_arrivals(are_awaited: Callable[[], object]) -> None:
    """Wait until nothing is on its way any more, `ARRIVES` at most.

    Args:
        are_awaited: Tells whether something still is.

    Cancellation: safe.
    """
    await asyncio.sleep(0)  # the task of a connection that was just accepted begins after us
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ARRIVES):
            while are_awaited():  # noqa: ASYNC110 - what arrives is no event
                await asyncio.sleep(_LOOK_EVERY)
