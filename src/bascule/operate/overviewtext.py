"""`bascule status`: what `GET /status` says, on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bascule.operate.table import table
from bascule.operate.units import age, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["overview_text"]


def overview_text(status: Mapping[str, Any]) -> str:
    """Write the answer of `GET /status` for a terminal."""
    return "\n".join(_blocks(status))


def _blocks(status: Mapping[str, Any]) -> Iterator[str]:
    yield table(("", ""), _head(status)).lstrip("\n")
    if status["routes"]:
        yield table(
            ("ROUTE", "KIND", ">SESSIONS", ">MAX", "PATH"),
            (
                (each["name"], each["kind"], each["sessions"], each["max"], each["path"])
                for each in status["routes"]
            ),
        )
    yield table(
        (">FORWARDER", ">PID", ">SESSIONS", ">CPU TIME", ">MEMORY", ">RESTARTS", "HOT PATH"),
        (
            (
                each["slot"],
                each["pid"] or None,
                each["sessions"],
                age(each["cpuSeconds"]),
                size(each["rssBytes"]),
                each["restarts"],
                each["hotPath"],
            )
            for each in status["forwarders"]
        ),
    )


def _head(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    instance, cluster, totals = status["instance"], status["cluster"], status["totals"]
    state = "ready" if status["ready"] else f"not ready: {status['reason']}"
    up = age(max(0.0, status["at"] - status["startedAt"]))
    yield f"bascule {status['version']}", f"{instance['name']}, up {up}, {state}"
    oldest = f", the oldest is {age(status['oldest'])} old" if instance["inFlight"] else ""
    yield "sessions", f"{_of(instance)}, at most {totals['peak']} so far{oldest}"
    yield "", ", ".join(f"{count} {kind}" for kind, count in status["kinds"].items())
    if cluster is not None:
        heard = "" if cluster["reporting"] == cluster["instances"] else f", {cluster['reporting']} answered"
        yield "cluster", f"{_of(cluster)} in {cluster['instances']} instances{heard}"
    yield "admitted", f"{totals['admitted']} since the start"
    refused = {
        "at the cap": totals["rejections"],
        "at a user's or route's cap": totals["atOtherCaps"],
        "upstream not reached": totals["upstreamFailures"],
        "refused by the upstream": totals["upstreamRefused"],
        "bad handshake": totals["handshakesRefused"],
    }
    yield "turned away", _counts(refused)
    yield "ended", _counts(status["ended"])
    if totals["lost"]:
        yield "lost", f"{totals['lost']} with a process that died"
    yield "payload", f"{size(totals['bytesIn'])} to upstreams, {size(totals['bytesOut'])} to browsers"
    asked, failed = totals["httpRequests"], totals["httpUpstreamFailures"]
    yield "HTTP", f"{asked} {'request' if asked == 1 else 'requests'}, {failed} failed at the upstream"


def _of(pool: Mapping[str, Any]) -> str:
    taken, most = pool["inFlight"], pool["max"]
    share = f" ({taken / most:.0%})" if most else ""
    return f"{taken} of {most}{share}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "none"
