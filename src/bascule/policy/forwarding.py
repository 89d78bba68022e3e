"""Which fields of a message are forwarded, and what we say about the client.

Towards the upstream (`forwarded_fields`):

* Connection-specific fields are dropped (RFC 9110 §7.6.1): the fixed set below, and what
  ``Connection`` nominates, except protected names. A client must not be able to
  take ``X-Forwarded-For`` or ``Authorization`` out of a request by nominating them.
* ``Proxy`` and ``Proxy-*`` are dropped: they are for a proxy, never for an upstream (httpoxy).
* Names with an underscore are dropped: CGI and WSGI servers cannot tell ``X_Forwarded_For``
  from ``X-Forwarded-For``, so a client could forge one by the other. So are ``X.Forwarded.For`` and the like,
  where a name with a hyphen in place of each such character would not just pass: PHP makes an underscore of a
  dot, lighttpd of every character but letters and digits.
* ``X-Forwarded-For``, ``-Proto``, ``-Host`` and ``-Prefix`` of a trusted proxy are kept, and our
  peer's address and our own prefix are appended; those of any other peer are replaced. If a trusted
  proxy sends ``X-Scheme`` but no ``-Proto``, we write that scheme into ``-Proto``, so that the two
  agree. Other ``X-Forwarded-*`` and the fields in `_CLAIMS` pass from a trusted proxy only.
* ``Forwarded`` (RFC 7239) of a trusted proxy gets our element appended; that of any other peer is
  dropped. We never start one, since it could contradict ``X-Forwarded-*``.
* ``X-Real-IP`` is always replaced by the client's address, which `bascule.policy.clientaddress`
  finds. A trusted proxy that does not set this field passes on what the browser sent, so we do not
  believe it even then.
* Of an upgrade's fields, those of its opening handshake are dropped (`bascule.protocol.handshake`).
* ``Via`` gets our pseudonym (RFC 9110 §7.6.3), by which we recognise a loop.
* ``Host`` and all other fields pass unchanged, in order, duplicates included; but see
  `bascule.protocol.repeated`.

Towards the browser (`end_to_end_fields`) only connection-specific fields are dropped, except ``Upgrade`` in a
426, and a ``Content-Length`` that must not be there.

Rules of this file: bytes in, bytes out; no field value is decoded, none is echoed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from bascule.policy.clientaddress import UNIX_PEER, TrustedProxies, client_address
from bascule.protocol.handshake import OF_ONE_HOP

__all__ = [
    "Fields",
    "client_address_of",
    "end_to_end_fields",
    "forwarded_fields",
    "seen_by_browser",
    "values_of",
    "with_host",
]

Fields: TypeAlias = Sequence[tuple[bytes, bytes]]
"""Field lines in the order they were sent: name as sent, value without outer white space."""

_CONNECTION_SPECIFIC: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Never forwarded. ``Trailer`` is among them because we discard trailers (RFC 9110 §6.5.1)."""

_HAS_NO_LENGTH: Final = _CONNECTION_SPECIFIC | {b"content-length"}
"""What an answer without a length has not, either."""

_PROTECTED: Final = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"forwarded",
        b"host",
        b"location",
        b"origin",
        b"range",
        b"set-cookie",
        b"via",
        b"x-real-ip",
    }
)
"""Names that ``Connection`` cannot nominate; those starting with `_PROTECTED_PREFIXES` as well."""

_PROTECTED_PREFIXES: Final = (b"x-forwarded", b"sec-")

# What becomes of a request field. Plain numbers, since members of an enumeration cost twice the time.
_PASS: Final = 1
_DROP: Final = 2
_CONNECTION: Final = 3
_CLAIM: Final = 4
"""Passes from a trusted proxy only."""
_ACCOUNT: Final = 5
"""Extended if it comes from a trusted proxy, otherwise replaced."""
_VIA: Final = 6
_SCHEME: Final = 7
"""``X-Scheme``: a claim, which Tornado reads; used for ``X-Forwarded-Proto`` where that is absent."""
_HANDSHAKE: Final = 8
"""Passes in a plain request only."""

_OURS: Final = frozenset({b"proxy", b"x-real-ip"})
"""Dropped, whoever sent them; we write ``X-Real-IP`` ourselves."""

_CLAIMS: Final = frozenset(
    {
        b"client-ip",
        b"front-end-https",
        b"true-client-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-original-host",
        b"x-original-uri",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-url-scheme",
    }
)
"""Other fields from which servers learn where a request came from."""

_PLAIN_CONNECTION: Final = frozenset({b"keep-alive", b"close", b"upgrade", b"Upgrade", b"Keep-Alive", b""})
"""Values of ``Connection`` that nominate nothing which is not already in the fixed set."""

