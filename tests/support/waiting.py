"""Wait for a condition with a deadline.

A test names the condition and the longest time it may take, and the failure says what was last
seen. It lets a fixed time pass only where nothing tells that something has happened, or where
that nothing happens is what it tests, and says so there.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, overload

__all__ = ["eventually", "eventually_async", "quickest", "settled", "throughout"]

T = TypeVar("T")

TICK: Final = 0.02
"""Seconds between two looks. Small beside anything waited for, large beside the cost of a look."""

STILL: Final = 0.3
"""Seconds without a change after which a figure is taken for settled."""


def eventually(look: Callable[[], T | None], seconds: float, what: str) -> T:
    """Return the first true answer of ``look``.

    Args:
        look: Asked again and again; ``None`` and other false answers mean "not yet".
        seconds: Deadline.
        what: What is waited for, for the failure's text.

    Raises:
        TimeoutError: Not within ``seconds``.
    """
    end = time.monotonic() + seconds
    while not (answer := look()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s, last seen {answer!r}")
        time.sleep(TICK)
    return answer


@overload
async def eventually_async(
    look: Callable[[], Awaitable[T | None]], seconds: float, what: str, *, tick: float = ...
) -> T: ...
@overload
async def eventually_async(
    look: Callable[[], T | None], seconds: float, what: str, *, tick: float = ...
) -> T: ...
async def eventually_async(
    look: Callable[[], Any],
    seconds: float,
    what: str,
    *,
    tick: float = TICK,
) -> Any:
    """Do as `eventually` does, in a coroutine; ``look`` may be one too.

    Cancellation: safe.
    """
    end = time.monotonic() + seconds
    while True:
        answer = look()
        seen = await answer if inspect.isawaitable(answer) else answer
        if seen:
            return seen
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s, last seen {seen!r}")
        await asyncio.sleep(tick)


async def settled(look: Callable[[], T | None], seconds: float, what: str = "it no longer changes") -> T:
    """Return the first true answer of ``look`` that has been the same for `STILL`.

    For what no event tells, such as that a kernel takes no more. For arguments and errors see `eventually`.

    Cancellation: safe.
    """
    last: T | None = None
    since = time.monotonic()

    def same() -> bool:
        nonlocal last, since
        answer = look()
        if answer != last or not answer:
            last, since = answer, time.monotonic()
        return time.monotonic() - since >= STILL

    await eventually_async(same, seconds, what)
    assert last is not None
    return last


def quickest(attempt: Callable[[], float], within: float) -> float:
    """Return how long something takes that is bounded in time: the least of up to three attempts.

    A machine that halts for a second makes one of them slow; a bound that does not hold makes all.

    Args:
        attempt: Does it, and returns how many seconds it took.
        within: No more attempts once one took less.
    """
    took = attempt()
    for _ in range(2):
        if took < within:
            break
        took = min(took, attempt())
    return took


async def throughout(seconds: float, check: Callable[[], object], *, tick: float = 0.5) -> None:
    """Let time pass on purpose, and check all the while that something stays true.

    Args:
        seconds: How long.
        check: Raises as soon as the thing is no longer true; may be a coroutine function.
        tick: Seconds between two checks.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        answer = check()
        if inspect.isawaitable(answer):
            await answer
        await asyncio.sleep(min(tick, left))
    answer = check()  # at the end too: what happened since the last look has happened
    if inspect.isawaitable(answer):
        await answer
