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


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """A log file; what a test sets up is undone afterwards."""
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    handlers, level, disabled = root.handlers[:], root.level, access.disabled
    made = Log(tmp_path / "log")
    yield made
    structlog.reset_defaults()
    root.handlers[:], root.level, access.disabled = handlers, level, disabled
    for name in ("asyncio", "aiohttp", "urllib3"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    os.close(made.descriptor)
