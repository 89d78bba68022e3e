"""Which address counts as the client's: the rightmost one that is not a trusted proxy's.

``X-Forwarded-For`` is a list that every proxy on the way appends to, so it is worth
exactly as much as the peer that sent it. Read from the right: our peer is certain;
what a trusted peer appended is believed; the first address that is not a trusted
proxy is the client, and whatever stands to the left of it may be invented.

Whoever connects to a Unix socket has no address, and is called ``unix:``, as in nginx: no address looks so.
It is believed only if ``trustedProxies`` says so: what merely passes bytes on (``ssh -L``) connects there,
too, and behind that each browser could say who it is.

Rules of this file: an address is compared after one normalisation (``::ffff:a.b.c.d``
is ``a.b.c.d``, no zone, no port); a text that is no address is never believed.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final

from bascule.configuration.socketpath import UNIX_PEER
from bascule.policy.fieldlines import values_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bascule.policy.fieldlines import Fields

__all__ = ["TrustedProxies", "client_address", "normal_address", "peer_address"]

_REMEMBERED: Final = 4096
"""Addresses whose answer is kept; then the memory is emptied, so it cannot grow."""

_LONGEST_ADDRESS: Final = 64
"""Longer texts are no addresses (an IPv6 address in brackets with zone and port is shorter)."""

_MOST_HOPS: Final = 32
"""Entries of ``X-Forwarded-For`` that are looked at, from the right: no chain of proxies is longer.

Without this bound, where every peer is trusted, a head full of entries took the gateway's one thread 0.1 s.
"""

_MAPPED_BITS: Final = 96
"""Bits in front of the IPv4 address in an IPv4-mapped one (RFC 4291 §2.5.5.2)."""


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address a text spells, in its normal form, or ``None``."""
    if len(text) > _LONGEST_ADDRESS:
        return None
    text = text.strip(" \t")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        if ":" not in text:
            return IPv4Address(text)
        address = IPv6Address(text.partition("%")[0])
    except AddressValueError:
        return None
    return address.ipv4_mapped or address


def normal_address(text: str) -> str | None:
    """Return the normal form of an address with or without brackets, zone or port, or ``None``."""
    address = _address(text)
    return None if address is None else str(address)


def peer_address(peer: object) -> str:
    """Return the address of a connection's other end in its usual form; empty for one without an address.

    Args:
        peer: As the kernel gives it: a listener on ``[::]`` sees IPv4 clients as ``::ffff:a.b.c.d``. One at a
            Unix socket sees a text or bytes that the client has chosen, so even one that looks like an
            address is none. ``None`` is a connection that has ended.
    """
    if isinstance(peer, tuple):
        text = str(peer[0])
        return text.removeprefix("::ffff:") if "." in text else text
    return "" if peer is None else UNIX_PEER


class TrustedProxies:
    """The proxies in front of us that are believed: their forwarding fields, or their PROXY headers.

    Args:
        networks: Networks (or single addresses) in CIDR form, and `UNIX_PEER`.

    Raises:
        ValueError: A text is not a network.
    """

    __slots__ = ("_known", "_networks", "_unix")

    def __init__(self, networks: Iterable[str | IPv4Network | IPv6Network] = ()) -> None:
        networks = tuple(networks)
        self._unix = UNIX_PEER in networks
        self._networks = tuple(
            _as_written_here(ip_network(network)) for network in networks if network != UNIX_PEER
        )
        self._known: dict[str, bool] = {}

    def __contains__(self, address: str) -> bool:
        known = self._known.get(address)
        if known is None:
            known = self._look_up(address)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[address] = known
        return known

    def _look_up(self, text: str) -> bool:
        if text == UNIX_PEER:
            return self._unix
        address = _address(text)
        return address is not None and any(address in network for network in self._networks)


def _as_written_here(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return a network in IPv4's form if it is written in IPv6's, as ``::ffff:10.0.0.0/104`` is."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))


def client_address(peer: str, fields: Fields, trusted: TrustedProxies) -> str:
    """Return the address that logs, the hold-off of refusals and ``X-Real-IP`` call the client.

    Args:
        peer: Address of the connection's other end, or `UNIX_PEER`.
        fields: The request's.
        trusted: The proxies that are believed.

    Returns:
        The rightmost address that is not a trusted proxy; the last trusted one when the entry to its left is
        missing, is no address, or is beyond `_MOST_HOPS`.
    """
    last = peer
    if peer not in trusted:
        return last
    left = _MOST_HOPS
    for line in reversed(values_of(fields, b"x-forwarded-for")):
        entries = line.decode("latin-1").rsplit(",", left)
        for entry in reversed(entries[-left:]):
            address = normal_address(entry)
            if address is None:
                return last
            last = address
            if address not in trusted:
                return last
        left -= len(entries)
        if left <= 0:
            return last
    return last
