"""Requests as they arrive, and what an upstream is sent of them."""

from __future__ import annotations

from bascule.policy.clientaccount import Arrival
from bascule.policy.clientaddress import TrustedProxies, client_address
from bascule.policy.fieldlines import Fields, values_of
from bascule.policy.forwarding import forwarded_fields

NOBODY = TrustedProxies()

NGINX = TrustedProxies(["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"])

BROWSER_FIELDS: list[tuple[bytes, bytes]] = [
    (b"Host", b"hops.example.org"),
    (b"Connection", b"keep-alive"),
    (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
    (b"Accept", b"text/html,application/xhtml+xml"),
    (b"Accept-Language", b"en"),
    (b"Accept-Encoding", b"gzip, deflate, br"),
    (b"Cookie", b"_xsrf=2|abc; username-localhost-8888=def"),
    (b"Referer", b"https://hops.example.org/jupyter/lab/"),
    (b"Sec-Fetch-Dest", b"empty"),
    (b"Sec-Fetch-Mode", b"cors"),
    (b"Sec-Fetch-Site", b"same-origin"),
    (b"X-XSRFToken", b"2|abc"),
    (b"If-None-Match", b'"abc"'),
    (b"Cache-Control", b"no-cache"),
    (b"Pragma", b"no-cache"),
]


def arrived(peer: str, fields: Fields = (), trusted: TrustedProxies = NGINX, host: bytes = b"in") -> Arrival:
    """Say how a request reached us over http."""
    return Arrival(peer, client_address(peer, fields, trusted), b"http", host)


def send(
    fields: Fields,
    peer: str = "192.0.2.7",
    trusted: TrustedProxies = NOBODY,
    prefix: bytes = b"",
    via: bytes = b"",
    *,
    host: bytes = b"hops.example.org",
    upgrade: bool = False,
) -> list[tuple[bytes, bytes]]:
    """Return what the upstream is sent of a request."""
    arrival = arrived(peer, fields, trusted, host)
    return forwarded_fields(arrival, trusted, fields, prefix, via, upgrade=upgrade)


def value(fields: Fields, name: bytes) -> bytes | None:
    values = values_of(fields, name)
    assert len(values) <= 1
    return values[0] if values else None


def names(fields: Fields) -> set[bytes]:
    return {name.lower() for name, _ in fields}


FRONT = TrustedProxies(["unix:", "10.0.0.0/8"])
