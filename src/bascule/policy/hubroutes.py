"""Routes that JupyterHub adds and removes while we serve, beside those of the configuration.

A route has a *routespec*, as JupyterHub calls it: its path, unescaped, with a leading and without
a trailing slash (``/user/alice``); with host routing the first segment is a host
(``/alice.example.org/user/alice``). The deepest route wins, by whole segments of the path's
normal reading, and a matching route of the configuration wins over all of them. What
`bascule.policy.routes` says about two readings of one path holds for these routes as well, except for the
truncated one: users may be called ``ada#EXT#``, and JupyterHub's own servers take the query off first.

Rules of this file: pure; the caller gives the time. A routespec that cannot be used raises
`ValueError` with a text for its sender.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bascule.configuration.hubroute import HubRoute, read_target
from bascule.configuration.route import AuthMode, RouteConfig
from bascule.policy.routes import BadTarget, Match, RouteTable, is_reserved, without_prefix
from bascule.protocol.path import normal_segment, parse_target, without_port
from bascule.vocabulary import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bascule.configuration.hub import Hub
    from bascule.protocol.path import Target

__all__ = ["ROOT", "HubRoutes", "read_routespec"]

ROOT: Final = "/"
"""The routespec of the route for all paths that no other route matches."""

_LONGEST_USER: Final = 255
"""Most characters of a user's name, as in JupyterHub: each session carries it from gateway to gateway."""

_DEEPEST: Final = 64
"""Most segments of a routespec: each is a node of the tree. JupyterHub's have three, and its base URL's."""

_LONGEST_BYTES: Final = 2048
"""Longest routespec, in UTF-8: each session carries it from gateway to gateway. JupyterHub's have 300."""

_TERMINALS: Final = b"terminals"
_PROXY: Final = b"proxy"
"""Below it jupyter-server-proxy serves applications: Streamlit, RStudio, a desktop."""


class _Node:
    """A segment of the tree, and the route that ends there."""

    __slots__ = ("children", "route")

    def __init__(self) -> None:
        self.route: HubRoute | None = None
        self.children: dict[bytes, _Node] = {}


