"""Structured logs: one line per event, JSON or for people, the same words in every process.

What a line may hold is decided here once, for our own events and for those of libraries:

* no secrets (invariant I10): values under names such as ``cookie`` or ``authorization`` are
  withheld, and paths lose their query strings, which may carry tokens;
* nothing that a peer can use against the reader: control characters, ANSI escapes and
  foreign line ends are escaped (`bascule.telemetry.printable`), long texts are cut;
* a log that cannot be written, or that nobody reads, loses lines and says how many, but never holds up a
  session or ends one (`bascule.telemetry.linewriter`).

Rules of this file: nothing else sets up logging. `configure` is called at the start of a process, and again
where a reload may have changed what it is given.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import TYPE_CHECKING, Final

import structlog

from bascule.telemetry.linewriter import LineWriter
from bascule.telemetry.printable import printable

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["TEXT_LIMIT", "WITHHELD", "configure", "guard"]

_log = structlog.get_logger()

TEXT_LIMIT: Final = 1024
"""Characters kept of any one text in a line."""
_TRACEBACK_LIMIT: Final = 16 * 1024
"""Characters kept of a traceback, which is ours except for the message at its end."""

WITHHELD: Final = "[withheld]"

_SECRETS: Final = frozenset(
    {
        "admin_token", "api_key", "authorization", "cookie", "cookies", "credentials", "jwt", "password",
        "proxy_authorization", "proxy_session", "query", "query_string", "secret", "set_cookie", "token",
    }
)  # fmt: skip
_TARGETS: Final = frozenset({"path", "target", "url", "uri", "referer", "location", "upstream"})
_TRACEBACKS: Final = frozenset({"exception", "stack", "stack_info"})
_SPECIAL: Final = _SECRETS | _TARGETS | _TRACEBACKS

_FIRST: Final = ("time", "level", "process", "event")
_NOISY: Final = ("asyncio", "aiohttp", "urllib3")
"""Libraries whose info lines do not help an operator; only their warnings and errors are logged."""


class _StandardHandler(logging.Handler):
    """Sends what libraries log through the standard module to the same lines."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.msg(self.format(record))
        except Exception as error:  # such as a text whose arguments do not fit
            _log.error("internal error", where=record.name, exc_info=error)


def guard(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Withhold secrets and make every text of an event printable; a structlog processor."""
    for name, value in event.items():
        if name in _SPECIAL:
            event[name] = _guarded(name, value)
        elif isinstance(value, (str, bytes)):
            event[name] = printable(value, TEXT_LIMIT)
    return event


def _guarded(name: str, value: object) -> object:
    """Return what a line may say under a name that stands for more than a text."""
    if name in _SECRETS:
        return WITHHELD
    if not isinstance(value, (str, bytes)):
        return value
    if name in _TRACEBACKS:
        return "\n".join(printable(line, TEXT_LIMIT) for line in str(value)[:_TRACEBACK_LIMIT].splitlines())
    path = value.partition("?")[0] if isinstance(value, str) else value.partition(b"?")[0]
    return printable(path, TEXT_LIMIT)


def configure(level: str, style: str, *, process: str, descriptor: int = 2) -> LineWriter:
    """Set up logging for this process.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        style: ``json``, ``console``, or ``auto``: console on a terminal, JSON elsewhere.
        process: Name of this process in every line, ``supervisor`` or ``gateway``.
        descriptor: Where lines go; standard error by default.

    Returns:
        The writer.

    Raises:
        ValueError: The level or style does not exist.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None or style not in ("json", "console", "auto"):
        raise ValueError(f"log level {level!r}, format {style!r}")
    people = style == "console" or (style == "auto" and os.isatty(descriptor))
    writer = LineWriter(descriptor, lambda lost: _log.warning("log lines lost", lines=lost))

    def name_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    shared: list[Processor] = [structlog.processors.add_log_level, _clock(), name_process]
    closing: list[Processor] = [structlog.processors.format_exc_info, guard, _renderer(people)]
    structlog.configure(
        processors=[*shared, *closing],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=False,
    )
    handler = _StandardHandler(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *closing],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    # aiohttp's access log would have paths with their query strings; ours (`accesslog`) replaces it.
    logging.getLogger("aiohttp.access").disabled = True
    return writer


def _clock() -> Processor:
    """Return what adds the time. It spells a second once: all sessions of a pod may end in the same one."""
    known = (0, "")

    def add_time(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        nonlocal known
        second, microsecond = divmod(time.time_ns() // 1000, 1_000_000)
        its = known  # threads may log as well
        if its[0] != second:
            its = known = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        event["time"] = f"{its[1]}.{microsecond:06}Z"
        return event

    return add_time


def _renderer(people: bool) -> Processor:
    if people:
        return structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback, timestamp_key="time"
        )
    # One encoder for all lines: json.dumps with options would build one for each.
    encode = json.JSONEncoder(default=_fallback, separators=(",", ":")).encode

    def render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
        # The fields that every line has come first, so that people find them.
        first = {name: event.pop(name) for name in _FIRST if name in event}
        return encode({**first, **event})

    return render


def _fallback(value: object) -> str:
    """Say something about a value that JSON has no form for."""
    return printable(str(value), TEXT_LIMIT)
