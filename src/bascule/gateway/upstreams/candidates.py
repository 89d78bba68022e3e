"""The addresses of one upstream, which are tried in turn, and what has come of that."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bascule.gateway.connections.connecting import lacks_room

if TYPE_CHECKING:
    import socket

    from bascule.gateway.upstreams.resolver import Address

__all__ = ["Candidates"]


class Candidates:
    """What is left to try, and in which time.

    Each address gets an equal share of the time that is left, so that a silent one leaves some for the
    others. If all fail, an upstream's fault is told rather than one of this host: an address that needs
    IPv6, which this host lacks or has no address of, may stand beside one that refuses.

    Args:
        addresses: In the order in which they are tried.
        seconds: For all of them.

    Attributes:
        begun: A connection to the first address that is left, whose connect has begun; whoever takes it owns
            it.
    """

    __slots__ = ("_at", "_failure", "_left", "addresses", "begun")

    def __init__(self, addresses: list[Address], seconds: float) -> None:
        self.addresses = addresses
        self.begun: socket.socket | None = None
        self._at = 0
        self._left = seconds
        self._failure: OSError | None = None

    @property
    def left(self) -> int:
        """How many addresses are left."""
        return len(self.addresses) - self._at

    @property
    def address(self) -> Address:
        """The first address that is left."""
        return self.addresses[self._at]

    @property
    def share(self) -> float:
        """Seconds for that one."""
        return self._left / self.left

    @property
    def failure(self) -> OSError:
        """Why no address was connected to."""
        return self._failure or OSError(errno.EHOSTUNREACH, "no address")

    def failed(self, error: OSError, seconds: float) -> None:
        """Go on to the next address.

        Args:
            error: Why the first one that was left has failed.
            seconds: How long that took.
        """
        if self._failure is None or not _is_ours(error):
            self._failure = error
        self._at += 1
        self._left -= seconds


def _is_ours(error: OSError) -> bool:
    """Tell whether this host was the reason why an address was not connected to."""
    return lacks_room(error) or error.errno == errno.EAFNOSUPPORT
