"""The stages of a gateway's life, and what the gateway does at each.

A gateway starts, serves, and then either stops or makes way for another gateway::

    STARTING → SERVING → STOPPING
                       → RETIRING → SETTLING → RETIRED

A drain is not a stage: after ``POST /drain`` a gateway goes on serving, and a gateway that takes over from
it goes on draining. `bascule.gateway.main` decides when each stage begins.

Rules of this file: no gateway goes back a stage, and code that does something only at some stages asks here.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, NamedTuple

__all__ = ["Life", "Stage"]


class Stage(Enum):
    """A stage of a gateway's life."""

    STARTING = auto()
    """The gateway learns which sessions the forwarders carry, and what the former gateway knew."""
    SERVING = auto()
    """Browsers connect to this gateway."""
    STOPPING = auto()
    """The whole proxy stops: the gateway finishes what is under way, in the time that is left."""
    RETIRING = auto()
    """Another gateway is about to serve: this one waits for heads that have begun."""
    SETTLING = auto()
    """Handshakes under way become sessions, or are refused."""
    RETIRED = auto()
    """Another gateway serves: this one finishes what it began, however long that takes."""


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
        stage: The current stage.
        draining_since: Monotonic time in seconds at which a drain began, perhaps under a former gateway;
            ``None`` while there is no drain.
        accepts: Whether the gateway accepts connections.
        keeps: Whether another request may follow on a connection; never during a drain. If not, the gateway
            closes the connection after the answer.
        holds: Whether a browser that is refused again is held before it is told.
        admits: Whether the gateway admits sessions; never during a drain.
        hurries: Whether a closed connection is cut soon, though its client has not taken the end of an
            answer: other clients need its room.
    """

    __slots__ = ("accepts", "admits", "draining_since", "holds", "hurries", "keeps", "stage")

    def __init__(self, draining_since: float | None = None) -> None:
        self.stage = Stage.STARTING
        self.draining_since = draining_since
        self._look_up()

    @property
    def draining(self) -> bool:
        """Whether a drain has begun, or will begin as soon as the forwarders have listed their sessions."""
        return self.draining_since is not None

    def go_on(self, stage: Stage) -> None:
        """Go on to another stage; a call with the current stage changes nothing.

        Raises:
            AssertionError: That stage does not follow the current one. Nothing was changed.
        """
        assert stage is self.stage or stage in _NEXT[self.stage], f"{self.stage.name} → {stage.name}"
        self.stage = stage
        self._look_up()

    def drain(self, since: float) -> float:
        """Note that a drain has begun; return when, which is the earlier time if one was noted before.

        Args:
            since: Monotonic time in seconds.
        """
        self.draining_since = since if self.draining_since is None else min(since, self.draining_since)
        self._look_up()
        return self.draining_since

    def _look_up(self) -> None:
        does = _DOES[self.stage]
        self.accepts, self.holds, self.hurries = does.accepts, does.holds, does.hurries
        self.keeps = does.keeps and not self.draining
        self.admits = does.admits and not self.draining
