"""What happened in a run: the story of each session, what was done to the proxy, and what was wrong.

Rules of this file: it remembers, and judges nothing. Times are monotonic seconds.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bascule.vocabulary import Direction

if TYPE_CHECKING:
    from bascule.protocol.closing import End
    from tests.chaos.wire import Said, Tally

__all__ = ["Chronicle", "Deed", "Story", "address"]


def address(number: int) -> str:
    """Return where a session or request claims to come from: by this the log and the API name it."""
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


@dataclass
class Story:
    """One upgrade, and the session that it became.

    Attributes:
        number: The last segment of its path.
        end: The browser's end of its connection, as `tests.chaos.connections.near_end` has it.
        inode: Of the proxy's end; what the browser's was is no longer told when it has left.
        did: Rows of the close table that its peers brought about; `said` is the Close that one of them sent.
        status: Of an answer other than 101.
        proven: Whether a message came from the upstream.
        missed: Replies that had not come when the peer's Close came, which it sent after them.
        breaks_off: Whether the browser ended inside a frame; `cut_mid_frame`, whether what it read did.
        cut: How what the browser read ended.
        given_up: Whether the browser reads no more, so that what it was told is not known.
        sent: What was sent, by direction; `came`, what arrived at the other end.
        quiet: The longest time without a message; `deaf`, the longest for which the browser read nothing.
        doomed_by: The death of the forwarder that carried it.
    """

    number: int
    route: str
    began: float = field(default_factory=time.monotonic)
    opened_at: float | None = None
    over_at: float | None = None
    end: int = 0
    inode: int = 0
    status: int = 0
    did: set[End] = field(default_factory=set)
    said: Said | None = None
    heard: Said | None = None
    upstream_heard: Said | None = None
    upstream_died: bool = False
    closed_by_admin: bool = False
    proven: bool = False
    missed: int = 0
    breaks_off: bool = False
    cut_mid_frame: bool = False
    cut: str = ""
    given_up: bool = False
    sent: dict[Direction, Tally] = field(default_factory=lambda: {each: Counter() for each in Direction})
    came: dict[Direction, Tally] = field(default_factory=lambda: {each: Counter() for each in Direction})
    active_at: float = 0.0
    quiet: float = 0.0
    deaf: float = 0.0
    doomed_by: Deed | None = None

    @property
    def client(self) -> str:
        """See `address`."""
        return address(self.number)

    @property
    def is_refused(self) -> bool:
        """Whether it was answered with a refusal, be it 101 and Close."""
        refusal = self.heard is not None and self.heard.code in (1012, 1013)
        return self.status != 0 or (refusal and not self.proven and self.upstream_heard is None)

    @property
    def is_live(self) -> bool:
        """Whether it is a session that goes on."""
        return self.opened_at is not None and self.over_at is None and not self.is_refused

    def moves(self) -> None:
        """Note that a message moves."""
        now = time.monotonic()
        self.quiet = max(self.quiet, now - (self.active_at or now))
        self.active_at = now


@dataclass
class Deed:
    """Something that was done to the proxy or its upstreams.

    Attributes:
        what: In a few words; the first ones say to what.
        over: When it could no longer end anything: a killed process is gone.
        healed: When all is as before: another process serves, or those that are to leave have left.
        child: The process's name in the log.
    """

    what: str
    pid: int = 0
    child: str = ""
    began: float = field(default_factory=time.monotonic)
    over: float = math.inf
    healed: float = math.inf

    def ends(self) -> None:
        """Note that all is as before."""
        self.over = self.healed = time.monotonic()


class Chronicle:
    """All of it.

    Attributes:
        answered: Plain requests that were answered whole; `failed` those that failed visibly.
        states: What may have been in force, by name: since when, and which values.
        stopped_at: When the proxy was told to stop.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.stories: dict[int, Story] = {}
        self.deeds: list[Deed] = []
        self.wrongs: list[str] = []
        self.answered = self.failed = 0
        self.states: dict[str, list[tuple[float, set[int]]]] = {}
        self.stopped_at = math.inf
        self._last = 0

    def next_number(self) -> int:
        """Return a number that no session and no request has."""
        self._last += 1
        return self._last

    def at(self, moment: float | None) -> str:
        """Return a moment as seconds of this run."""
        return "-" if moment is None else f"{moment - self.began:.2f}"

    def wrong(self, what: str) -> None:
        """Note that an invariant did not hold."""
        self.wrongs.append(f"{self.at(time.monotonic())} s: {what}")

    def did(self, what: str, pid: int = 0) -> Deed:
        """Note that something is done from now on."""
        self.deeds.append(deed := Deed(what, pid))
        return deed

    def during(self, begin: float, end: float, *words: str, healing: bool = False) -> list[Deed]:
        """Return what began with one of these words and was done in a span of time.

        Args:
            begin: Of the span.
            end: Of the span.
            words: First words.
            healing: Whether the time until all was as before counts as well.
        """
        found = [deed for deed in self.deeds if deed.what.startswith(words) and deed.began <= end]
        return [deed for deed in found if (deed.healed if healing else deed.over) >= begin]

    def now(self, name: str, *values: int) -> None:
        """Note that something is this from now on; several values while it is being changed."""
        self.states.setdefault(name, []).append((time.monotonic(), set(values)))

    def then(self, name: str, begin: float, end: float) -> set[int]:
        """Return all that something may have been in a span of time."""
        known = self.states.get(name, [])
        before = [values for moment, values in known if moment <= begin][-1:]
        return set().union(*before, *(values for moment, values in known if begin < moment <= end))

    @property
    def live(self) -> int:
        """How many sessions go on, as browsers know it."""
        return sum(story.is_live for story in self.stories.values())

    @property
    def begun(self) -> tuple[int, int]:
        """How many sessions there were for sure, and how many upgrades had no end that tells."""
        stories = self.stories.values()
        sure = sum(story.proven for story in stories)
        return sure, sum(not story.proven and not story.is_refused for story in stories)

    def moved(self, direction: Direction) -> tuple[Tally, Tally]:
        """Return all that was sent in a direction, and all that arrived."""
        sent, came = Counter[int](), Counter[int]()
        for story in self.stories.values():
            sent.update(story.sent[direction])
            came.update(story.came[direction])
        return sent, came
