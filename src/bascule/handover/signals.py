"""Which signals mean something to the proxy: to its supervisor, which alone acts on them.

Its children let them pass, since service managers and shells signal whole groups.
"""

from __future__ import annotations

import signal
from typing import Final

STOP: Final = (signal.SIGTERM, signal.SIGINT)
"""Begin a drain; a second one ends everything at once."""

HANG_UP: Final = signal.SIGHUP
"""Load the configuration again, as for other servers; but stop when the terminal we run on was closed."""

IGNORED: Final = (signal.SIGUSR1, signal.SIGUSR2)
"""Other servers reopen their logs or reload on these, and whoever is used to that must not stop us."""

HANDLED: Final = (*STOP, HANG_UP, *IGNORED)
"""All that must not end a process by itself."""
