"""What the status page and `bascule status` show at one moment, but for the sessions and the last hour.

Rules of this file: it only reads.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from bascule._version import __version__
from bascule.admin.capacity import cluster_json, instance_json
from bascule.admin.health import readiness
from bascule.handover.counters import CAUSES, ENDED_BY, KINDS, ForwarderWord, GatewayWord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bascule.admin.cluster import Cluster
    from bascule.admin.listing import SessionList
    from bascule.admin.view import DurationSummary, ForwarderRow, GatewayView, SessionRow
    from bascule.handover.counters import CounterFile

__all__ = ["overview"]

_MOST_OF_HUB: Final = 20
"""Routes of JupyterHub that are shown; the table of sessions names all."""


async def overview(view: GatewayView, sessions: SessionList, cluster: Cluster) -> dict[str, object]:
    """Return it, fit for JSON.

    Cancellation: safe.
    """
    rows = await sessions.rows()
    ready = readiness(view)
    by_kind: Counter[str] = Counter(row.kind for row in rows)
    return {
        "at": round(time.time(), 1),
        "version": __version__,
        "startedAt": round(view.started_at, 1),
        "draining": view.draining,
        "ready": ready.ready,
        "reason": ready.reason,
        "instance": instance_json(view.capacity()),
        "cluster": cluster_json(await cluster.read()) if cluster.configured else None,
        "warningShare": view.config.capacity.warning_share,
        "oldest": round(view.oldest_age(time.monotonic()), 1),
        "kinds": {kind.value: by_kind[kind] for kind in KINDS},
        "routes": [*_routes(view, rows)],
        "totals": _totals(view.counters),
        "ended": _ended(view.counters),
        "durations": _durations(view.reservoir_summary(time.monotonic())),
        "forwarders": [_forwarder(row) for row in view.forwarders()],
    }


def _routes(view: GatewayView, rows: Sequence[SessionRow]) -> Iterator[dict[str, object]]:
    """Describe the routes of the configuration, and those of JupyterHub that carry most sessions."""
    by_route: Counter[str] = Counter(row.route for row in rows)
    for route in view.config.routes:
        yield {
            "name": route.name,
            "kind": route.kind.value,
            "path": route.path,
            "sessions": by_route[route.name],
            "max": route.max_sessions,
        }
    if (hub := view.hub) is None:
        return
    by_kind = Counter((row.route, row.kind) for row in rows)
    # Of a route's kinds the most common one comes last, and stays.
    kinds = {route: kind for (route, kind), _ in reversed(by_kind.most_common())}
    configured = {route.name for route in view.config.routes}  # `routes.get` may read one as a host
    busy = [
        (name, count)
        for name, count in by_route.most_common()
        if name not in configured and hub.routes.get(name) is not None
    ]
    for name, count in busy[:_MOST_OF_HUB]:  # a Hub may have thousands
        yield {"name": name, "kind": kinds[name], "path": name, "sessions": count, "max": None}


def _totals(counters: CounterFile) -> dict[str, int]:
    count = counters.of_gateways
    return {
        "rejections": count(GatewayWord.REJECTIONS),
        "atOtherCaps": count(GatewayWord.USER_CAP) + count(GatewayWord.ROUTE_CAP),
        "upstreamFailures": count(GatewayWord.UPSTREAM_CONNECT_FAILURES),
        "handshakesRefused": count(GatewayWord.HANDSHAKES_REFUSED),
        "upstreamRefused": count(GatewayWord.UPSTREAM_REFUSED),
        "admitted": count(GatewayWord.ADMITTED),
        "lost": counters.lost_count(),
        "peak": counters.peak(),
        "httpRequests": count(GatewayWord.HTTP_REQUESTS),
        "httpUpstreamFailures": count(GatewayWord.HTTP_UPSTREAM_FAILURES),
        "bytesIn": counters.total(ForwarderWord.PAYLOAD_INBOUND),
        "bytesOut": counters.total(ForwarderWord.PAYLOAD_OUTBOUND),
    }


def _ended(counters: CounterFile) -> dict[str, int]:
    """Return how many sessions ended by each cause; a cause by which none has ended is left out."""
    ended = {
        cause.value: sum(counters.ended(kind, by, cause) for kind in KINDS for by in ENDED_BY)
        for cause in CAUSES
    }
    return {cause: count for cause, count in ended.items() if count}


def _durations(summary: DurationSummary) -> dict[str, object]:
    return {
        "count": summary.count,
        "mean": _number(summary.mean),
        "max": _number(summary.maximum),
        "quantiles": {f"{q:g}": _number(value) for q, value in summary.quantiles.items()},
    }


def _forwarder(row: ForwarderRow) -> dict[str, object]:
    return {
        "slot": row.slot,
        "pid": row.pid,
        "sessions": row.sessions,
        "cpuCores": round(row.cpu_cores, 3),
        "cpuSeconds": round(row.cpu_seconds, 1),
        "waitSeconds": round(row.wait_seconds, 1),
        "rssBytes": row.rss_bytes,
        "restarts": row.restarts,
        "hotPath": row.hot_path,
    }


def _number(value: float) -> float | None:
    """Make a float fit for JSON, which knows no NaN."""
    return round(value, 3) if math.isfinite(value) else None