class HubRoutes:
    """JupyterHub's routes, in front of them the configuration's, and behind them ``hub.defaultTarget``.

    The default target is not a route: it is neither counted nor listed.

    Args:
        configured: Routes of the configuration.
        settings: The configuration's ``hub`` block.
    """

    def __init__(self, configured: RouteTable, settings: Hub) -> None:
        self._configured = configured
        self._settings = settings
        self._root = _Node()
        self._routes: dict[str, HubRoute] = {}
        self._default: HubRoute | None = None
        if (target := settings.default_target) is not None:
            upstream, base = read_target(target)
            self._default = HubRoute(ROOT, {"target": target}, upstream, base, 0, None, 0.0)

    def __len__(self) -> int:
        return len(self._routes)

    def __iter__(self) -> Iterator[HubRoute]:
        return iter(self._routes.values())

    def get(self, routespec: str) -> HubRoute | None:
        """Return a route by its routespec, in the form of `read_routespec`."""
        return self._routes.get(self._with_plain_host(routespec))

    def known_keys(self) -> list[str]:
        """Return the keys of all routes there are now."""
        return list(self._routes)

    def by_key(self, key: str) -> HubRoute | None:
        """Return a route by its key."""
        return self._routes.get(key)

    def key(self, routespec: str) -> str:
        """Return the key of a routespec: two routespecs with the same key are one route.

        Raises:
            ValueError: No route can have this routespec.
        """
        return read_routespec(self._with_plain_host(read_routespec(routespec)[0]))[0]

    def put(
        self, routespec: str, data: Mapping[str, object], last_activity: float, *, bounded: bool = True
    ) -> HubRoute:
        """Add a route, or replace the one with the same key.

        Args:
            routespec: Its path; slashes at both ends are ignored.
            data: What JupyterHub said of it. ``target`` is where it leads, ``user`` whose server it is.
            last_activity: In seconds since the epoch.
            bounded: Whether ``hub.maxRoutes`` holds. It does not for routes of a former gateway or of
                another instance, which may have more.

        Raises:
            ValueError: An argument cannot be used, or ``hub.maxRoutes`` is reached. Nothing was changed.
        """
        routespec, _ = read_routespec(routespec)
        known_as, segments = read_routespec(self._with_plain_host(routespec))
        target = data.get("target")
        if not isinstance(target, str):
            raise ValueError("Must specify 'target' as string")
        upstream, base = read_target(target)
        if bounded and known_as not in self._routes and len(self._routes) >= self._settings.max_routes:
            raise ValueError(f"There are already hub.maxRoutes ({self._settings.max_routes}) routes.")
        user = data.get("user")
        if not isinstance(user, str):
            user = None
        elif len(user) > _LONGEST_USER:
            raise ValueError(f"user must be a name of at most {_LONGEST_USER} characters.")
        host = routespec.split("/")[1] if self._settings.host_routing and routespec != ROOT else None
        route = HubRoute(routespec, data, upstream, base, len(segments), user, last_activity, host)
        node = self._root
        for segment in segments:
            node = node.children.setdefault(segment, _Node())
        node.route = route
        self._routes[known_as] = route
        return route

    def remove(self, routespec: str) -> HubRoute | None:
        """Remove a route by its routespec, in the form of `read_routespec`; its open sessions go on."""
        route = self._routes.pop(self._with_plain_host(routespec), None)
        if route is not None:
            _, segments = read_routespec(self._with_plain_host(route.routespec))
            _cut(self._root, segments)
        return route

    def _with_plain_host(self, routespec: str) -> str:
        """Return a routespec with its host, if it has one, in lower case: one host is one route.

        The route itself keeps JupyterHub's spelling. JupyterHub makes hosts of users' names without
        changing their case, compares our list with the spelling that it sent, and removes other routes.
        """
        if not self._settings.host_routing:
            return routespec
        host, slash, path = routespec.lstrip("/").partition("/")
        return ROOT + host.lower() + slash + path

    def match(self, raw_target: bytes, host: bytes) -> Match | None:
        """Find the route of a request: see `RouteTable.match`."""
        target = parse_target(raw_target)
        if is_reserved(target.segments):
            return None
        found = self._configured.find(target)
        return found or self._find(target, host)

    def _find(self, target: Target, host: bytes) -> Match | None:
        in_front: list[bytes] = []
        if self._settings.host_routing:
            in_front = [normal_segment(without_port(target.authority or host).lower())]
        route = self._deepest([*in_front, *target.segments])
        if target.credulous is not None and self._deepest([*in_front, *target.credulous]) is not route:
            raise BadTarget("The path can be read in two ways.")
        if route is None:
            return None
        prefix, path = b"", target.path
        depth = max(route.depth - len(in_front), 0)
        if not self._settings.include_prefix:
            prefix, path = without_prefix(target, depth)
        if self._settings.prepend_path:
            path = route.base + path
        configured = self._as_configured(route, _kind(route, target.segments[depth:]))
        return Match(configured, route.upstream, path + target.query, prefix, target.authority, route)

    def _deepest(self, segments: Sequence[bytes]) -> HubRoute | None:
        node = self._root
        route = node.route or self._default
        for segment in segments:
            child = node.children.get(segment)
            if child is None:
                break
            node = child
            route = node.route or route
        return route

    def _as_configured(self, route: HubRoute, kind: Kind) -> RouteConfig:
        """Return the equivalent route of the configuration; its name is the routespec."""
        if (known := route.by_kind.get(kind)) is None:
            known = route.by_kind[kind] = RouteConfig.model_construct(
                name=route.routespec,
                kind=kind,
                path=route.routespec,
                upstream=str(route.data["target"]),
                allowed_origins=self._settings.allowed_origins,
                auth=AuthMode.NONE,
            )
        return known


def read_routespec(text: str) -> tuple[str, tuple[bytes, ...]]:
    """Read a routespec.

    Returns:
        Its canonical form, and the segments that a request's segments are compared with.

    Raises:
        ValueError: It is too long or too deep, or no request could ever match it.
    """
    if len(text.encode("utf-8", "surrogatepass")) > _LONGEST_BYTES:
        raise ValueError(f"A route may be at most {_LONGEST_BYTES} bytes long.")
    path = text.strip("/")
    pieces = path.split("/") if path else []
    segments = [normal_segment(piece.encode("utf-8", "surrogatepass")) for piece in pieces]
    if len(segments) > _DEEPEST:
        raise ValueError(f"A route may have at most {_DEEPEST} segments.")
    try:
        target = parse_target(b"/" + b"/".join(segments))
    except BadTarget as refused:
        raise ValueError(f"No request has this path: {refused.detail}") from None
    if b"" in segments:
        raise ValueError("A route may not contain an empty segment.")
    if target.credulous is not None:
        raise ValueError('A route may not contain ";", "\\" or an escape.')
    if is_reserved([*segments, b""]):
        raise ValueError(f"The paths below /{pieces[0]}/ are the proxy's own.")
    return ROOT + "/".join(pieces), tuple(segments)


def _cut(node: _Node, segments: Sequence[bytes]) -> None:
    """Take a route out of the tree, with the nodes that only it needed."""
    on_the_way = [node]
    for segment in segments:
        on_the_way.append(on_the_way[-1].children[segment])
    on_the_way[-1].route = None
    for above, segment in zip(reversed(on_the_way[:-1]), reversed(segments), strict=True):
        below = above.children[segment]
        if below.route is not None or below.children:
            return
        del above.children[segment]


def _kind(route: HubRoute, segments: Sequence[bytes]) -> Kind:
    """Tell the kind of a request by the path behind its route's, as Jupyter servers lay out their paths."""
    if route.user is None or _PROXY in segments:
        return Kind.APP
    return Kind.TERMINAL if _TERMINALS in segments else Kind.JUPYTER
