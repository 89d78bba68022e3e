"""What may come of what was done: how each session ends, by the close table and the page on deaths.

docs/reference/close-table.md says what each side is told, docs/explanation/when-processes-die.md what a death
ends. Rules of this file: no input or output.
"""

from __future__ import annotations

import math
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from bascule.protocol.closing import CLOSE_TABLE, End
from bascule.vocabulary import Direction, Opcode
from tests.chaos.browsers import CEILING
from tests.chaos.upstream import GOODBYE
from tests.chaos.violence import IDLE, PONG
from tests.chaos.wire import PAYLOAD, Said

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.chaos.chronicle import Chronicle, Story

__all__ = ["DOWN", "FULL", "Oracle"]

FULL: Final = Said(1013, "WebSocket session cap reached (maxSessionsPerApp)")
DOWN: Final = Said(1013, "WebSocket upstream is not reachable")

_LATE: Final = 1.0
"""Seconds by which a browser may notice later than something is noted, or sooner."""
_CLOSING: Final = 5.0
"""Seconds of ``closingHandshakeTimeout``: a Close waits for so long behind what a browser does not take."""
_NEAR: Final = 10.0
"""Seconds within which what a process was to do is done, or left undone as it dies."""

_ROWS: Final = {(row.ended_by.value, row.cause.value): end for end, row in CLOSE_TABLE.items()}
"""Of two rows with the same words, the one that some violence of ours can bring about."""
_KILLED: Final = {role: (f"{role} killed", f"{role} hangs") for role in ("gateway", "forwarder")}
_DATA: Final = (Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY)
_DESERTED: Final = "the gateway that was to use it ended"
"""How the log says that a gateway was asked to retire for another one, which died: so the first is killed."""
_HOLDS_UP: Final = ("gateway", "forwarder", "all", "cores")
_NO_FORWARDER: Final = Said(1013, "No forwarder can take a session")
_RESTARTING: Final = Said(1012, "The proxy is restarting")
_FAULTS: Final = (
    "a control message cannot be read", "a plain HTTP request failed", "an admin call failed",
    "channel failed", "internal error", "log lines lost", "sessions lost on their way to a forwarder",
    "status snapshot failed", "task failed", "unknown control message",
)  # fmt: skip
"""How events begin that no violence from outside may cause."""