_NOTHING: Final[frozenset[bytes]] = frozenset()

_NEITHER_LETTER_NOR_DIGIT: Final = re.compile(rb"[^0-9a-z]")

_SCHEMES: Final = frozenset({b"http", b"https", b"ws", b"wss"})

_ACCOUNT_NAMES: Final = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-prefix", b"x-forwarded-proto"}
)

_REMEMBERED: Final = 1024
"""Spellings of names whose rule is kept; then the memory is emptied, so it cannot grow."""

_LONGEST: Final = 64
"""Longer names are not remembered."""

_RULES: Final[dict[bytes, int]] = {}
"""Spelling of a name → its rule, as far as they are remembered."""


def values_of(fields: Fields, name: bytes) -> list[bytes]:
    """Return the values of all lines of one field; ``name`` in lower case."""
    return [value for key, value in fields if key.lower() == name]


def _nominated(fields: Fields) -> frozenset[bytes]:
    """Return the lower-case names that ``Connection`` makes connection-specific."""
    names: set[bytes] | None = None
    for key, value in fields:
        if len(key) == 10 and key.lower() == b"connection" and value not in _PLAIN_CONNECTION:
            names = names or set()
            names.update(token.strip(b" \t").lower() for token in value.split(b","))
    if names is None:
        return _NOTHING
    return frozenset(
        name for name in names if name not in _PROTECTED and not name.startswith(_PROTECTED_PREFIXES)
    )


def end_to_end_fields(fields: Fields, status: int) -> list[tuple[bytes, bytes]]:
    """Return the fields of an upstream's answer that travel on to the browser.

    Args:
        fields: The answer's.
        status: Its status. A 426 must name a protocol in ``Upgrade`` (RFC 9110 §15.5.22), and a sender of
            ``Upgrade`` must name it in ``Connection`` (§7.8). No 1xx and no 204 has a length (§8.6).
    """
    nominated = _nominated(fields)
    specific = _HAS_NO_LENGTH if status < 200 or status == 204 else _CONNECTION_SPECIFIC
    if nominated:
        specific |= nominated
    if status == 426 and values_of(fields, b"upgrade"):
        kept = [field for field in fields if field[0].lower() not in specific - {b"upgrade"}]
        return [*kept, (b"Connection", b"upgrade")]
    return [field for field in fields if field[0].lower() not in specific]


def client_address_of(peer_address: str, fields: Fields, trusted: TrustedProxies) -> str:
    """Return the client's address: the rightmost one that is not a trusted proxy."""
    if peer_address not in trusted:
        return peer_address
    return client_address(peer_address, values_of(fields, b"x-forwarded-for"), trusted)


def with_host(fields: Fields, host: bytes) -> list[tuple[bytes, bytes]]:
    """Return the fields with another ``Host``: that of a target which names one (RFC 9112 §3.2.2)."""
    return [(b"Host", host), *(field for field in fields if field[0].lower() != b"host")]


def seen_by_browser(
    peer_address: str, trusted: TrustedProxies, fields: Fields, scheme: bytes, host: bytes
) -> tuple[bytes, bytes]:
    """Return the scheme and authority in the browser's address bar, for the check of ``Origin``.

    They are ``scheme`` and ``host``, unless a trusted proxy says otherwise. Of several elements
    the last counts, which the innermost proxy wrote; a scheme that is not HTTP's is ignored.
    The scheme is read from ``X-Forwarded-Proto``, and only where that is absent from ``X-Scheme``:
    nginx set up as JupyterHub's documentation says sends nothing else.
    """
    if peer_address in trusted:
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


def forwarded_fields(
    peer_address: str,
    trusted: TrustedProxies,
    fields: Fields,
    scheme: bytes,
    host: bytes,
    prefix: bytes = b"",
    via: bytes = b"",
    *,
    client: str | None = None,
    upgrade: bool = False,
) -> list[tuple[bytes, bytes]]:
    """Return the request fields to send to the upstream, ours included.

    Args:
        peer_address: Address of the connection the request came on.
        trusted: Proxies whose account of the client is believed.
        fields: The request's field lines.
        scheme: ``http`` or ``https``: how the request reached us.
        host: The request's ``Host``; empty for none (HTTP/1.0).
        prefix: Path prefix that was stripped from the target; empty for none.
        via: Our element of ``Via``; empty for none.
        client: The result of `client_address_of`; ``None`` if the caller has not asked for it.
        upgrade: Whether the request opens a WebSocket.

    Returns:
        New field lines. ``Connection``, ``Upgrade`` and framing fields are not
        among them (``Content-Length`` is): the caller writes those of its own hop.
    """
    believed = peer_address in trusted
    kept: list[tuple[bytes, bytes]] = []
    account: dict[bytes, list[bytes]] = {}
    nominations = False
    for field in fields:
        name, value = field
        rule = _RULES.get(name) or _learn_rule(name)
        if rule == _PASS or (rule == _CLAIM and believed) or (rule == _HANDSHAKE and not upgrade):
            kept.append(field)
        elif rule == _VIA or (rule == _ACCOUNT and believed):
            account.setdefault(name.lower(), []).append(value)
        elif rule == _CONNECTION and value not in _PLAIN_CONNECTION:
            nominations = True
        elif rule == _SCHEME and believed:
            kept.append(field)
            account.setdefault(b"x-scheme", []).append(value)
    if nominations and (nominated := _nominated(fields)):
        kept = [field for field in kept if field[0].lower() not in nominated]
    if not account:
        client = peer_address
    elif client is None:
        client = client_address(peer_address, account.get(b"x-forwarded-for", ()), trusted)
    _append_account(kept, account, peer_address, client, scheme, host, prefix, via)
    return kept


