"""The one way to start a background task: named, and kept until it is done.

asyncio keeps only a weak reference to a task, so a task without another reference may vanish in
the middle of its work. It also reports an exception that is never retrieved only when the task is
collected. `spawn` keeps a reference until the task is done, and logs its exception at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["are_serving", "end", "spawn"]

_T = TypeVar("_T")
_log = structlog.get_logger()
_running: set[asyncio.Task[Any]] = set()
_serving: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, _T], name: str, *, serves: bool = False) -> asyncio.Task[_T]:
    """Start a task that lives until it is done; its failure is logged.

    Args:
        work: What it does.
        name: For the log.
        serves: Whether a browser's connection depends on the task: see `are_serving`.
    """
    # Not `create_task`: uvloop's has the task make up a name before it is given this one.
    task = asyncio.Task(work, loop=asyncio.get_running_loop(), name=name)
    _running.add(task)
    if serves:
        _serving.add(task)
    task.add_done_callback(_done)
    return task


async def end(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task, if there is one, and wait until it has ended, in whatever way.

    Cancellation: safe.
    """
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def are_serving() -> bool:
    """Tell whether a browser's connection depends on a running task; a gateway that retires waits for it."""
    return bool(_serving)


def _done(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    _serving.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task failed", task=task.get_name(), exc_info=error)
