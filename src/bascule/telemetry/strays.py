"""What Python itself would print, as lines of the log: warnings, and exceptions that nobody can catch.

Rules of this file: `log_strays` is called after `bascule.telemetry.logs.configure`; what it sets up stays for
the life of the process, and a copy of the process has it as well.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["log_strays"]

_log = structlog.get_logger()


def log_strays() -> None:
    """Log what would otherwise go to standard error in a form that no collector reads."""
    logging.captureWarnings(capture=True)
    sys.excepthook = _on_uncaught
    sys.unraisablehook = _on_unraisable
    threading.excepthook = _on_uncaught_in_thread


def _on_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log the exception that ends this process; Ctrl-C while there is no handler yet is none of ours."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        _say(kind, error, trace)


def _on_unraisable(found: sys.UnraisableHookArgs) -> None:
    _say(found.exc_type, found.exc_value, found.exc_traceback, found.object)


def _on_uncaught_in_thread(found: threading.ExceptHookArgs) -> None:
    if not issubclass(found.exc_type, SystemExit):
        _say(found.exc_type, found.exc_value, found.exc_traceback, found.thread)


def _say(
    kind: type[BaseException],
    error: BaseException | None,
    trace: TracebackType | None,
    where: object = None,
) -> None:
    # Not its `repr`, which may show what a peer has sent.
    named = {} if where is None else {"where": getattr(where, "__qualname__", type(where).__qualname__)}
    _log.error("internal error", exc_info=(kind, error or kind(), trace), **named)
