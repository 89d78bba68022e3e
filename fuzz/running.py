"""Run one target under atheris, or say how to get it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def run(check: Callable[[bytes], None]) -> None:
    """Fuzz until stopped; arguments are libFuzzer's: corpus folders and ``-max_total_time=N``."""
    try:
        import atheris  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        sys.exit("atheris is not installed: make fuzz")
    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
