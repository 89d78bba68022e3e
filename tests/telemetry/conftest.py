"""Fixtures of the telemetry tests."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest
import structlog

from tests.telemetry.logfile import Log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _logging_undone() -> Iterator[None]:
    """Undo what a test sets up: the number of a descriptor that it closes is soon somebody else's."""
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    handlers, level, disabled = root.handlers[:], root.level, access.disabled
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level, access.disabled = handlers, level, disabled
    for name in ("asyncio", "aiohttp", "urllib3"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def log(tmp_path: Path, _logging_undone: None) -> Iterator[Log]:
    """A log file, closed once nothing is logged into it any more."""
    made = Log(tmp_path / "log")
    yield made
    os.close(made.descriptor)
