"""What waits in a session: bytes that have come and are not read, and bytes that a peer has not taken.

Rules of this file: it asks the kernel and changes nothing.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from bascule.forwarder.ends import owes_close
from bascule.handover.descriptors import arrived, queued

if TYPE_CHECKING:
    from bascule.forwarder.hot import Flow
    from bascule.forwarder.session import Session

__all__ = ["has_unread", "last_waiting_bytes", "may_answer_yet", "waiting_bytes"]


def has_unread(session: Session) -> bool:
    """Tell whether bytes have come that the engine may read and has not read yet, and that may matter."""
    unread = select.poll()
    for flow in (session.inbound, session.outbound):
        if flow.reading and not flow.stashed and not flow.heard:
            unread.register(flow.source, select.POLLIN)
    return bool(unread.poll(0))


def may_answer_yet(session: Session) -> bool:
    """Tell whether a browser's answer may be among bytes not read yet, or our ping among those not taken."""
    return arrived(session.inbound.source) > 0 or _untaken(session.outbound) > 0


def waiting_bytes(session: Session) -> int:
    """Return how many bytes wait, in our stashes and in the kernel, for peers that do not take them.

    The number can only fall: while there is a stash, its source is not read and no heartbeat is sent.
    """
    return sum(_untaken(flow) for flow in (session.inbound, session.outbound) if flow.stashed)


def last_waiting_bytes(session: Session) -> int:
    """Return how many bytes wait for peers to which nothing more goes out, except a Close.

    A direction that still forwards is left out: with an upstream that ignores a Close, its number could rise
    and fall for ever. So a browser that has sent a Close, and is slow to take what still comes, has only the
    time of a closing handshake: from its Close on it passes nothing to its page (WHATWG WebSockets,
    readyState CLOSING).
    """
    return sum(
        _untaken(flow)
        for flow in (session.inbound, session.outbound)
        if flow.told or (flow.stashed and owes_close(flow))
    )


def _untaken(flow: Flow) -> int:
    """Return the bytes, in our stash and in the kernel, that the sink's peer has not taken."""
    try:
        return flow.stashed + queued(flow.sink)
    except OSError:
        return flow.stashed
