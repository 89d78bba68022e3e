"""The opening handshake of RFC 6455 §4, on both sides of a proxy.

The upstream chooses the extensions and the subprotocol: we pass the browser's offer on
untouched, and pass the upstream's choice back if it is part of the offer.

We send the upstream a key of our own. An upstream, or an attacker who can make it repeat what he
sent, therefore cannot produce a valid ``Sec-WebSocket-Accept`` from the browser's key. A 101 that
does not answer *our* key is no upgrade.

Rules of this file: heads in, decisions out; refusals never repeat what was sent.
"""

from __future__ import annotations

import hashlib
import re
from binascii import b2a_base64
from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.errors import RequestRefused
from bascule.protocol.http1 import TOKEN, RequestHead, ResponseHead, elements, tokens
from bascule.protocol.path import is_host

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ALL_RSV",
    "OF_ONE_HOP",
    "RSV1",
    "Agreement",
    "Offer",
    "accept_value",
    "check_request",
    "check_response",
    "refusal_subprotocol",
    "switching_protocols",
    "upgrade_request",
    "wants_websocket",
]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
"""Base64 of 16 bytes. The last character before ``==`` has four spare bits, which must be zero."""
_TOKEN: Final = re.compile(TOKEN)

RSV1: Final = 0x40
ALL_RSV: Final = 0x70

_WEBSOCKET: Final = (b"websocket",)
_UPGRADE: Final = (b"Upgrade",)
_VERSION: Final = (b"13",)
_DEFLATE: Final = frozenset((b"permessage-deflate",))
_USUAL_EXTENSIONS: Final = {
    (): frozenset[bytes](),
    (b"permessage-deflate",): _DEFLATE,
    (b"permessage-deflate; client_max_window_bits",): _DEFLATE,
}
"""What nearly every client writes; compared first, to save parsing it."""

_ANSWER: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)
_REQUEST: Final = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
)

_SPOKEN: Final = ((b"Sec-WebSocket-Version", b"13"), (b"Upgrade", b"websocket"))
"""What goes with 426: the version (§4.2.2), and the protocol, as every 426 must (RFC 9110 §15.5.22)."""