class Oracle:
    """Judges a chronicle.

    Args:
        chronicle: What happened.
        lines: The log.
        has_tls: Whether both sides of each session have TLS.
    """

    def __init__(self, chronicle: Chronicle, lines: Iterable[dict[str, Any]], *, has_tls: bool) -> None:
        self._chronicle = chronicle
        self._has_tls = has_tls
        self._lines = list(lines)
        self._ends: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in self._lines:
            if line.get("event") == "session ended":
                self._ends[line["client"]].append(line)

    def findings(self) -> Iterator[str]:
        """Yield all that should not be."""
        deeds = self._chronicle.deeds
        # Those too that were left standing when the proxy was told to stop.
        victims = {
            deed.pid for deed in deeds if deed.what.endswith(("killed", "hangs")) or deed.over == math.inf
        }
        is_deserted = False
        for line in self._lines:
            event = line.get("event", "")
            if line.get("problem", "").startswith(_DESERTED):
                is_deserted = True
            if "text" in line or event.startswith(_FAULTS) or "Traceback" in str(line):
                yield f"in the log: {line}"
            if event in ("a process died", "a process hangs") and line["pid"] not in victims:
                if not (is_deserted and line["child"] == "gateway"):
                    yield f"nobody had killed it: {line}"
                is_deserted = False
        for story in self._chronicle.stories.values():
            for finding in self._of(story):
                yield f"session {story.number}: {finding}; {self._told(story)}"

    def _told(self, story: Story) -> str:
        lived = " / ".join(map(self._chronicle.at, (story.began, story.opened_at, story.over_at)))
        keys = "ended_by", "cause", "duration_seconds"
        rows = [[line[key] for key in keys] for line in self._ends[story.client]]
        return (
            f"{story.client}, {lived}, {story.status}: did {[end.name for end in story.did]},"
            f" said {story.said}, heard {story.heard} {story.cut},"
            f" upstream heard {story.upstream_heard}, lines {rows}"
        )

    def _killed(self, role: str, begin: float, end: float) -> bool:
        return bool(self._chronicle.during(begin, end, *_KILLED[role]))

    def _cut_by_gateway(self, begin: float, end: float) -> bool:
        """Tell whether a gateway may have cut a session with TLS: it died, or its time was up."""
        late = self._chronicle.during(begin, end, "reload that cuts", healing=True)
        return self._has_tls and (bool(late) or self._killed("gateway", begin, end))

    # -- a session -------------------------------------------------------------------------------------------

    def _of(self, story: Story) -> Iterator[str]:
        lines = self._ends[story.client]
        over = math.inf if story.over_at is None else story.over_at
        ends = {_ROWS[line["ended_by"], line["cause"]] for line in lines}
        by_deaths = self._by_deaths(story, over)
        if story.opened_at is None or story.is_refused:
            # What was offered to a forwarder is a session, though its browser has had no answer.
            if not ends <= by_deaths:
                yield "it was refused, and has a line"
            if not self._may_be_refused(story, over):
                yield "it was refused for no reason"
            return
        permitted = self._by_deeds(story, over) | by_deaths
        if not self._chronicle.then(story.route, story.began, story.opened_at) & {1}:
            yield "its route was not there"
        if len(lines) > 1 and not self._killed("gateway", over - _NEAR, over + _NEAR):
            yield "it has several lines"
        if not lines and not self._may_have_no_line(story, over, by_deaths):
            yield "it has no line"
        if story.missed and not story.upstream_died:  # if it did, the proxy answers in its place
            yield f"{story.missed} replies did not come, though a Close behind them did"
        for line in lines:
            yield from _miscounted(story, line)
        if not ends <= permitted:
            yield f"permitted are {[end.name for end in permitted]}"
        # One that is lost may have begun to end otherwise.
        told = [_hears(story, end) for end in (permitted if not ends or End.FORWARDER_LOST in ends else ends)]
        may_be_cut = bool(by_deaths if self._has_tls or not ends else by_deaths & ends) or story.upstream_died
        may_be_cut |= story.breaks_off or story.cut_mid_frame or over > self._chronicle.stopped_at
        for side, heard in enumerate((story.heard, story.upstream_heard)):
            may_be_unheard = may_be_cut or (side == 0 and (story.given_up or story.deaf > _CLOSING - _LATE))
            if heard not in {each[side] for each in told} and not (heard is None and may_be_unheard):
                yield f"the {('browser', 'upstream')[side]} should have heard {[each[side] for each in told]}"

    def _by_deeds(self, story: Story, over: float) -> set[End]:
        """Return the rows that fit what was done to a session, apart from deaths."""
        found = set(story.did)
        if story.upstream_died:
            found.add(End.UPSTREAM_ABORTED)
        if story.closed_by_admin:
            found.add(End.ADMIN)
        if over > self._chronicle.stopped_at - _NEAR:
            found.add(End.DRAIN)
        # A gateway that stands still has yet to decrypt what came, be it the answer to a ping.
        still = self._has_tls and self._chronicle.during(story.began, over, "gateway", "all", "cores")
        # What a browser reads late has long moved through the proxy.
        quiet = max(story.quiet, over - story.active_at) + story.deaf
        if (quiet > IDLE - _LATE or still) and IDLE in self._chronicle.then(
            "idle", story.began, over + _LATE
        ):
            found.add(End.IDLE)
        if (story.deaf > PONG - _LATE or still) and PONG in self._chronicle.then("pong", story.began, over):
            found.add(End.CLIENT_SILENT)
        return found

    def _by_deaths(self, story: Story, over: float) -> set[End]:
        """Return the rows by which deaths of processes may have ended a session."""
        # The proxy may have it longer than a browser that has left.
        until = over + (_NEAR if story.did else _LATE)
        found = set()
        slots = {f"forwarder-{line.get('forwarder')}" for line in self._ends[story.client]}
        # Where it is known whose each session is, others are lost only at the very moment of their end.
        is_known = not self._has_tls and story.opened_at is not None
        span = (over - _LATE, over + _LATE) if is_known else (story.began, until)
        deaths = self._chronicle.during(*span, *_KILLED["forwarder"])
        if story.doomed_by is not None or (
            (not is_known or story.heard is not None or End.CLIENT_ABORTED in story.did)
            and any(not slots or not death.child or death.child in slots for death in deaths)
        ):
            found.add(End.FORWARDER_LOST)
        if self._cut_by_gateway(max(story.began, over - _NEAR), until):
            found |= {End.CLIENT_ABORTED, End.UPSTREAM_ABORTED}
        return found

    def _may_have_no_line(self, story: Story, over: float, by_deaths: set[End]) -> bool:
        stop = self._chronicle.stopped_at - _NEAR
        if over > stop:
            return bool(self._chronicle.during(stop, math.inf, "gateway", "forwarder"))
        lost = max(over, story.doomed_by.over if story.doomed_by else 0.0)
        near = self._chronicle.during(over - 3 * _NEAR, lost + _NEAR, "gateway", "all", healing=True)
        return End.FORWARDER_LOST in by_deaths and bool(near)

    # -- a refusal -------------------------------------------------------------------------------------------

    def _may_be_refused(self, story: Story, over: float) -> bool:
        begin = story.began - _LATE
        is_down = bool(self._chronicle.during(begin, over, "upstreams"))
        is_stopping = over > self._chronicle.stopped_at - _LATE
        if story.status == 404:
            return 0 in self._chronicle.then(story.route, story.began, over)
        if story.status:
            return is_down
        if story.heard is None:
            killed = any(self._killed(role, begin, over) for role in _KILLED)
            return is_down or is_stopping or killed or self._cut_by_gateway(begin, over)
        if story.heard == FULL:
            return self._may_be_full(story, over)
        if story.heard == DOWN:
            return is_down
        if story.heard == _NO_FORWARDER:
            return bool(self._chronicle.during(begin, over, "forwarder", "all", healing=True))
        return story.heard == _RESTARTING and (
            is_stopping or bool(self._chronicle.during(begin, over, "reload"))
        )

    def _may_be_full(self, story: Story, over: float) -> bool:
        """Tell whether others may have held so many places that there was none for this one."""
        others = sum(began <= over and until >= story.began for began, until in self._places)
        return others >= min(self._chronicle.then("cap", story.began - _LATE, over))

    @cached_property
    def _places(self) -> list[tuple[float, float]]:
        """From when until when each session may have had its place."""
        stories = self._chronicle.stories.values()
        # One that is refused for another reason may have had a place while its upstream was dialled.
        with_place = [story for story in stories if story.heard != FULL and story.status != 404]
        return [(story.began, self._held_until(story)) for story in with_place]

    def _held_until(self, story: Story) -> float:
        """Return when a session has given back its place: one that stands still does so when it goes on."""
        until = math.inf if story.over_at is None else story.over_at + _LATE
        for deed in self._chronicle.deeds:
            if deed.what.startswith(_HOLDS_UP) and deed.began <= until:
                until = max(until, deed.healed + _LATE)
        return until


