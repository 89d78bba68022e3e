"""Acts on what forwarders tell: which sessions live, how each ended, which were lost with their forwarder.

For each outcome we release the lease, put the duration in the sample, note activity on a route of
JupyterHub, and write a line to the log. A forwarder counts the sessions that end in it. A lost session is
counted here, since its forwarder is gone, and is no activity: no process knows what it had received.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from bascule.gateway.sessions.registry import Record
from bascule.handover.counters import KINDS, GatewayWord, durations_of, ended_word
from bascule.handover.losses import claim_to_count, claim_to_log, is_logged
from bascule.protocol.closing import CLOSE_TABLE, End
from bascule.telemetry.accesslog import SessionEnd
from bascule.telemetry.durations import DURATIONS
from bascule.telemetry.errand import Errand

if TYPE_CHECKING:
    from bascule.gateway.hubactivity import HubActivity
    from bascule.gateway.sessions.link import Link
    from bascule.gateway.sessions.registry import Registry
    from bascule.handover.counters import CounterFile
    from bascule.handover.messages import Ended, Live
    from bascule.policy.budget import SessionBudget
    from bascule.telemetry.accesslog import AccessLog
    from bascule.telemetry.durations import Durations

__all__ = ["Outcomes"]

_log = structlog.get_logger()


class Outcomes:
    """Implements `bascule.gateway.sessions.links.Bookkeeper`.

    Args:
        registry: Where sessions are recorded.
        budget: Whose leases the sessions hold.
        durations: The sample of how long sessions lasted.
        access_log: Gets one line for each session that ended.
        counters: All counters.
        words: The gateway's counter block.
        activity: Notes activity on JupyterHub's routes; ``None`` where we take none.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        budget: SessionBudget,
        durations: Durations,
        access_log: AccessLog,
        counters: CounterFile,
        words: memoryview,
        activity: HubActivity | None,
    ) -> None:
        self._registry = registry
        self._budget = budget
        self._durations = durations
        self._access = access_log
        self._counters = counters
        self._words = words
        self._lasted = durations_of(words)
        self._activity = activity

    def on_live(self, slot: int, live: Live) -> None:
        """Take over a session that a forwarder already carries; do nothing if it is known."""
        if self._registry.get(live.id) is not None:
            return
        errand = Errand.of_tag(live.tag, KINDS[live.kind])
        if self._activity is not None:
            self._activity.carried(live.id, live.frames_inbound)
        self._registry.add(
            Record(
                live.id, errand, live.opened_at, slot,
                self._budget.restore(live.opened_at, errand.route, errand.user),
            )
        )  # fmt: skip

    def on_ended(self, slot: int, ended: Ended) -> None:
        """Remove a session that has ended, and record its outcome."""
        self._registry.remove(ended.id)  # unknown here if it ended between two gateways
        row = CLOSE_TABLE[End(ended.end)]
        errand = Errand.of_tag(ended.tag, KINDS[ended.kind])
        self._durations.record(ended.duration, time.monotonic())
        if self._activity is not None:
            self._activity.ended(ended.id, errand.route, ended.frames_inbound, ended.idle)
        self._access.session_ended(
            SessionEnd(
                id=f"{ended.id:x}", errand=errand, ended_by=row.ended_by, cause=row.cause,
                duration=ended.duration, close_code=ended.code or None, close_reason=ended.reason,
                forwarder=slot,
                bytes_inbound=ended.payload_inbound, bytes_outbound=ended.payload_outbound,
                frames_inbound=ended.frames_inbound, frames_outbound=ended.frames_outbound,
            )
        )  # fmt: skip

    def on_listed(self, slot: int, carried: set[int], counted: bool) -> None:
        """Remove sessions that a living forwarder was given and does not carry, and that we heard no end of.

        Args:
            slot: Its slot.
            carried: The sessions that it carries.
            counted: Whether it has counted them: they ended in it, and we could not read what it said.
                Otherwise it could not read what we said, and they are lost.
        """
        missing = [record for record in self._registry.of_slot(slot) if record.id not in carried]
        for record in missing:
            self._registry.remove(record.id)
        if missing and not counted:
            _log.error("sessions lost on their way to a forwarder", slot=slot, sessions=len(missing))
            self._words[GatewayWord.FORWARDER_LOST] += len(missing)
            self._record_lost(slot, missing)

    def on_lost(self, link: Link) -> None:
        """Remove the sessions of a forwarder that died: they ended with it.

        If it had not listed all of them here, the supervisor counts them: see `bascule.handover.losses`.
        """
        slot = link.slot
        records = self._registry.of_slot(slot)
        words = self._counters.forwarder(slot)
        if link.listed:
            if claim_to_count(words, link.restarts):
                self._words[GatewayWord.FORWARDER_LOST] += len(records)
            logs = claim_to_log(words, link.restarts)
        else:
            logs = not is_logged(words, link.restarts)
        for record in records:
            self._registry.remove(record.id)
        if not records or not logs:
            return
        _log.error("forwarder lost", slot=slot, sessions=len(records))
        self._record_lost(slot, records)

    def _record_lost(self, slot: int, records: list[Record]) -> None:
        """Record the outcome of sessions that no forwarder counts."""
        now = time.monotonic()
        row = CLOSE_TABLE[End.FORWARDER_LOST]
        for record in records:
            duration = max(0.0, now - record.opened_at)
            self._words[ended_word(record.errand.kind, row.ended_by, row.cause)] += 1
            DURATIONS.count(self._lasted, duration)
            self._durations.record(duration, now)
            self._access.session_ended(
                SessionEnd(
                    id=f"{record.id:x}", errand=record.errand, ended_by=row.ended_by, cause=row.cause,
                    duration=duration, forwarder=slot,
                )
            )  # fmt: skip
