"""Where a gateway is in its life, and what it does there.

It starts, it serves, and then it stops or makes way for another one::

    STARTING → SERVING → STOPPING
                       → RETIRING → SETTLING → RETIRED

Whether sessions are being drained is another question: after ``POST /drain`` a gateway goes on serving, and
one that takes over from it goes on draining. `bascule.gateway.main` decides when each stage begins.

Rules of this file: no gateway goes back, and everybody who does something only for a while asks here.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, NamedTuple

__all__ = ["Life", "Stage"]


class Stage(Enum):
    """Where a gateway is."""

    STARTING = auto()
    """It learns what the forwarders carry, and what the gateway before it knew."""
    SERVING = auto()
    """It is the one that browsers meet."""
    STOPPING = auto()
    """The proxy ends: what is under way is finished, in the time there is."""
    RETIRING = auto()
    """Another gateway is about to serve: heads that have begun are awaited."""
    SETTLING = auto()
    """Handshakes under way become sessions, or are refused."""
    RETIRED = auto()
    """Another gateway serves: what was begun here ends, however long it takes."""


class _Does(NamedTuple):
    """What a gateway does at a stage: see `Life`."""

    accepts: bool = False
    keeps: bool = False
    holds: bool = False
    admits: bool = False
    hurries: bool = False


_DOES: Final = {
    Stage.STARTING: _Does(keeps=True, holds=True, admits=True, hurries=True),
    Stage.SERVING: _Does(accepts=True, keeps=True, holds=True, admits=True, hurries=True),
    Stage.STOPPING: _Does(hurries=True),
    Stage.RETIRING: _Does(admits=True),
    Stage.SETTLING: _Does(),
    Stage.RETIRED: _Does(),
}

_NEXT: Final = {
    Stage.STARTING: {Stage.SERVING},
    Stage.SERVING: {Stage.STOPPING, Stage.RETIRING},
    Stage.STOPPING: set[Stage](),
    Stage.RETIRING: {Stage.SETTLING},
    Stage.SETTLING: {Stage.RETIRED},
    Stage.RETIRED: set[Stage](),
}


class Life:
    """The life of one gateway.

    Attributes:
        stage: Where it is.
        draining_since: Monotonic time at which a drain began, be it under a gateway before this one;
            ``None`` while there is none.
        accepts: Whether it takes connections.
        keeps: Whether another request may follow on a connection: not while sessions are drained, either.
            Where not, the connection is closed behind the answer.
        holds: Whether clients wait who were refused and come again.
        admits: Whether it takes sessions: not while others are drained, either.
        hurries: Whether connections end whose client does not take the end of its answer: others want the
            room.
    """

    __slots__ = ("accepts", "admits", "draining_since", "holds", "hurries", "keeps", "stage")

    def __init__(self, draining_since: float | None = None) -> None:
        self.stage = Stage.STARTING
        self.draining_since = draining_since
        self._look_up()

    @property
    def draining(self) -> bool:
        """Whether sessions are being drained, or will be as soon as it is known which there are."""
        return self.draining_since is not None

    def go_on(self, stage: Stage) -> None:
        """Go on to another stage; to be told twice of one changes nothing.

        Raises:
            AssertionError: From where we are nothing leads there.
        """
        assert stage is self.stage or stage in _NEXT[self.stage], f"{self.stage.name} → {stage.name}"
        self.stage = stage
        self._look_up()

    def drain(self, since: float) -> float:
        """Note that a drain has begun; of two the earlier counts, and when that was is returned.

        Args:
            since: When, monotonic.
        """
        self.draining_since = since if self.draining_since is None else min(since, self.draining_since)
        self._look_up()
        return self.draining_since

    def _look_up(self) -> None:
        does = _DOES[self.stage]
        self.accepts, self.holds, self.hurries = does.accepts, does.holds, does.hurries
        self.keeps = does.keeps and not self.draining
        self.admits = does.admits and not self.draining
