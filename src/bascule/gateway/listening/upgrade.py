"""Which requests are upgrades, and the form in which one is handed on once its head is read."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bascule.gateway.listening.unparsed import TOO_LARGE
from bascule.protocol.handshake import wants_websocket
from bascule.protocol.http1 import BadHead, parse_request_head

if TYPE_CHECKING:
    from bascule.configuration.config import Limits
    from bascule.gateway.connections.legs import Leg
    from bascule.gateway.connections.proxyheader import Peer
    from bascule.protocol.http1 import RequestHead

__all__ = ["OnUpgrade", "UpgradeRequest", "upgrade_head"]

_USUAL: Final = b"\nUpgrade:"
_UPGRADE: Final = b"\nupgrade:"
"""Every head with the field ``Upgrade`` contains this. ``Upgrade-Insecure-Requests``, which browsers send
for each page, does not."""


class UpgradeRequest(NamedTuple):
    """A request for a WebSocket, and the connection on which it came.

    Attributes:
        leg: The connection; nothing beyond `early` has been read.
        head: The request, or what is wrong with it.
        early: Bytes after the head.
        peer: The client of the connection.
    """

    leg: Leg
    head: RequestHead | BadHead
    early: bytes
    peer: Peer


OnUpgrade = Callable[[UpgradeRequest], Coroutine[Any, Any, None] | None]
"""Answers an upgrade request; the leg is its own from now on, to be handed over or closed.

What it returns, if anything, the caller lets a task do."""


def upgrade_head(data: bytes, limits: Limits) -> RequestHead | BadHead | None:
    """Tell whether a request is for a WebSocket.

    Args:
        data: The whole head, or what has come of one that can no longer become valid.
        limits: Limits of heads.

    Returns:
        The head of a request for a WebSocket; what is wrong with a head that has the field ``Upgrade``;
        ``None`` for any other request.
    """
    # As browsers write it, or in any other case. `in` tries first whether it is a number, for as long again.
    if data.find(_USUAL) < 0 and data.lower().find(_UPGRADE) < 0:
        return None
    try:
        if len(data) > limits.request_head_bytes:
            raise BadHead(431, TOO_LARGE)
        head = parse_request_head(data, limits.request_fields)
    except BadHead as error:
        return error
    return head if wants_websocket(head) else None
