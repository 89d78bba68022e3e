"""What the event loop finds wrong, as a line of the log.

Rules of this file: it ends nothing; the loop goes on, as it does by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    import asyncio

__all__ = ["on_loop_fault"]

_log = structlog.get_logger()

_CLOSED: Final = "the handler is closed"
"""How uvloop says that TLS had more to send on a connection that was cut, to an upstream of plain HTTP."""


def on_loop_fault(_loop: asyncio.AbstractEventLoop, found: dict[str, Any]) -> None:
    """Log a fault that the event loop, or a library, has found in a callback, a task or a transport.

    Args:
        found: See `asyncio.loop.call_exception_handler`.
    """
    # asyncio shows the arguments of callbacks, which may be what a peer has sent.
    error, what = found.get("exception"), str(found.get("message", "")).partition("(")[0]
    if isinstance(error, RuntimeError) and _CLOSED in str(error):
        _log.debug("a connection was cut before its TLS had ended", what=what)
        return
    _log.error("internal error", what=what, exc_info=error)
