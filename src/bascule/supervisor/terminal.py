"""Whether this process has a controlling terminal, at whose end the kernel sends SIGHUP."""

from __future__ import annotations

import os

__all__ = ["is_there"]


def is_there() -> bool:
    """Tell whether this process has a controlling terminal (credentials(7)); a service has none."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
