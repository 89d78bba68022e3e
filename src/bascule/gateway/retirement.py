"""How a gateway makes way for another: no session ends, no request is lost, and no figure begins anew.

The supervisor orders it when the next gateway has all it needs (`bascule.supervisor.succession`).
Sessions go on in the forwarders meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from bascule.gateway.life import Stage
from bascule.handover.control import HasRetired
from bascule.tasks import are_serving, spawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.gateway.listening.admin import AdminListener
    from bascule.gateway.parts import Parts
    from bascule.gateway.sessions.links import Links

__all__ = ["retire"]

_SETTLE: Final = 2.0
"""Seconds that handshakes under way have, twice, before another gateway takes over. No gateway accepts
connections meanwhile."""

_LOOK_EVERY: Final = 0.1
"""Seconds between checks whether a leaving gateway has any work left."""


async def retire(parts: Parts, admin_listener: AdminListener, go_on: Callable[[Stage], None]) -> None:
    """Leave routes and figures to another gateway, and finish what was begun here.

    Handshakes under way have `_SETTLE` to become sessions. Plain requests, and sessions whose TLS this
    process pumps, keep it alive.

    Args:
        parts: The gateway's.
        admin_listener: Answers probes until the other gateway serves.
        go_on: Begins a stage of the gateway's life.
    """
    if parts.hub_activity is not None:
        # While we still accept: a forwarder that hangs delays the list, and browsers would have to wait.
        parts.hub_activity.observe(await parts.view.sessions())
    go_on(Stage.RETIRING)
    parts.http.waiting.idle.shed(len(parts.http.waiting.idle))
    await parts.http.wait_for_heads()
    go_on(Stage.SETTLING)
    await parts.attempts.settle(_SETTLE)
    parts.figures.leave()
    if parts.hub_ledger is not None:
        parts.hub_ledger.retire()
    # We have answered probes until now. Requests that have begun to arrive keep this process alive.
    spawn(admin_listener.retire(), "close admin listener", serves=True)
    go_on(Stage.RETIRED)
    parts.drain.leave()
    parts.supervisor.say(HasRetired())
    await _wait_unlinked(parts.links)
    while _has_work(parts):
        # An answer that began before may have left its connection open for another request.
        parts.http.waiting.idle.shed(len(parts.http.waiting.idle))
        await asyncio.sleep(_LOOK_EVERY)


async def _wait_unlinked(links: Links) -> None:
    """Wait until every forwarder has another gateway: until then it reports outcomes to this one.

    If a forwarder hangs, the supervisor kills it, and only this gateway knows which sessions it had.
    """
    while links.is_linked:
        links.changed.clear()
        await links.changed.wait()


def _has_work(parts: Parts) -> bool:
    """Tell whether this process, which accepts no more connections, still answers, refuses or pumps any.

    A connection counts until the browser has taken the answer, not only until the answer is written.
    """
    return len(parts.http.connections) > 0 or parts.refuser.under_way > 0 or are_serving()
