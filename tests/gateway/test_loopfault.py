"""Faults that the event loop finds are lines of the log, and end nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
import uvloop

from bascule.gateway.loopfault import on_loop_fault


def of(found: dict[str, Any]) -> list[Any]:
    with structlog.testing.capture_logs() as lines, asyncio.Runner() as runner:
        on_loop_fault(runner.get_loop(), found)
    return list(lines)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_callback_that_fails_is_a_line_without_its_arguments(loop: Any) -> None:
    async def go_on() -> None:
        running = asyncio.get_running_loop()
        running.set_exception_handler(on_loop_fault)
        nothing: dict[str, object] = {}
        running.call_soon(nothing.__getitem__, "secret")
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with structlog.testing.capture_logs() as lines, asyncio.Runner(loop_factory=loop) as runner:
        runner.run(go_on())
    (line,) = lines
    assert line["event"] == "internal error"
    assert isinstance(line["exc_info"], KeyError)
    assert "secret" not in line["what"]


def test_a_library_that_complains_without_an_exception_is_a_line() -> None:
    (line,) = of({"message": "Unclosed connection", "client_connection": object()})
    assert (line["event"], line["what"], line["log_level"]) == (
        "internal error",
        "Unclosed connection",
        "error",
    )


def test_tls_that_finds_its_connection_cut_is_no_fault() -> None:
    """Of uvloop, in a plain request to an https upstream that ends while something is still to be sent."""
    closed = RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
    (line,) = of({"message": "Fatal error on SSL protocol", "exception": closed})
    assert line["log_level"] == "debug"