def _miscounted(story: Story, line: dict[str, Any]) -> Iterator[str]:
    """Yield what a line says otherwise than both ends; a line of a session that was lost says nothing."""
    is_lost = line["cause"] == "internal"
    for direction in Direction:
        sent, came = story.sent[direction], story.came[direction]
        for name, opcodes in (("bytes", (PAYLOAD,)), ("frames", _DATA)):
            said = line.get(f"{name}_{direction}")
            least, most = (sum(map(tally.__getitem__, opcodes)) for tally in (came, sent))
            if not (said is None if is_lost else said is not None and least <= said <= most):
                yield f"its line has {said} {name} {direction}, and {least} to {most} were seen"


def _hears(story: Story, end: End) -> tuple[Said | None, Said | None]:
    """Return what the browser and the upstream hear of a session that ends by a row."""
    if end in (End.CLIENT_CLOSED, End.UPSTREAM_CLOSED):
        said = GOODBYE if end is End.UPSTREAM_CLOSED else story.said
        return said, said
    row = CLOSE_TABLE[end]
    return _said(row.to_browser, row.browser_reason), _said(row.to_upstream, row.upstream_reason)


def _said(code: int | None, reason: str) -> Said | None:
    return None if code is None else Said(int(code), reason.format(limit=CEILING))
