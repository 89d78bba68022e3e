"""The header that a load balancer puts in front of a connection: HAProxy's PROXY protocol, versions 1 and 2.

A balancer that only passes bytes on cannot add a field to a request. Instead it begins the connection with
a header that names the client.

Rules of this file: pure; data that is not exactly a header is refused. The checksum of version 2 is not
verified: TCP has one.

Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, sections 2.1 and 2.2.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple

from bascule.errors import BasculeError

__all__ = ["LONGEST", "BadProxyHeader", "ProxyHeader", "parse_proxy_header"]

LONGEST: Final = 4096
"""Longest header that we accept, in bytes; one with a client's certificate has one or two thousand."""

_LONGEST_1: Final = 107
_LINE_END: Final = b"\r\n"
_BEGIN_1: Final = b"PROXY "
_PORT: Final = "(?:0|[1-9][0-9]{0,4})"
_LINE_1: Final = re.compile(
    rf"PROXY (?:(TCP[46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) {_PORT} {_PORT}|UNKNOWN(?: .*)?)".encode(),
    re.DOTALL,
)

_BEGIN_2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_2: Final = 16
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_ADDRESSES_2: Final = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""Family and transport → bytes of both addresses."""
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_TLV: Final = 3
_TLV_SSL: Final = 0x20
_CLIENT_SSL: Final = 0x01


class BadProxyHeader(BasculeError):
    """A connection does not begin with a valid header; the text says why, and repeats nothing received."""


class ProxyHeader(NamedTuple):
    """What a header says.

    Attributes:
        length: Its length in bytes; the client's own bytes follow it.
        address: The client's; ``None`` when the header names no TCP client: the balancer does not know it,
            or connects for itself, as for a health check.
        secure: Whether the client used TLS, which the balancer ended. Only version 2 can say so.
    """

    length: int
    address: str | None
    secure: bool


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """Read the header that a connection begins with.

    Args:
        data: All bytes received so far.

    Returns:
        The header; ``None`` while it is incomplete.

    Raises:
        BadProxyHeader: The data is no header, whatever bytes may follow.
    """
    if data.startswith(_BEGIN_2):
        return _parse_2(data)
    if data.startswith(_BEGIN_1):
        return _parse_1(data)
    if _BEGIN_2.startswith(data) or _BEGIN_1.startswith(data):
        return None
    raise BadProxyHeader("it does not begin with a PROXY header")


def _parse_1(data: bytes) -> ProxyHeader | None:
    end = data.find(_LINE_END, 0, _LONGEST_1)
    if end < 0:
        if len(data) < _LONGEST_1:
            return None
        raise BadProxyHeader(f"its PROXY header has no end within {_LONGEST_1} bytes")
    if (line := _LINE_1.fullmatch(data, 0, end)) is None:
        raise BadProxyHeader("its PROXY header is malformed")
    family, *addresses = line.groups()
    client: str | None = None
    if family is not None:
        form = IPv4Address if family == b"TCP4" else IPv6Address
        try:
            client, _ = (_text(form(address.decode())) for address in addresses)
        except AddressValueError:
            raise BadProxyHeader("its PROXY header has an address that is none") from None
    return ProxyHeader(end + len(_LINE_END), client, secure=False)


def _parse_2(data: bytes) -> ProxyHeader | None:
    if len(data) < _FIXED_2:
        return None
    command, family = data[12], data[13]
    length = _FIXED_2 + int.from_bytes(data[14:16])
    if command not in (_LOCAL, _PROXY):
        raise BadProxyHeader("its PROXY header has an unknown version or command")
    if command == _PROXY and family not in _ADDRESSES_2:
        raise BadProxyHeader("its PROXY header has an unknown address family or transport")
    if length > LONGEST:
        raise BadProxyHeader(f"its PROXY header is longer than {LONGEST} bytes")
    if len(data) < length:
        return None
    if command == _LOCAL:  # a health check of the balancer: the specification says to ignore the rest
        return ProxyHeader(length, None, secure=False)
    end = _FIXED_2 + _ADDRESSES_2[family]
    if length < end:
        raise BadProxyHeader("its PROXY header is too short for its addresses")
    client: str | None = None
    if family == _TCP4:
        client = _text(IPv4Address(data[_FIXED_2 : _FIXED_2 + 4]))
    elif family == _TCP6:
        client = _text(IPv6Address(data[_FIXED_2 : _FIXED_2 + 16]))
    return ProxyHeader(length, client, secure=_came_by_tls(data[end:length]))


def _text(address: IPv4Address | IPv6Address) -> str:
    """Return an address as text; an IPv4 address in IPv6's form (RFC 4291 §2.5.5.2) is written as IPv4."""
    return str(address.ipv4_mapped or address if isinstance(address, IPv6Address) else address)


def _came_by_tls(values: bytes) -> bool:
    """Tell whether the header says that the client used TLS.

    Args:
        values: The bytes behind the addresses. A value is one byte of type, two of length, and as many bytes.

    Raises:
        BadProxyHeader: A value does not end within the header.
    """
    secure = False
    while values:
        length = _TLV + int.from_bytes(values[1:_TLV])
        if len(values) < length:
            raise BadProxyHeader("its PROXY header ends within a value")
        if values[0] == _TLV_SSL and length > _TLV:
            secure = bool(values[_TLV] & _CLIENT_SSL)
        values = values[length:]
    return secure