def _learn_rule(spelling: bytes) -> int:
    """Find the rule of a field name and remember it for this spelling."""
    name = spelling.lower()
    alike = _NEITHER_LETTER_NOR_DIGIT.sub(b"-", name)
    if alike != name and _learn_rule(alike) not in (_PASS, _HANDSHAKE):
        rule = _DROP
    elif name == b"connection":
        rule = _CONNECTION
    elif name in _CONNECTION_SPECIFIC or b"_" in name or name in _OURS or name.startswith(b"proxy-"):
        rule = _DROP
    elif name == b"via":
        rule = _VIA
    elif name in _ACCOUNT_NAMES:
        rule = _ACCOUNT
    elif name == b"x-scheme":
        rule = _SCHEME
    elif name in _CLAIMS or name.startswith(b"x-forwarded"):
        rule = _CLAIM
    elif name in OF_ONE_HOP:
        rule = _HANDSHAKE
    else:
        rule = _PASS
    if len(spelling) <= _LONGEST:
        if len(_RULES) >= _REMEMBERED:
            _RULES.clear()
        _RULES[spelling] = rule
    return rule


def _append_account(
    kept: list[tuple[bytes, bytes]],
    account: dict[bytes, list[bytes]],
    peer_address: str,
    client: str,
    scheme: bytes,
    host: bytes,
    prefix: bytes,
    via: bytes,
) -> None:
    """Append our own fields. ``account`` has what trusted proxies said, and any peer's ``Via``.

    A peer on a Unix socket has no address, so we name none: upstreams that read the last element would take
    any other text for the client's. The proxy in front has named the client.
    """
    peer = b"" if peer_address == UNIX_PEER else peer_address.encode("ascii", "replace")
    if not account:
        if peer:
            kept.append((b"X-Forwarded-For", peer))
        kept.append((b"X-Forwarded-Proto", scheme))
        if peer:
            kept.append((b"X-Real-IP", peer))
        if host:
            kept.append((b"X-Forwarded-Host", host))
        if prefix:
            kept.append((b"X-Forwarded-Prefix", prefix))
        if via:
            kept.append((b"Via", via))
        return
    protos = account.get(b"x-forwarded-proto", ())
    seen = _innermost_scheme(protos or account.get(b"x-scheme", ()), scheme)
    hops = account.get(b"x-forwarded-for", ())
    if hops or peer:
        kept.append((b"X-Forwarded-For", b", ".join((*hops, peer) if peer else hops)))
    kept.append((b"X-Forwarded-Proto", b", ".join(protos) or seen))
    if client != UNIX_PEER:
        kept.append((b"X-Real-IP", client.encode("ascii", "replace")))
    if hosts := b", ".join(account.get(b"x-forwarded-host", ())) or host:
        kept.append((b"X-Forwarded-Host", hosts))
    outer = account.get(b"x-forwarded-prefix")
    if outer:
        prefix = outer[-1].rstrip(b"/") + prefix
    if prefix:
        kept.append((b"X-Forwarded-Prefix", prefix))
    if b"forwarded" in account:
        element = _forwarded_element(peer or b"unknown", scheme, host)
        kept.append((b"Forwarded", b", ".join((*account[b"forwarded"], element))))
    through = account.get(b"via", ())
    if through or via:
        kept.append((b"Via", b", ".join((*through, via) if via else through)))


def _forwarded_element(peer: bytes, scheme: bytes, host: bytes) -> bytes:
    """Return our element of ``Forwarded`` (RFC 7239 §4): quoted, since ``:`` is no token character.

    Without an address the peer is ``unknown`` (§6.2).
    """
    node = b"[%b]" % peer if b":" in peer else peer
    quoted = host.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'for="%b";host="%b";proto=%b' % (node, quoted, scheme)
