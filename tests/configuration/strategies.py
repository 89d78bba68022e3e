"""Configurations for property tests: any value of any key that fits the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from bascule.configuration.config import (
    Auth,
    Capacity,
    Config,
    Drain,
    Endpoint,
    Forwarders,
    Limits,
    Log,
    Metrics,
    Readiness,
    RouteConfig,
    SessionAuth,
    Sockets,
    Tls,
    WebSocketProxy,
)

__all__ = ["configurations"]

java_int = st.integers(1, 2147483647)
java_long = st.integers(0, 2**63)
seconds = st.floats(0, 1e6).map(lambda value: round(value, 6))
some_seconds = st.floats(0.001, 1e6).map(lambda value: round(value, 6))
whole_seconds = st.integers(1, 32767).map(float)
share = st.floats(0.01, 1)
text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
files = text.map(Path)
hosts = st.from_regex(r"[a-z]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)


@st.composite
def _routes(draw: st.DrawFn) -> tuple[RouteConfig, ...]:
    names = draw(st.lists(hosts, max_size=3, unique=True))
    routes: list[RouteConfig] = []
    for place, name in enumerate(names):
        captured = draw(st.booleans())
        more: dict[str, Any] = {"where": {"x": "[a-z0-9-]{2,9}"}} if captured else {}
        if draw(st.booleans()):
            more["auth"] = "session"
            more["audiences"] = ("A", "B")
            more["required_claims"] = {draw(text): (draw(text.filter(_is_plain)),)}
            if captured:
                more["required_claims"]["sub"] = ("root", "u:{x}")
        routes.append(
            RouteConfig(
                name=name,
                path=f"/r{place}/{{x}}/" if captured else f"/r{place}",
                upstream="https://{x}.svc:7"
                if captured
                else draw(st.sampled_from(["http://a", "http://[::1]:9"])),
                kind=draw(st.sampled_from(["jupyter", "terminal", "app"])),
                strip_prefix=draw(st.booleans()),
                allowed_origins=draw(st.sampled_from([(), ("*",), ("https://a.example:8443",)])),
                incoming_buffer_bytes=draw(st.none() | java_int),
                **more,
            )
        )
    return tuple(routes)


def _is_plain(value: str) -> bool:
    return not set("{}") & set(value)


configurations = st.builds(
    Config,
    listen=st.builds(Endpoint, hosts, st.integers(1000, 2000)),
    admin=st.builds(Endpoint, st.ip_addresses().map(str), st.integers(2001, 3000)),
    admin_token=st.none() | text.map(str.strip).filter(bool),
    websocket_proxy=st.builds(
        WebSocketProxy,
        max_sessions_per_app=java_int,
        incoming_buffer_bytes=java_int,
        grizzly_worker_pool_max_size=java_int,
        session_idle_timeout_ms=java_long,
        heartbeat_interval_ms=java_long,
    ),
    routes=_routes(),
    forwarders=st.builds(Forwarders, count=st.none() | st.integers(1, 1024)),
    limits=st.builds(Limits, handshake_timeout=some_seconds, http_upstream_timeout=seconds),
    sockets=st.builds(
        Sockets,
        no_delay=st.booleans(),
        keepalive_idle=whole_seconds,
        user_timeout=seconds,
        congestion_control=st.none() | st.sampled_from(["bbr", "cubic"]),
    ),
    trusted_proxies=st.lists(st.ip_addresses().map(str), max_size=3).map(tuple),
    drain=st.builds(Drain, timeout=seconds, window=st.none() | seconds, rate=st.floats(0, 1e6)),
    readiness=st.builds(Readiness, max_share=st.floats(0.01, 10)),
    capacity=st.builds(
        Capacity,
        warning_share=share,
        peers=st.lists(st.builds(Endpoint, hosts, st.integers(1, 65535)), max_size=2).map(tuple),
        name=st.none() | text,
    ),
    metrics=st.builds(Metrics, duration_half_life=some_seconds),
    auth=st.builds(Auth, session=st.builds(SessionAuth, key_file=files, audience=text)),
    log=st.builds(Log, level=st.sampled_from(["debug", "info", "warning", "error"])),
    tls=st.just(Tls()) | st.builds(Tls, certificate=files, key=files),
)
"""Consistent configurations."""
