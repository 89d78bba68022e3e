"""`bascule status` on one screen."""

from __future__ import annotations

from typing import Any

from bascule.operate.overviewtext import overview_text

STATUS: dict[str, Any] = {
    "at": 100_000.0,
    "version": "0.1.0",
    "startedAt": 8_000.0,
    "draining": False,
    "ready": True,
    "reason": None,
    "instance": {"name": "pod-1", "inFlight": 412, "max": 500, "level": "warning", "draining": False},
    "cluster": {"inFlight": 700, "max": 1500, "instances": 3, "reporting": 2, "level": "ok"},
    "warningShare": 0.8,
    "oldest": 7499.0,
    "kinds": {"jupyter": 400, "terminal": 12, "app": 0},
    "routes": [
        {"name": "lab", "kind": "jupyter", "path": "/lab/", "sessions": 400, "max": None},
        {"name": "shell", "kind": "terminal", "path": "/shell/", "sessions": 12, "max": 20},
    ],
    "totals": {
        "rejections": 3, "atOtherCaps": 0, "upstreamFailures": 2, "handshakesRefused": 0,
        "upstreamRefused": 0, "admitted": 5000, "lost": 1, "peak": 499, "httpRequests": 12,
        "httpUpstreamFailures": 1, "bytesIn": 1200, "bytesOut": 86_100_000,
    },
    "ended": {"close": 4500, "idle": 7},
    "durations": {"count": 4588, "mean": 1.0, "max": 2.0, "quantiles": {}},
    "forwarders": [
        {"slot": 0, "pid": 4711, "sessions": 412, "cpuCores": 0.1, "cpuSeconds": 65.0, "waitSeconds": 0.0,
         "rssBytes": 20_100_000, "restarts": 0, "hotPath": "compiled"},
        {"slot": 1, "pid": 0, "sessions": 0, "cpuCores": 0.0, "cpuSeconds": 0.0, "waitSeconds": 0.0,
         "rssBytes": 0, "restarts": 1, "hotPath": "compiled"},
    ],
}  # fmt: skip


def test_it_says_how_full_the_pool_is_whom_it_turned_away_and_what_its_parts_do() -> None:
    assert overview_text(STATUS) == (
        "bascule 0.1.0  pod-1, up 1 d 1 h, ready\n"
        "sessions       412 of 500 (82%), at most 499 so far, the oldest is 2 h 4 min old\n"
        "               400 jupyter, 12 terminal, 0 app\n"
        "cluster        700 of 1500 (47%) in 3 instances, 2 answered\n"
        "admitted       5000 since the start\n"
        "turned away    3 at the cap, 2 upstream not reached\n"
        "ended          4500 close, 7 idle\n"
        "lost           1 with a process that died\n"
        "payload        1.20 kB to upstreams, 86.1 MB to browsers\n"
        "HTTP           12 requests, 1 failed at the upstream\n"
        "\n"
        "ROUTE  KIND      SESSIONS  MAX  PATH\n"
        "lab    jupyter        400    -  /lab/\n"
        "shell  terminal        12   20  /shell/\n"
        "\n"
        "FORWARDER   PID  SESSIONS  CPU TIME   MEMORY  RESTARTS  HOT PATH\n"
        "        0  4711       412     1 min  20.1 MB         0  compiled\n"
        "        1     -         0       0 s      0 B         1  compiled\n"
    )


def test_a_proxy_of_a_hub_without_routes_that_drains_alone_shows_no_empty_table() -> None:
    text = overview_text(
        {
            **STATUS,
            "ready": False,
            "reason": "draining",
            "cluster": None,
            "routes": [],
            "ended": {},
            "totals": {**STATUS["totals"], "httpRequests": 1},
            "instance": {**STATUS["instance"], "inFlight": 0, "max": 0},
        }
    )

    assert "pod-1, up 1 d 1 h, not ready: draining\n" in text
    assert "sessions       0 of 0, at most 499 so far\n" in text
    assert "ended          none\n" in text
    assert "HTTP           1 request, 1 failed at the upstream\n" in text
    assert "cluster" not in text
    assert "ROUTE" not in text