OF_ONE_HOP: Final = frozenset(
    (b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-accept", b"expect", b"content-length")
)
"""Fields of a handshake that are not forwarded: `upgrade_request` writes its own, or none."""


_SHA1: Final = hashlib.sha1(usedforsecurity=False)
"""Copied for each handshake, which costs half of looking the algorithm up again."""


class Offer(NamedTuple):
    """What the browser offers.

    Attributes:
        key: Its ``Sec-WebSocket-Key``.
        subprotocols: In the browser's order; may hold credentials, so they are never logged.
        extensions: Names, in lower case.
        host: The value of ``Host``.
        origin: The value of ``Origin``, or ``None``.
    """

    key: bytes
    subprotocols: tuple[bytes, ...]
    extensions: frozenset[bytes]
    host: bytes
    origin: bytes | None


class Agreement(NamedTuple):
    """What the upstream chose.

    Attributes:
        rsv_first: Reserved bits, as a mask of byte 0, that its extensions allow on a message's first frame.
        rsv_continuation: The same for continuation frames.
        fields: Subprotocol and extension fields for the browser's 101.
    """

    rsv_first: int
    rsv_continuation: int
    fields: tuple[tuple[bytes, bytes], ...]


def wants_websocket(head: RequestHead) -> bool:
    """Tell whether a request asks for a WebSocket, even if its handshake is not valid."""
    values = head.by_name.get(b"upgrade", ())
    return values == _WEBSOCKET or b"websocket" in tokens(values)


def accept_value(key: bytes) -> bytes:
    """Return the ``Sec-WebSocket-Accept`` for a key (§4.2.2)."""
    digest = _SHA1.copy()
    digest.update(key + _GUID)
    return b2a_base64(digest.digest(), newline=False)


def check_request(head: RequestHead) -> Offer:
    """Check a browser's opening handshake (§4.2.1).

    Raises:
        RequestRefused: 400 malformed, 405 not GET, 426 another version than 13.
    """
    if head.method != b"GET":
        raise RequestRefused(405, "A WebSocket must be opened with GET.", ((b"Allow", b"GET"),))
    if head.minor < 1:
        raise RequestRefused(400, "A WebSocket needs HTTP/1.1.")
    lines = head.by_name.get  # a dozen calls of `values` would cost as much as all the rest
    hosts = lines(b"host", ())
    if len(hosts) != 1 or not hosts[0] or not is_host(hosts[0]):
        raise RequestRefused(400, "Exactly one Host field is needed, with a valid host.")
    upgrades = lines(b"upgrade", ())
    if upgrades != _WEBSOCKET and (len(upgrades) != 1 or upgrades[0].lower() != b"websocket"):
        raise RequestRefused(400, "The Upgrade field must be websocket and nothing else.")
    connection = lines(b"connection", ())
    if connection != _UPGRADE and b"upgrade" not in tokens(connection):
        raise RequestRefused(400, "The Connection field must contain upgrade.")
    lengths = lines(b"content-length", ())
    if lines(b"transfer-encoding") or (lengths and lengths.count(b"0") != len(lengths)):
        raise RequestRefused(
            400, "A WebSocket handshake has no body: no Transfer-Encoding, no Content-Length but 0."
        )
    if len(lengths) > 1:
        raise RequestRefused(400, "The request has two Content-Length fields.")
    versions = lines(b"sec-websocket-version", ())
    if versions != _VERSION:
        if len(versions) > 1:
            raise RequestRefused(426, "Exactly one Sec-WebSocket-Version field is needed, with 13.", _SPOKEN)
        raise RequestRefused(426, "Only WebSocket version 13 is supported.", _SPOKEN)
    keys = lines(b"sec-websocket-key", ())
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise RequestRefused(400, "Exactly one Sec-WebSocket-Key field is needed, with 16 bytes in base64.")
    subprotocols = lines(b"sec-websocket-protocol", ())
    extensions = lines(b"sec-websocket-extensions", ())
    offered = _USUAL_EXTENSIONS.get(extensions)
    origins = lines(b"origin", ())
    return Offer(
        keys[0],
        tuple(elements(subprotocols)) if subprotocols else (),
        frozenset(_extension_names(extensions)) if offered is None else offered,
        hosts[0],
        b", ".join(origins) if origins else None,
    )


def _extension_names(values: Sequence[bytes]) -> list[bytes]:
    """Return the names in ``Sec-WebSocket-Extensions`` lines; no extension we know uses a quoted comma."""
    names = [element.partition(b";")[0].rstrip(b" \t").lower() for element in elements(values)]
    return [name for name in names if name]


def check_response(head: ResponseHead, offer: Offer, key: bytes) -> Agreement | None:
    """Check an upstream's 101 (§4.1).

    Args:
        head: A response whose status is 101.
        offer: What the browser offered.
        key: The ``Sec-WebSocket-Key`` that *we* sent.

    Returns:
        What was agreed; ``None`` when this is no valid answer.
    """
    if head.minor < 1:
        return None
    lines = head.by_name.get
    upgrades = lines(b"upgrade", ())
    if upgrades != _WEBSOCKET and (len(upgrades) != 1 or upgrades[0].lower() != b"websocket"):
        return None
    connection = lines(b"connection", ())
    if connection != _UPGRADE and b"upgrade" not in tokens(connection):
        return None
    if lines(b"sec-websocket-accept", ()) != (accept_value(key),):
        return None
    chosen = lines(b"sec-websocket-protocol", ())
    if len(chosen) > 1 or (chosen and chosen[0] not in offer.subprotocols):
        return None
    extensions = lines(b"sec-websocket-extensions", ())
    names = _extension_names(extensions)
    if not offer.extensions.issuperset(names) or len(set(names)) != len(names):
        return None
    first, continuation = _reserved_bits(names)
    fields = [(b"Sec-WebSocket-Protocol", value) for value in chosen]
    fields += [(b"Sec-WebSocket-Extensions", value) for value in extensions]
    return Agreement(first, continuation, tuple(fields))


def _reserved_bits(extensions: list[bytes]) -> tuple[int, int]:
    """Return the reserved bits that extensions allow, on first and on continuation frames.

    permessage-deflate marks the first frame of a message with RSV1 (RFC 7692 §6). An
    extension that we do not know may use all three bits on any frame.
    """
    first = continuation = 0
    for name in extensions:
        if name == b"permessage-deflate":
            first |= RSV1
        else:
            first = continuation = ALL_RSV
    return first, continuation


def refusal_subprotocol(offer: Offer) -> bytes | None:
    """Return the subprotocol that a refusing 101 must echo: the first offered; ``None`` without a valid one.

    Without the echo a browser fails the handshake, and the page never sees the close code.
    """
    if offer.subprotocols and _TOKEN.fullmatch(offer.subprotocols[0]):
        return offer.subprotocols[0]
    return None


def switching_protocols(
    key: bytes, fields: list[tuple[bytes, bytes]] | tuple[tuple[bytes, bytes], ...]
) -> bytes:
    """Build the 101 for the browser (§4.2.2): the three fields it needs, then ``fields``."""
    lines = [_ANSWER + accept_value(key), *map(b": ".join, fields), b"\r\n"]
    return b"\r\n".join(lines)


def upgrade_request(target: bytes, key: bytes, fields: list[tuple[bytes, bytes]]) -> bytes:
    """Build the handshake for the upstream (§4.1); ``fields`` has none of `OF_ONE_HOP`."""
    lines = [b"GET " + target + b" HTTP/1.1", *map(b": ".join, fields), _REQUEST + key, b"\r\n"]
    return b"\r\n".join(lines)
