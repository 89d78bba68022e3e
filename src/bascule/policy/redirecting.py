"""Where a request is redirected (RFC 9110 §15.4): to https, or to the same path with a slash at its end.

Rules of this file: pure; an answer repeats no host and no path that we would not serve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bascule.protocol.path import is_host, parse_target, without_port

if TYPE_CHECKING:
    from bascule.policy.routes import Match

__all__ = ["https_location", "redirect_status", "slash_location"]

_HTTPS: Final = 443


def https_location(raw_target: bytes, host: bytes, port: int) -> bytes | None:
    """Return the same place by https; ``None`` without a valid host.

    Args:
        raw_target: The request-target as received.
        host: The Host field; one in the target counts instead (RFC 9112 §3.2.2).
        port: Where https is; the scheme's own is left out.

    Raises:
        BadTarget: The target is refused, as the https listener would refuse it.
    """
    target = parse_target(raw_target)
    authority = target.authority if target.authority is not None else host
    if not is_host(authority) or not (name := without_port(authority)):
        return None
    shown = b"" if port == _HTTPS else b":%d" % port
    return b"https://" + name + shown + target.path + target.query


def slash_location(raw_target: bytes, match: Match) -> bytes | None:
    """Return the redirect for a request for a stripped prefix without its final slash, else ``None``.

    Without the slash, the page's relative links would lead outside the prefix. The location is relative,
    since a proxy in front of us may have stripped a prefix too.

    Args:
        raw_target: The request-target as received.
        match: Its match.
    """
    if not match.prefix:
        return None
    path, mark, query = raw_target.partition(b"?")
    if path.endswith(b"/") or match.target.partition(b"?")[0] != b"/":
        return None
    return b"./" + path.rpartition(b"/")[2] + b"/" + mark + query


def redirect_status(method: str) -> int:
    """Return 301, or 308 for a request that must keep its method and its body."""
    return 301 if method in ("GET", "HEAD") else 308
