"""Whether a WebSocket upgrade may come from the page it says it comes from.

A browser lets any page open a WebSocket to us and sends our cookies along; only the
server can refuse (RFC 6455 §10.2). The browser always sends ``Origin``, and no script can
change that field. So:

* the origin must be the one the request went to (``Host`` and our scheme, default
  ports made explicit), or be listed in the route's ``allowedOrigins``, where a lone
  ``*`` lists every origin, ``null`` included;
* a list, ``null``, a path, user information and anything else that is not exactly
  one ``scheme://host[:port]`` is refused;
* a request without ``Origin`` is allowed: it comes from a program, not from a browser, and a
  program could send any origin. Authentication decides what it may do.

Rules of this file: compared as bytes after lower-casing; nothing is decoded, no
suffix and no pattern is ever matched.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["origin_allowed", "why_refused"]

_DEFAULT_PORTS: Final = {b"http": b"80", b"https": b"443", b"ws": b"80", b"wss": b"443"}
_SAME_SCHEME: Final = {b"ws": b"http", b"wss": b"https"}

_HOST_AND_PORT: Final = rb"([a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?"
_AUTHORITY: Final = re.compile(_HOST_AND_PORT)
_ORIGIN: Final = re.compile(rb"([a-z][a-z0-9+.-]*)://" + _HOST_AND_PORT)

_Origin = tuple[bytes, bytes, bytes]


def _authority(text: bytes, scheme: bytes) -> _Origin | None:
    """Return scheme, host and port of an authority, or ``None`` if it is none."""
    match = _AUTHORITY.fullmatch(text.lower())
    return None if match is None else _normal(scheme, *match.groups())


def _origin(text: bytes) -> _Origin | None:
    """Return scheme, host and port of a serialised origin, or ``None`` if it is none."""
    match = _ORIGIN.fullmatch(text.lower())
    return None if match is None else _normal(*match.groups())


def _normal(scheme: bytes, host: bytes, port: bytes | None) -> _Origin:
    """Return what two spellings of one origin have in common."""
    port = port or _DEFAULT_PORTS.get(scheme, b"")
    return _SAME_SCHEME.get(scheme, scheme), host, port.lstrip(b"0")


def origin_allowed(origin: bytes | None, host: bytes, scheme: bytes, allowed: Sequence[str]) -> bool:
    """Return whether a page of this origin may open a WebSocket.

    Args:
        origin: The value of ``Origin``; ``None`` when the field is absent. With
            several field lines the caller refuses, or passes them joined by ``, ``.
        host: The value of ``Host``.
        scheme: ``http``, ``https``, ``ws`` or ``wss``, as the browser sees us: behind a trusted proxy
            that ends TLS, what that proxy says (`bascule.policy.clientaccount.seen_by_browser`).
        allowed: Further origins, written as ``https://app.example.org[:port]``, or ``*``.
    """
    if origin is None or "*" in allowed:
        return True
    if origin == b"%b://%b" % (scheme, host):  # nearly always; then they differ in no part
        return _AUTHORITY.fullmatch(host.lower()) is not None
    wanted = _origin(origin)
    if wanted is None:
        return False
    return wanted == _authority(host, scheme) or any(
        wanted == _origin(entry.encode("utf-8")) for entry in allowed
    )


def why_refused(origin: bytes | None, host: bytes) -> str:
    """Return the sentence that a refused browser gets and the log has.

    Behind a proxy that ends TLS but is not trusted, we see another scheme than the browser, so every
    upgrade is refused. The sentence then tells the operator that cause.

    Args:
        origin: The value of ``Origin`` that `origin_allowed` refused.
        host: The value of ``Host``.
    """
    wanted = _origin(origin or b"")
    if wanted is not None and wanted == _authority(host, b"https"):  # only the scheme differs
        return (
            "Pages of this https origin may not open a WebSocket here: the proxy that ends TLS "
            "is not in trustedProxies, or sends neither X-Forwarded-Proto nor X-Scheme. "
            "allowedOrigins may name the origin instead."
        )
    return "Pages of this origin may not open a WebSocket here."
