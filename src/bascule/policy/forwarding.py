"""Which fields of a message are forwarded.

Towards the upstream (`forwarded_fields`):

* Connection-specific fields are dropped (RFC 9110 §7.6.1): the fixed set below, and what
  ``Connection`` nominates, except protected names. A client must not be able to
  take ``X-Forwarded-For`` or ``Authorization`` out of a request by nominating them.
* ``Proxy`` and ``Proxy-*`` are dropped: they are for a proxy, never for an upstream (httpoxy).
* Names with an underscore are dropped: CGI and WSGI servers cannot tell ``X_Forwarded_For``
  from ``X-Forwarded-For``, so a client could forge one by the other. So are ``X.Forwarded.For`` and the like,
  where a name with a hyphen in place of each such character would not just pass: PHP makes an underscore of a
  dot, lighttpd of every character but letters and digits.
* What says where a request came from (``X-Forwarded-*``, ``Forwarded``, ``X-Real-IP``) and ``Via`` are
  written anew: see `bascule.policy.clientaccount`. Other ``X-Forwarded-*`` and the fields in `_CLAIMS` pass
  from a trusted proxy only.
* Of an upgrade's fields, those of its opening handshake are dropped (`bascule.protocol.handshake`).
* ``Host`` and all other fields pass unchanged, in order, duplicates included; but see
  `bascule.protocol.repeated`.

Towards the browser (`end_to_end_fields`) only connection-specific fields are dropped, except ``Upgrade`` in a
426, and a ``Content-Length`` that must not be there.

Rules of this file: bytes in, bytes out; no field value is decoded, none is echoed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from bascule.policy.clientaccount import ACCOUNT_NAMES, account_fields
from bascule.policy.fieldlines import values_of
from bascule.protocol.handshake import OF_ONE_HOP

if TYPE_CHECKING:
    from bascule.policy.clientaccount import Arrival
    from bascule.policy.clientaddress import TrustedProxies
    from bascule.policy.fieldlines import Fields

__all__ = ["end_to_end_fields", "forwarded_fields"]

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

_REMEMBERED: Final = 1024
"""Spellings of names whose rule is kept; then the memory is emptied, so it cannot grow."""

_LONGEST: Final = 64
"""Longer names are not remembered."""

_RULES: Final[dict[bytes, int]] = {}
"""Spelling of a name → its rule, as far as they are remembered."""


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


def forwarded_fields(
    arrival: Arrival,
    trusted: TrustedProxies,
    fields: Fields,
    prefix: bytes = b"",
    via: bytes = b"",
    *,
    upgrade: bool = False,
) -> list[tuple[bytes, bytes]]:
    """Return the request fields to send to the upstream, ours included.

    Args:
        arrival: How the request reached us.
        trusted: Proxies whose account of the client is believed.
        fields: The request's field lines.
        prefix: Path prefix that was stripped from the target; empty for none.
        via: Our element of ``Via``; empty for none.
        upgrade: Whether the request opens a WebSocket.

    Returns:
        New field lines. ``Connection``, ``Upgrade`` and framing fields are not
        among them (``Content-Length`` is): the caller writes those of its own hop.
    """
    believed = arrival.peer in trusted
    kept: list[tuple[bytes, bytes]] = []
    said: dict[bytes, list[bytes]] = {}
    nominations = False
    for field in fields:
        name, value = field
        rule = _RULES.get(name) or _learn_rule(name)
        if rule == _PASS or (rule == _CLAIM and believed) or (rule == _HANDSHAKE and not upgrade):
            kept.append(field)
        elif rule == _VIA or (rule == _ACCOUNT and believed):
            said.setdefault(name.lower(), []).append(value)
        elif rule == _CONNECTION and value not in _PLAIN_CONNECTION:
            nominations = True
        elif rule == _SCHEME and believed:
            kept.append(field)
            said.setdefault(b"x-scheme", []).append(value)
    if nominations and (nominated := _nominated(fields)):
        kept = [field for field in kept if field[0].lower() not in nominated]
    kept += account_fields(said, arrival, prefix, via)
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
    elif name in ACCOUNT_NAMES:
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
