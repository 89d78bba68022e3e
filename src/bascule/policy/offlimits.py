"""Addresses that are refused for a host that a URL named.

The operator wrote the rest of that name, and whoever asks wrote the label; but what the name stands for is
said by /etc/hosts, by search domains, and by everybody who may write a record in that zone. These addresses
lead to what trusts whoever can reach it from this host: programs that listen on the loopback because they ask
nobody for credentials, the admin listener, the cloud's metadata service at 169.254.169.254.

Rules of this file: pure.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

__all__ = ["off_limits", "unmapped"]

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052 §2.1: a translator on the way makes of it the IPv4 address in its last 32 bits."""

_METADATA: Final = frozenset(
    map(ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"))
)
"""Metadata services whose addresses are not link-local: of AWS and Google over IPv6, of Alibaba, of Azure."""

_REMEMBERED: Final = 1024


def unmapped(host: str) -> IPv4Address | IPv6Address:
    """Read an address; one that is IPv4-mapped (``::ffff:127.0.0.1``) as the IPv4 one that it holds.

    Raises:
        ValueError: It is no address.
    """
    address = ip_address(host)
    return (address.version == 6 and address.ipv4_mapped) or address


@lru_cache(_REMEMBERED)
def off_limits(host: str) -> str | None:
    """Return what kind of address it is that no URL may lead to; ``None`` for any other.

    Raises:
        ValueError: It is no address.
    """
    address = unmapped(host)
    if (kind := _kind(address)) is not None or isinstance(address, IPv4Address):
        return kind
    for inner in (address.sixtofour, address.teredo and address.teredo[1], _behind_nat64(address)):
        if inner is not None and (kind := _kind(inner)) is not None:
            return kind
    return None


def _kind(address: IPv4Address | IPv6Address) -> str | None:
    if address.is_loopback:
        return "a loopback address"
    if address.is_unspecified:  # the kernel takes it for the loopback's
        return "an unspecified address"
    if address.is_link_local:
        return "a link-local address"
    if address in _METADATA:
        return "an address of a metadata service"
    return "a multicast address" if address.is_multicast else None


def _behind_nat64(address: IPv6Address) -> IPv4Address | None:
    return IPv4Address(address.packed[12:]) if address in _NAT64 else None
