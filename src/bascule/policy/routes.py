"""The route table: from a request-target to a route, its upstream and what to send there.

Matching goes by whole segments of the path's normal reading (`bascule.protocol.path`):
``/user/test/`` never matches ``/user/testtest``. The deepest route wins; at the same depth
the one whose first differing segment is literal. The order of the configuration and
the Host field do not matter.

The table is a tree with one node per segment. A request does one dictionary look-up per
segment; at nodes with ``{name}`` children both branches are searched, which visits each node
at most once, so the cost of a path is bounded by the size of the table.

The path that was matched is forwarded byte for byte. A path with a reading that leads
to another route is refused: the upstream behind the shorter route could be the same
server, and the request would bypass the rules of the longer one.

Rules of this file: pure and immutable; a change of routes is a new table. Results name
the route, never the raw path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from bascule.configuration.claims import ClaimTemplate
from bascule.configuration.templates import (
    RESERVED_SEGMENT,
    PathTemplate,
    UpstreamAddress,
    UpstreamTemplate,
    check_pattern,
    may_capture,
)
from bascule.protocol.path import BadTarget, parse_target

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    from bascule.configuration.claims import Demand
    from bascule.configuration.hubroute import HubRoute
    from bascule.configuration.route import RouteConfig
    from bascule.protocol.path import Target

__all__ = ["BadTarget", "Match", "RouteTable", "Routes", "UpstreamAddress", "is_reserved", "without_prefix"]


class Match(NamedTuple):
    """Where a request goes.

    Attributes:
        route: The route that won.
        upstream: Where to connect.
        target: The request-target for the upstream: path, without the prefix if the route
            strips it, and query, as received.
        prefix: What was stripped, for ``X-Forwarded-Prefix``; no trailing slash, empty if nothing.
        authority: The host of an absolute-form target, to be used instead of the Host field
            (RFC 9112 §3.2.2); ``None`` otherwise.
        hub_route: The route that JupyterHub added; ``None`` for one of the configuration.
        demands: What a login's token must claim, with what the path captured filled in.
    """

    route: RouteConfig
    upstream: UpstreamAddress
    target: bytes
    prefix: bytes
    authority: bytes | None
    hub_route: HubRoute | None = None
    demands: tuple[Demand, ...] = ()


class Routes(Protocol):
    """Where requests go: the configuration's routes, alone or with JupyterHub's."""

    def match(self, raw_target: bytes, host: bytes) -> Match | None:
        """Find the route of a request: see `RouteTable.match`."""


class _Entry:
    """A route, ready for use."""

    __slots__ = ("claims", "depth", "fixed", "names", "route", "upstream")

    def __init__(self, route: RouteConfig, path: PathTemplate) -> None:
        self.route = route
        self.depth = len(path.segments)
        self.names = tuple((place, part) for place, part in enumerate(path.segments) if isinstance(part, str))
        self.upstream = UpstreamTemplate.parse(route.upstream, route.where)
        self.fixed = self.upstream.address({}) if self.upstream.is_fixed else None
        self.claims = tuple(
            ClaimTemplate.parse(claim, values, path.names) for claim, values in route.required_claims.items()
        )

    def address(self, segments: list[bytes]) -> UpstreamAddress | None:
        return self.upstream.address(self._captured(segments)) if self.fixed is None else self.fixed

    def demands(self, segments: list[bytes]) -> tuple[Demand, ...]:
        captured, in_host = self._captured(segments), self.upstream.names_in_host
        return tuple(claim.fill(captured, in_host) for claim in self.claims)

    def _captured(self, segments: list[bytes]) -> dict[str, bytes]:
        return {name: segments[place] for place, name in self.names}


class _Node:
    """A segment of the tree, and the route that ends there."""

    __slots__ = ("entry", "literals", "patterns")

    def __init__(self) -> None:
        self.entry: _Entry | None = None
        self.literals: dict[bytes, _Node] = {}
        self.patterns: list[tuple[re.Pattern[bytes], _Node]] = []


_Found = tuple[int, int, _Entry, UpstreamAddress]
"""Depth; one bit for each segment, 1 for a literal; the entry and its upstream. The first two never tie."""


class RouteTable:
    """All routes of a configuration.

    Args:
        routes: The routes; no two of the same shape (the configuration checks that).
    """

    def __init__(self, routes: Sequence[RouteConfig]) -> None:
        self._root = _Node()
        self._literal_only = True
        for route in routes:
            template = PathTemplate.parse(route.path)
            node = self._root
            for part in template.segments:
                if isinstance(part, bytes):
                    node = node.literals.setdefault(part, _Node())
                else:
                    self._literal_only = False
                    node = _pattern_child(node, check_pattern(route.where[part]))
            node.entry = _Entry(route, template)

    def match(self, raw_target: bytes, host: bytes = b"") -> Match | None:
        """Find the route of a request.

        Args:
            raw_target: The request-target as received.
            host: Its Host field, which means nothing here.

        Returns:
            The match; ``None`` if no route matches (404), and for the paths that bascule itself answers.

        Raises:
            BadTarget: The target is refused (400), whatever the routes.
        """
        target = parse_target(raw_target)
        return None if is_reserved(target.segments) else self.find(target)

    def find(self, target: Target) -> Match | None:
        """Find the route of a target that bascule does not answer itself: see `match`."""
        found = self._find(target.segments)
        if target.credulous is not None or target.truncated is not None:
            self._check_other_readings(target, found)
        if found is None:
            return None
        _, _, entry, upstream = found
        path = target.path
        prefix = b""
        if entry.route.strip_prefix and entry.depth:
            prefix, path = without_prefix(target, entry.depth)
        demands = entry.demands(target.segments) if entry.claims else ()
        return Match(entry.route, upstream, path + target.query, prefix, target.authority, None, demands)

    def _check_other_readings(self, target: Target, found: _Found | None) -> None:
        for reading in (target.credulous, target.truncated):
            if reading is None:
                continue
            other = self._find(reading)
            if (found and found[2]) is not (other and other[2]):
                raise BadTarget("The path can be read in two ways.")

    def _find(self, segments: list[bytes]) -> _Found | None:
        if not self._literal_only:
            return _search(self._root, segments, 0, 0)
        node = self._root
        entry = node.entry
        for segment in segments:
            child = node.literals.get(segment)
            if child is None:
                break
            node = child
            entry = node.entry or entry
        if entry is None or entry.fixed is None:
            return None
        return entry.depth, 0, entry, entry.fixed


def is_reserved(segments: Sequence[bytes]) -> bool:
    """Tell whether a path, in its normal reading, is one that bascule itself answers."""
    return len(segments) > 1 and segments[0] == RESERVED_SEGMENT


def _pattern_child(node: _Node, pattern: re.Pattern[bytes]) -> _Node:
    for known, child in node.patterns:
        if known.pattern == pattern.pattern:
            return child
    child = _Node()
    node.patterns.append((pattern, child))
    return child


def _search(node: _Node, segments: list[bytes], depth: int, literals: int) -> _Found | None:
    """Return the best route at or below a node; recursion is as deep as the table, not the path."""
    best: _Found | None = None
    if node.entry is not None and (address := node.entry.address(segments)) is not None:
        best = (depth, literals, node.entry, address)
    if depth == len(segments):
        return best
    segment = segments[depth]
    if (child := node.literals.get(segment)) is not None:
        best = _better(best, _search(child, segments, depth + 1, literals << 1 | 1))
    if node.patterns and may_capture(segment):
        for pattern, child in node.patterns:
            if pattern.fullmatch(segment):
                best = _better(best, _search(child, segments, depth + 1, literals << 1))
    return best


def _better(one: _Found | None, other: _Found | None) -> _Found | None:
    if one is None or other is None:
        return one or other
    return other if other[:2] > one[:2] else one


def without_prefix(target: Target, depth: int) -> tuple[bytes, bytes]:
    """Take the first ``depth`` segments off a path; return them, and the rest of the path.

    Raises:
        BadTarget: The rest would be refused as a target of its own.
    """
    end = 0
    for _ in range(depth):
        end = target.path.find(b"/", end + 1)
        if end < 0:
            return target.path, b"/"
    rest = target.path[end:]
    if target.credulous is not None:
        parse_target(rest)
    return target.path[:end], rest
