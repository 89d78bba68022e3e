"""Tasks in the background: kept, named, and never lost with what went wrong in them."""

from __future__ import annotations

import asyncio
import gc

import structlog

from bascule.tasks import are_serving, spawn


async def test_a_task_nobody_holds_is_kept_until_it_is_done() -> None:
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(0)
        done.set()

    spawn(work(), "work")
    async with asyncio.timeout(5):
        await done.wait()


async def test_a_failure_nobody_asks_for_is_logged_and_a_cancelled_task_is_not() -> None:
    async def fail() -> None:
        raise ValueError("wrong")

    with structlog.testing.capture_logs() as lines:
        cancelled = spawn(asyncio.sleep(60), "sleep")
        cancelled.cancel()
        await asyncio.wait([cancelled, spawn(fail(), "fail")])
        await asyncio.sleep(0)

    assert [(line["event"], line["task"]) for line in lines] == [("task failed", "fail")]


async def test_a_process_serves_as_long_as_one_of_those_tasks_runs() -> None:
    assert not are_serving()
    end = asyncio.Event()
    other = spawn(end.wait(), "other")
    assert not are_serving()
    serving = spawn(end.wait(), "connection", serves=True)
    assert are_serving()
    end.set()
    await asyncio.wait([other, serving])
    await asyncio.sleep(0)
    assert not are_serving()
