"""Alive and ready, as an orchestrator asks.

Alive means that the gateway answers at all: a process that cannot run this handler
does not answer. Ready means that a *new* session has a good chance here: not
draining, below the configured share of the cap, a forwarder to carry it, and JupyterHub's routes known.
Not being ready never hurts live sessions; it only sends new ones elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bascule.admin.view import GatewayView

__all__ = ["Verdict", "readiness"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether new sessions should come here, and in one sentence why not; ``None`` if they should."""

    ready: bool
    reason: str | None


def readiness(view: GatewayView) -> Verdict:
    """Judge readiness now; draining outranks everything else."""
    if view.draining:
        return Verdict(False, "draining: no new sessions, live ones are ending")
    now = view.capacity()
    share = view.config.readiness.max_share
    if now.in_flight >= share * now.max:
        return Verdict(
            False, f"{now.in_flight} of {now.max} sessions in flight (readiness.maxShare {share:g})"
        )
    if not any(row.pid for row in view.forwarders()):
        return Verdict(False, "no forwarder is running")
    if view.hub is not None and not view.hub.standing.complete.is_set():
        return Verdict(False, "the other instances have not told JupyterHub's routes yet")
    if not view.has_room():
        return Verdict(
            False,
            "no forwarder takes sessions: they still start, or the open-file limit is too low for the cap",
        )
    return Verdict(True, None)
