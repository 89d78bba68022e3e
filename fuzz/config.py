"""The configuration file."""

from __future__ import annotations

import os
from pathlib import Path

from bascule.configuration.loading import load
from bascule.errors import ConfigError
from fuzz.running import run

# In memory: a fuzzer ends without clean-up, and would leave a file each time.
_FILE = Path(f"/proc/self/fd/{os.memfd_create('bascule.yaml')}")


def check(data: bytes) -> None:
    """A file is loaded, or refused with at least one line."""
    _FILE.write_bytes(data)
    try:
        load(_FILE, {})
    except ConfigError as error:
        assert error.problems
        assert all(problem and "\n" not in problem for problem in error.problems)


if __name__ == "__main__":
    run(check)
