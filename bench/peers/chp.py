"""JupyterHub's configurable-http-proxy, on Node.

One default target, its own defaults otherwise. It writes no access log.
"""

from __future__ import annotations

import json
import shutil

from bench.peers.base import Launch, Peer, Setting, first_line
from bench.places import NODE_FOLDER


class ConfigurableHTTPProxy(Peer):
    """The proxy that JupyterHub starts unless told otherwise."""

    name = "chp"
    about = "configurable-http-proxy, one default target, its defaults (no access log)"

    def missing(self) -> str | None:
        """Node and the npm package."""
        if not shutil.which("node"):
            return "node is not installed"
        if not (NODE_FOLDER / "node_modules/.bin/configurable-http-proxy").exists():
            return "configurable-http-proxy is not installed"
        return None

    def version(self) -> str:
        """Of the package, and of Node."""
        package = json.loads((NODE_FOLDER / "node_modules/configurable-http-proxy/package.json").read_text())
        return f"configurable-http-proxy {package['version']}, Node {first_line(['node', '--version'])}"

    def launch(self, setting: Setting) -> Launch:
        """Its administrative API cannot be turned off."""
        binary = NODE_FOLDER / "node_modules/.bin/configurable-http-proxy"
        command = [str(binary), "--ip", "127.0.0.1", "--port", str(setting.port), "--api-ip", "127.0.0.1"]
        command += ["--api-port", str(setting.spare[0]), "--log-level", "warn"]
        command += ["--default-target", f"http://127.0.0.1:{setting.upstream}"]
        return Launch(command)
