"""Keeps requests whose URL names the host away from the host that we run on.

Each address that such a name has is looked at before anything is sent to it, and only an address that was
looked at is connected to: a name that means another address a moment later gains nothing (DNS rebinding).
Besides those of `bascule.policy.offlimits`, an address of this very host is refused at a port where we listen
ourselves: a pod's own address would lead to the admin listener, past every network policy.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, TypeVar

from bascule.policy.offlimits import off_limits, unmapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from ipaddress import IPv4Address, IPv6Address

__all__ = ["AddressRefused", "Fence", "Found"]

Found = TypeVar("Found")


class AddressRefused(OSError):
    """No address of a host that a URL named may be connected to; the text says why, for the log."""


class Fence:
    """Tells to which addresses a request may go if its URL names the host.

    Args:
        listening: Descriptors of the sockets that we listen at; they are left as they are.
    """

    def __init__(self, listening: Iterable[int]) -> None:
        self._own = [own for each in listening if (own := _bound_to(each)) is not None]

    def permitted(self, found: Sequence[Found], where: Callable[[Found], tuple[str, int]]) -> list[Found]:
        """Return those of a name's addresses that may be connected to.

        Args:
            found: What the look-up found; not empty.
            where: Returns address and port of one.

        Raises:
            AddressRefused: None of them may.
            OSError: There is no descriptor left to find out.
        """
        permitted, refused = [], ""
        for each in found:
            if (what := self._refuses(*where(each))) is None:
                permitted.append(each)
            else:
                refused = refused or what
        if not permitted:
            raise AddressRefused(f"name resolves to {refused}")
        return permitted

    def _refuses(self, host: str, port: int) -> str | None:
        """Return what an address is if it is refused."""
        if (kind := off_limits(host)) is not None:
            return kind
        at_this_port = [own for own, own_port in self._own if own_port == port]
        if not at_this_port:
            return None
        address = unmapped(host)
        is_own = address in at_this_port or (
            any(_covers(own, address) for own in at_this_port) and _is_here(address)
        )
        return "a listener of our own" if is_own else None


def _bound_to(descriptor: int) -> tuple[IPv4Address | IPv6Address, int] | None:
    """Return where a socket listens; ``None`` for a Unix socket."""
    listening = socket.socket(fileno=descriptor)
    try:
        if listening.family is socket.AF_UNIX:
            return None
        host, port = listening.getsockname()[:2]
        return unmapped(host), port
    finally:
        listening.detach()


def _covers(own: IPv4Address | IPv6Address, address: IPv4Address | IPv6Address) -> bool:
    """Tell whether a listener takes connections to every address of a family; one at ``::`` of both."""
    return own.is_unspecified and own.version >= address.version


def _is_here(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address is one of this host: a socket can be bound to no other.

    Where a connection comes from would not tell: Linux connects to a second address in one network from the
    first. If the sysctl ``net.ipv4.ip_nonlocal_bind`` is set, every address counts as one of this host.

    Raises:
        OSError: There is no descriptor left to find out.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
        return True
