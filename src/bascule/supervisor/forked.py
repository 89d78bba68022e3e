"""A child that is a copy of the supervisor, and so has all modules that it needs from its first moment.

Importing is nearly all of a gateway's start: a copy serves after a tenth of the time that a new process
takes, and shares the supervisor's memory as long as neither of them changes it.

Rules of this file: the supervisor has one thread, so no lock is held by one that the copy lacks. A copy
never returns to the frames of the supervisor that it was made in: they hold descriptors that it has closed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["Forked"]

_STANDARD: Final = (0, 1, 2)
_MOST: Final = 1 << 20
"""No descriptor has a number as high, unless the limit is: Linux's default of ``fs.nr_open``. The limit alone
would not do, for it may have been lowered below the number of an open one."""


class Forked:
    """A process begun by fork(2), with as much of `subprocess.Popen` as the supervisor uses.

    Args:
        name: Its name, as ``ps -o comm`` shows it; at most 15 bytes.
        run: What it does. When that returns, its exit status is 0.
        inherits: Descriptors that it keeps, besides the standard streams.

    Attributes:
        pid: Its process id.
        returncode: Its exit status as `subprocess` has it; ``None`` until `wait` has returned.

    Raises:
        OSError: There is no memory, or there are too many processes.
    """

    def __init__(self, name: str, run: Callable[[], object], inherits: Collection[int]) -> None:
        self.returncode: int | None = None
        # The collector writes to what it looks at, and a page that was written to is shared no longer.
        gc.collect()
        gc.freeze()
        self.pid = os.fork()
        if self.pid == 0:
            _be(name, run, inherits)

    def wait(self) -> int:
        """Wait until it has ended, and return its exit status; negative for a signal."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)


def _be(name: str, run: Callable[[], object], inherits: Collection[int]) -> NoReturn:
    """Be the copy until it ends. Nothing of the supervisor's is cleaned up, for the supervisor goes on."""
    status = 1
    try:
        # Ctrl-C in a terminal goes to the whole group, and only the supervisor is to act on it. Its handlers,
        # which are ours as well until we have our own, only note that a signal came in.
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        _close_all_but({*_STANDARD, *inherits})
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_text(name, encoding="ascii")
        run()
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _close_all_but(kept: Collection[int]) -> None:
    """Close all descriptors but some, also those that an extension opened and forgot."""
    most = max(_MOST, os.sysconf("SC_OPEN_MAX"))
    for before, after in pairwise((-1, *sorted(kept), most)):
        if before + 1 < after:  # Python gives an empty range to close_range(2) as one without an end
            os.closerange(before + 1, after)
