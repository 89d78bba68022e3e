"""A forwarder as a child process: a new program."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from bascule.handover.counters import ForwarderWord
from bascule.handover.setup import ForwarderSetup
from bascule.supervisor.child import Child

if TYPE_CHECKING:
    from bascule.handover.counters import CounterFile
    from bascule.handover.setup import ChildSetup
    from bascule.supervisor.child import Process

__all__ = ["ForwarderChild"]


class ForwarderChild(Child):
    """A forwarder: a new process, so that what parses bytes of strangers has no credential in its memory.

    Args:
        slot: Its slot, which the processes that follow it keep.

    Attributes:
        slot: The same.
        hot_path: Which build of the relay it runs, by its last report.
    """

    module = "bascule.forwarder"
    """What `python -m` runs."""

    layout = ForwarderWord

    def __init__(self, slot: int) -> None:
        super().__init__()
        self.slot = slot
        self.name = f"forwarder-{slot}"
        self.hot_path = ""

    def block(self, counters: CounterFile) -> memoryview:
        """See `Child.block`."""
        return counters.forwarder(self.slot)

    def take_back_gauges(self, counters: CounterFile) -> int:
        """See `Child.take_back_gauges`; note also on which channel it told its outcomes."""
        words = self.block(counters)
        words[ForwarderWord.DIED_ON] = words[ForwarderWord.CHANNEL]
        sessions = words[ForwarderWord.OPEN]
        for gauge in (ForwarderWord.OPEN, ForwarderWord.STASHED_BYTES, ForwarderWord.GIVEN):
            words[gauge] = 0
        return sessions

    def _begin(self, setup: ChildSetup) -> Process:
        assert isinstance(setup, ForwarderSetup)
        told = setup.write()
        try:
            return subprocess.Popen(
                # -P: a file in the working directory with a module's name must not run in its place.
                [sys.executable, "-P", "-m", self.module, str(told)],
                pass_fds=(told, *setup.descriptors),
                stdin=subprocess.DEVNULL,
                stderr=setup.prints,
                # Ctrl-C in a terminal goes to the whole group, and only the supervisor is to act on it.
                process_group=0,
            )
        finally:
            os.close(told)
