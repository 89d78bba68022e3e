"""Bascule itself, compiled and pure.

One forwarder, every check on (route, origin, lease, hand-over), one log line a session.
"""

from __future__ import annotations

import json
import os
import sys

from bench.peers.base import Launch, Peer, Setting, first_line
from bench.places import ROOT


class Bascule(Peer):
    """With the compiled hot path."""

    name = "bascule"
    about = "Bascule, compiled hot path, one forwarder, log to a file"
    pure = False
    heartbeats = True

    def missing(self) -> str | None:
        """The package must be importable; the compiled one needs its extension."""
        said = self.version()
        if "bascule" not in said.lower() or "error" in said.lower():
            return f"python -m bascule --version says: {said}"
        if not self.pure and "compiled" not in said:
            return f"the compiled hot path is not built ({said})"
        return None

    def environment(self) -> dict[str, str]:
        """BASCULE_PURE=1 forces the twin; one processor, like everyone."""
        source = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
        return {"PYTHONPATH": source, "BASCULE_PURE": "1" if self.pure else ""}

    def version(self) -> str:
        """As --version says, hot path included."""
        return first_line([sys.executable, "-m", "bascule", "--version"], self.environment())

    def launch(self, setting: Setting) -> Launch:
        """Everything that is on in production stays on."""
        configuration = {
            "listen": f"127.0.0.1:{setting.port}",
            "admin": f"127.0.0.1:{setting.spare[0]}",
            "websocketProxy": {
                "maxSessionsPerApp": setting.cap,
                "heartbeatIntervalMs": setting.heartbeat_ms,
            },
            "forwarders": {"count": 1},
            "routes": [
                {
                    "name": "app",
                    "kind": "jupyter",
                    "path": "/",
                    "upstream": f"http://127.0.0.1:{setting.upstream}",
                }
            ],
            "drain": {"timeout": "1s"},
            "log": {"level": "info", "format": "json"},
        }
        path = setting.directory / "bascule.yaml"
        path.write_text(json.dumps(configuration, indent=1))  # YAML is a superset of JSON
        return Launch([sys.executable, "-m", "bascule", "serve", "--config", str(path)], self.environment())


class BasculePure(Bascule):
    """Without a compiler."""

    name = "bascule-pure"
    about = "Bascule with BASCULE_PURE=1: the hot path interpreted"
    pure = True
