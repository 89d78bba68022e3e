"""What is said of the client: by trusted proxies to us, and by us to the upstream.

* ``X-Forwarded-For``, ``-Proto``, ``-Host`` and ``-Prefix`` of a trusted proxy are kept, and our
  peer's address and our own prefix are appended; those of any other peer are replaced. If a trusted
  proxy sends ``X-Scheme`` but no ``-Proto``, we write that scheme into ``-Proto``, so that the two
  agree.
* ``Forwarded`` (RFC 7239) of a trusted proxy gets our element appended; that of any other peer is
  dropped. We never start one, since it could contradict ``X-Forwarded-*``.
* ``X-Real-IP`` is always replaced by the client's address, which `bascule.policy.clientaddress`
  finds. A trusted proxy that does not set this field passes on what the browser sent, so we do not
  believe it even then.
* ``Via`` gets our pseudonym (RFC 9110 §7.6.3), by which we recognise a loop.

Rules of this file: bytes in, bytes out; no field value is decoded, none is echoed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.configuration.socketpath import UNIX_PEER
from bascule.policy.fieldlines import values_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bascule.policy.clientaddress import TrustedProxies
    from bascule.policy.fieldlines import Fields

__all__ = ["ACCOUNT_NAMES", "Arrival", "account_fields", "seen_by_browser"]

ACCOUNT_NAMES: Final = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-prefix", b"x-forwarded-proto"}
)
"""Fields that `account_fields` extends if they come from a trusted proxy, and otherwise replaces."""

_SCHEMES: Final = frozenset({b"http", b"https", b"ws", b"wss"})


class Arrival(NamedTuple):
    """How a request reached us, and from where.

    Attributes:
        peer: Address of the other end of the connection it came on.
        client: Address of the browser: `peer`, or what trusted proxies say (`bascule.policy.clientaddress`).
        scheme: ``http`` or ``https``.
        host: The host it is for; empty for none (HTTP/1.0).
    """

    peer: str
    client: str
    scheme: bytes
    host: bytes


def seen_by_browser(arrival: Arrival, trusted: TrustedProxies, fields: Fields) -> tuple[bytes, bytes]:
    """Return the scheme and authority in the browser's address bar, for the check of ``Origin``.

    They are those by which the request reached us, unless a trusted proxy says otherwise. Of several elements
    the last counts, which the innermost proxy wrote; a scheme that is not HTTP's is ignored.
    The scheme is read from ``X-Forwarded-Proto``, and only where that is absent from ``X-Scheme``:
    nginx set up as JupyterHub's documentation says sends nothing else.
    """
    peer, _, scheme, host = arrival
    if peer in trusted:
        schemes = values_of(fields, b"x-forwarded-proto") or values_of(fields, b"x-scheme")
        scheme = _innermost_scheme(schemes, scheme)
        for value in values_of(fields, b"x-forwarded-host")[-1:]:
            host = value.rpartition(b",")[2].strip(b" \t") or host
    return scheme, host


def _innermost_scheme(said: Sequence[bytes], ours: bytes) -> bytes:
    """Return the last element of the last value, if it is a scheme of HTTP's."""
    if not said:
        return ours
    scheme = said[-1].rpartition(b",")[2].strip(b" \t").lower()
    return scheme if scheme in _SCHEMES else ours


def account_fields(
    said: Mapping[bytes, Sequence[bytes]], arrival: Arrival, prefix: bytes, via: bytes
) -> list[tuple[bytes, bytes]]:
    """Return the fields that tell the upstream of the client.

    A peer on a Unix socket has no address, so we name none: upstreams that read the last element would take
    any other text for the client's. The proxy in front has named the client.

    Args:
        said: What trusted proxies said, and any peer's ``Via``: values by lower-case name.
        arrival: How the request reached us.
        prefix: Path prefix that was stripped from the target; empty for none.
        via: Our element of ``Via``; empty for none.
    """
    address, client, scheme, host = arrival
    peer = b"" if address == UNIX_PEER else address.encode("ascii", "replace")
    ours: list[tuple[bytes, bytes]] = []
    if not said:
        if peer:
            ours.append((b"X-Forwarded-For", peer))
        ours.append((b"X-Forwarded-Proto", scheme))
        if peer:
            ours.append((b"X-Real-IP", peer))
        if host:
            ours.append((b"X-Forwarded-Host", host))
        if prefix:
            ours.append((b"X-Forwarded-Prefix", prefix))
        if via:
            ours.append((b"Via", via))
        return ours
    protos = said.get(b"x-forwarded-proto", ())
    seen = _innermost_scheme(protos or said.get(b"x-scheme", ()), scheme)
    hops = said.get(b"x-forwarded-for", ())
    if hops or peer:
        ours.append((b"X-Forwarded-For", b", ".join((*hops, peer) if peer else hops)))
    ours.append((b"X-Forwarded-Proto", b", ".join(protos) or seen))
    if client != UNIX_PEER:
        ours.append((b"X-Real-IP", client.encode("ascii", "replace")))
    if hosts := b", ".join(said.get(b"x-forwarded-host", ())) or host:
        ours.append((b"X-Forwarded-Host", hosts))
    outer = said.get(b"x-forwarded-prefix")
    if outer:
        prefix = outer[-1].rstrip(b"/") + prefix
    if prefix:
        ours.append((b"X-Forwarded-Prefix", prefix))
    if b"forwarded" in said:
        element = _forwarded_element(peer or b"unknown", scheme, host)
        ours.append((b"Forwarded", b", ".join((*said[b"forwarded"], element))))
    through = said.get(b"via", ())
    if through or via:
        ours.append((b"Via", b", ".join((*through, via) if via else through)))
    return ours


def _forwarded_element(peer: bytes, scheme: bytes, host: bytes) -> bytes:
    """Return our element of ``Forwarded`` (RFC 7239 §4): quoted, since ``:`` is no token character.

    Without an address the peer is ``unknown`` (§6.2).
    """
    node = b"[%b]" % peer if b":" in peer else peer
    quoted = host.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'for="%b";host="%b";proto=%b' % (node, quoted, scheme)
