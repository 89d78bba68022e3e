"""The one way to start a background task: named, and kept until it is done.

asyncio keeps only a weak reference to a task, so one that nobody holds may vanish in
the middle of its work; and an exception nobody asks for is never seen. Both are
closed here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Coroutine

_log = structlog.get_logger()
_running: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    """Start a task that lives until it is done; its failure is logged."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_done)
    return task


def is_running(*names: str) -> bool:
    """Tell whether there is a task of one of these names."""
    return any(task.get_name() in names for task in _running)


def _done(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task failed", task=task.get_name(), exc_info=error)
