"""A real nginx in front of a proxy, as an ingress is."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support import parts
from tests.support.processes import Service, answers, reserve_port

__all__ = ["run_nginx"]

_CONFIGURATION = """\
worker_processes 1; daemon off; master_process off; pid nginx.pid; error_log nginx.err warn;
events {{ worker_connections 512; }}
http {{
  access_log off; client_max_body_size 0;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream behind {{ server {behind}; {upstream} }}
  server {{
    listen {address}:{port};
    location = /nginx-is-up {{ return 200; }}
    location / {{
      proxy_pass http://behind; proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off;
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      {location}
    }}
  }}
}}
"""


@contextlib.contextmanager
def run_nginx(
    home: Path, behind: str, *, address: str = "127.0.0.1", upstream: str = "", location: str = ""
) -> Iterator[str]:
    """Run one nginx worker in front of something.

    Args:
        home: An existing directory for all its files.
        behind: ``http://host:port`` or ``unix:/path`` it passes everything to.
        address: Where it listens.
        upstream: More directives for its ``upstream`` block, such as ``keepalive 4;``.
        location: More directives for its ``location``, such as ``proxy_read_timeout 5s;``.

    Yields:
        ``http://host:port`` of nginx.
    """
    command = parts.require("nginx")
    port = reserve_port()
    configuration = home / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            behind=behind.removeprefix("http://"),
            address=address,
            port=port,
            upstream=upstream,
            location=location,
        )
    )
    service = Service("nginx", [command, "-p", f"{home}/", "-c", configuration], home / "nginx.log", cwd=home)
    try:
        service.wait_until(lambda: answers(f"http://{address}:{port}/nginx-is-up"), 15.0)
        yield f"http://{address}:{port}"
    finally:
        service.stop()
