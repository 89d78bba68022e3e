"""What the proxies in front call a request, so that their lines in a log and ours can be brought together.

``X-Request-ID`` is what ingress-nginx and Envoy send, and what most others can be told to; ``traceparent``
(W3C Trace Context) what does that takes part in tracing.

Rules of this file: only a trusted proxy is believed, as with the client's address: anybody else could give
many requests one name. What is returned may still be a browser's own text, passed on, and is bounded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from bascule.policy.fieldlines import values_of

if TYPE_CHECKING:
    from bascule.policy.clientaddress import TrustedProxies
    from bascule.policy.fieldlines import Fields

__all__ = ["request_id"]

_LIMIT: Final = 64
"""Characters that are kept: a forwarder keeps them with each session. A UUID has 36, nginx's own 32."""

_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", re.DOTALL)


def request_id(peer: str, fields: Fields, trusted: TrustedProxies) -> str | None:
    """Return the request's name, or else the trace that it belongs to.

    Args:
        peer: Address of the connection's other end, or ``unix:``.
        fields: The request's.
        trusted: The proxies that are believed.

    Returns:
        At most 64 characters, of any kind but NUL; ``None`` if none was told.
    """
    if peer not in trusted:
        return None
    for value in values_of(fields, b"x-request-id")[-1:]:
        if value:
            return value[:_LIMIT].decode("latin-1").replace("\0", "")
    for value in values_of(fields, b"traceparent")[-1:]:
        if found := _TRACEPARENT.fullmatch(value):
            return found[1].decode()
    return None
