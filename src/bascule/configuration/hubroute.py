"""One route that JupyterHub has added, and how we read where it leads.

Rules of this file: pure. A target that cannot be used raises `ValueError` with a text for its sender.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bascule.configuration.socketpath import UNIX_SCHEME
from bascule.configuration.templates import UpstreamTemplate
from bascule.protocol.path import BadTarget, parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bascule.configuration.route import RouteConfig
    from bascule.configuration.templates import UpstreamAddress
    from bascule.vocabulary import Kind

__all__ = ["HubRoute", "read_target"]

_UNIX_REVERSED: Final = "unix+http"
"""Another spelling of that scheme, which configurable-http-proxy takes and JupyterHub calls deprecated."""


@dataclass(slots=True)
class HubRoute:
    """One route.

    Attributes:
        routespec: Its path, unescaped.
        data: All that JupyterHub said of it, ``target`` included.
        upstream: Where it leads.
        base: The path of its target, without a trailing slash; it is put in front of the request's.
        depth: Segments of its routespec.
        user: Whose server it is; ``None`` for services and the Hub itself.
        last_activity: When it last had activity, in seconds since the epoch.
        host: Whose requests it is for, as JupyterHub spelt it; ``None`` for any, and without host routing.
        by_kind: The equivalent routes of the configuration, one for each kind asked for so far.
    """

    routespec: str
    data: Mapping[str, object]
    upstream: UpstreamAddress
    base: bytes
    depth: int
    user: str | None
    last_activity: float
    host: str | None = None
    by_kind: dict[Kind, RouteConfig] = field(default_factory=dict, repr=False)


def read_target(text: str) -> tuple[UpstreamAddress, bytes]:
    """Read where a route leads: the address, and the path to put in front of the request's.

    Raises:
        ValueError: It is not a URL that we can forward to.
    """
    scheme, mark, rest = text.partition("://")
    if scheme == _UNIX_REVERSED:
        scheme = UNIX_SCHEME
    authority, slash, path = rest.partition("/")
    try:
        address = UpstreamTemplate.parse(scheme + mark + authority, {}).address({})
        target = parse_target((slash + path).encode("ascii") or b"/")
    except (ValueError, BadTarget):  # UnicodeEncodeError is a ValueError
        address = None
    if address is None or target.query:
        raise ValueError(
            "target must be http://host:port, https://host:port or http+unix://%2Fpath%2Fof.sock;"
            " a path may follow, but no query."
        )
    return address, target.path.rstrip(b"/")
