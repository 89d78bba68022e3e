"""Two made-up pods with every series that the dashboard reads.

For looking at the dashboard where no Bascule runs: the values are invented, only
names, labels and shapes are true. A picture drawn from them says so.
"""

from __future__ import annotations

import http.server
import math
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CAP = 500


@dataclass(slots=True)
class SamplePod:
    """An exporter whose sessions climb to the cap and beyond.

    Attributes:
        peak: Sessions asked for at the height of the wave.
        phase: Where in the wave it starts, in turns.
    """

    peak: float
    phase: float
    _started_at: float = field(default_factory=time.monotonic)
    _read_at: float = field(default_factory=time.monotonic)
    _totals: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def exposition(self) -> str:
        """Return what `/metrics` says now."""
        with self._lock:
            now = time.monotonic()
            elapsed, self._read_at = now - self._read_at, now
            wave = 0.5 - 0.5 * math.cos(2 * math.pi * ((now - self._started_at) / 120 + self.phase))
            return "".join(
                f'{name}{{mp_scope="application"{"," if labels else ""}{labels}}} {value}\n'
                for name, labels, value in self._series(wave, elapsed)
            )

    def _series(self, wave: float, elapsed: float) -> Iterator[tuple[str, str, float]]:
        asked = self.peak * wave
        sessions = min(asked, CAP)
        yield "ws_connection_in_flight_count", "", round(sessions)
        yield "ws_pool_max_connections", "", CAP
        yield "ws_draining", "", 0
        for quantile, seconds in (("0.5", 40), ("0.95", 1900), ("0.99", 4200)):
            yield "ws_connection_duration_seconds", f'quantile="{quantile}"', seconds * (1 - wave / 3)
        yield "ws_pool_cpu_cores", "", sessions * 0.0017
        yield "ws_pool_alloc_bytes_per_second", "", sessions**2 * 9
        for kind, share in (("jupyter", 0.6), ("terminal", 0.1), ("app", 0.3)):
            yield "bascule_sessions", f'kind="{kind}"', round(sessions * share)
            yield "bascule_route_sessions", f'route="{kind}"', round(sessions * share)
        yield "bascule_memory_used_bytes", "", 90e6 + sessions * 24e3
        yield "bascule_memory_max_bytes", "", 256 * 2**20
        yield "bascule_open_descriptors", "", 60 + 2 * sessions
        yield "bascule_max_descriptors", "", 20000
        for name, labels, rate in self._rates(wave, asked - sessions):
            key = f"{name}{{{labels}}}"
            self._totals[key] = self._totals.get(key, 0.0) + rate * elapsed
            yield name, labels, self._totals[key]

    @staticmethod
    def _rates(wave: float, refused: float) -> Iterator[tuple[str, str, float]]:
        yield "ws_connection_rejections_total", "", refused / 30
        yield "ws_upstream_connect_failures_total", "", 0.2 * (1 - wave)
        yield "bascule_http_upstream_failures_total", "", 0.1 * (1 - wave)
        for status, rate in (
            ("2xx", 9 + 60 * wave),
            ("3xx", 4 * wave),
            ("4xx", 1 + wave),
            ("5xx", 0.2 * (1 - wave)),
        ):
            yield "bascule_http_responses_total", f'status="{status}"', rate
        for direction, rate in (("inbound", 4e4), ("outbound", 3e6)):
            yield "bascule_payload_bytes_total", f'direction="{direction}"', rate * wave
        yield "bascule_gc_seconds_total", 'process="gateway"', 0.004 * wave
        for by, cause, rate in (
            ("client", "closed", 2.0),
            ("client", "aborted", 0.4),
            ("upstream", "closed", 0.6),
            ("proxy", "idle", 0.1),
        ):
            yield "bascule_sessions_ended_total", f'ended_by="{by}",cause="{cause}"', rate * (0.4 + wave)
        yield "bascule_refusals_total", 'reason="handshake"', 0.05 * wave
        yield "bascule_refusals_total", 'reason="upstream"', 0.08 * (1 - wave)
        for reason in ("draining", "no_room", "gone", "user_cap"):
            yield "bascule_refusals_total", f'reason="{reason}"', 0.0
        for outcome in ("natural", "closed", "aborted"):
            yield "bascule_drain_sessions_total", f'outcome="{outcome}"', 0.0
        for forwarder in (0, 1):
            yield "bascule_forwarder_wait_seconds_total", f'forwarder="{forwarder}"', 0.03 * wave
            yield "bascule_forwarder_restarts_total", f'forwarder="{forwarder}"', 0.0
        yield "bascule_gateway_cpu_seconds_total", 'gateway="0"', 0.05 + 0.3 * wave
        yield "bascule_gateway_wait_seconds_total", 'gateway="0"', 0.01 + 0.05 * wave
        yield "bascule_gateway_restarts_total", "", 0.0
        yield "bascule_start_time_seconds", "", 0.0
        yield "bascule_sessions_lost_total", "", 0.0


@contextmanager
def serving(pod: SamplePod) -> Iterator[str]:
    """Serve a pod's metrics on loopback and yield their address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pod.exposition().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing of every scrape."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
