"""The signals that the proxy handles. Only the supervisor acts on them.

Its children ignore them, since service managers and shells signal whole process groups.
"""

from __future__ import annotations

import signal
from typing import Final

__all__ = ["HANDLED", "HANG_UP", "IGNORED", "STOP"]

STOP: Final = (signal.SIGTERM, signal.SIGINT)
"""Begin a drain; a second one ends everything at once."""

HANG_UP: Final = signal.SIGHUP
"""Load the configuration again, as for other servers; but stop when the terminal we run on was closed."""

IGNORED: Final = (signal.SIGUSR1, signal.SIGUSR2)
"""Other servers reopen their logs or reload on these; an operator who is used to that must not stop us."""

HANDLED: Final = (*STOP, HANG_UP, *IGNORED)
"""All signals whose default action, which ends the process, must not be taken."""
