"""What the pool's page promises of metrics, written down from that page and not from our catalogue."""

from typing import Final

__all__ = ["CONTRACT"]

CONTRACT: Final = {
    "ws_connection_in_flight_count": "gauge",
    "ws_connection_in_flight_max_age_seconds": "gauge",
    "ws_pool_max_connections": "gauge",
    "ws_connection_rejections_total": "counter",
    "ws_upstream_connect_failures_total": "counter",
    "ws_connection_duration_seconds": "summary",
    "ws_pool_cpu_cores": "gauge",
    "ws_pool_alloc_bytes_per_second": "gauge",
}
"""Name → type."""
