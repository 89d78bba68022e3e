"""HAProxy, as its manual advises for WebSockets: a long ``timeout tunnel``; with and without splicing.

``option splice-auto`` lets the kernel move bytes from socket to socket without a copy when the proxy thinks
it pays.
"""

from __future__ import annotations

import shutil

from bench.peers.base import Launch, Peer, Setting, first_line

CONFIGURATION = """\
global
  maxconn 9000                   # two descriptors each, within 20,000
  nbthread 1                     # one core each
  log stdout format raw local0
{global_more}
defaults
  mode http
  log global
  option httplog                 # one line a request or session
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h              # takes over once the connection is upgraded
  timeout http-keep-alive 1m
  http-reuse safe
{more}
frontend in
  bind 127.0.0.1:{port} backlog 4096
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  default_backend app
backend app
  server app 127.0.0.1:{upstream}
"""


class HAProxy(Peer):
    """Copying through its 16 KiB buffers."""

    name = "haproxy"
    about = "HAProxy, one thread, tunnel time-out of an hour, default buffers, no splicing"
    more = ""
    global_more = "  nosplice"

    def missing(self) -> str | None:
        """The package haproxy."""
        return None if self.binary() else "haproxy is not installed"

    def binary(self) -> str | None:
        """Debian keeps it in /usr/sbin."""
        return shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")

    def version(self) -> str:
        """As -v says."""
        return first_line([self.binary() or "haproxy", "-v"])

    def launch(self, setting: Setting) -> Launch:
        """-db keeps it in the foreground."""
        path = setting.directory / "haproxy.cfg"
        path.write_text(
            CONFIGURATION.format(
                port=setting.port, upstream=setting.upstream, more=self.more, global_more=self.global_more
            )
        )
        return Launch([self.binary() or "haproxy", "-db", "-f", str(path)])


class HAProxySplice(HAProxy):
    """Bytes pass inside the kernel when it decides so."""

    name = "haproxy-splice"
    about = "the same with option splice-auto"
    more = "  option splice-auto"
    global_more = "  maxpipes 500"  # two descriptors each, too
