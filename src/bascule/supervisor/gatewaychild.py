"""A gateway as a child process: a copy of the supervisor."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from bascule.gateway.setup import PROCESS_NAME, GatewaySetup
from bascule.handover.counters import GatewayWord
from bascule.supervisor.child import Child
from bascule.supervisor.forked import Forked

if TYPE_CHECKING:
    from bascule.handover.counters import CounterFile
    from bascule.handover.setup import ChildSetup
    from bascule.supervisor.child import Process

__all__ = ["GatewayChild"]


class GatewayChild(Child):
    """A gateway: a copy of the supervisor, so that one that died is replaced in a tenth of a second.

    Args:
        place: Its place: the number of its block of the counters.

    Attributes:
        place: The same.
        prepared: Whether it has all it needs, so that forwarders may be connected to it.
        former_since: Monotonic time in seconds at which another took its place; infinity until then.
    """

    name = "gateway"
    layout = GatewayWord

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place
        self.prepared = False
        self.former_since = math.inf

    def block(self, counters: CounterFile) -> memoryview:
        """See `Child.block`."""
        return counters.gateway(self.place)

    def take_back_gauges(self, counters: CounterFile) -> int:
        """See `Child.take_back_gauges`; the forwarders hold the sessions."""
        self.block(counters)[GatewayWord.HTTP_IN_FLIGHT] = 0
        return 0

    def start(self, setup: ChildSetup, now: float) -> None:
        """See `Child.start`."""
        super().start(setup, now)
        self.prepared = False

    def _begin(self, setup: ChildSetup) -> Process:
        # Not before it is needed: forwarders start meanwhile, and a command that fails has failed already.
        from bascule.gateway.main import main

        assert isinstance(setup, GatewaySetup)
        return Forked(PROCESS_NAME, partial(main, setup), (setup.prints, *setup.descriptors))
