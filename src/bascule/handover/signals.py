"""Which signals mean something to the proxy: to its supervisor, which alone acts on them.

Its children let them pass, since service managers and shells signal whole groups.
"""

from __future__ import annotations

import signal
from typing import Final

STOP: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Begin a drain; a second one ends everything at once."""

IGNORED: Final = (signal.SIGUSR1, signal.SIGUSR2)
"""Other servers reopen their logs or reload on these, and whoever is used to that must not stop us."""

HEARD: Final = (*STOP, *IGNORED)
"""All that must not end a process by itself."""
