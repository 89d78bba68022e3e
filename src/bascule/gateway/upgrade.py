"""An upgrade request, as whoever has read its head hands it on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from bascule.gateway.announced import Peer
    from bascule.gateway.legs import Leg
    from bascule.protocol.http1 import BadHead, RequestHead

__all__ = ["OnUpgrade", "UpgradeRequest"]


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


OnUpgrade = Callable[[UpgradeRequest], Coroutine[Any, Any, None]]
"""Answers an upgrade request; the leg is its own from now on, to be handed over or closed."""
