"""Run one target under atheris, or say how to get it.

Only the parsers are instrumented, ours and YAML's: all of the standard library would take half a minute
at each start, and lead the fuzzer into code that is not ours.
"""

from __future__ import annotations

import gc
import sys
from types import FunctionType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def ours() -> list[FunctionType]:
    """Return every function of Bascule and of PyYAML that is loaded."""
    return [
        one
        for one in gc.get_objects()
        if isinstance(one, FunctionType) and str(one.__module__).partition(".")[0] in {"bascule", "yaml"}
    ]


def run(check: Callable[[bytes], None]) -> None:
    """Fuzz until stopped; arguments are libFuzzer's: corpus folders and ``-max_total_time=N``."""
    try:
        import atheris  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        sys.exit("atheris is not installed: make fuzz")
    for function in ours():
        atheris.instrument_func(function)
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
