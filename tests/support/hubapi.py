"""What JupyterHub says to its proxy: the REST API of configurable-http-proxy.

Rules of this file: no import of `bascule`.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    import ssl

__all__ = ["HubApi"]


@dataclass(frozen=True)
class HubApi:
    """The API of one proxy.

    Attributes:
        url: ``http://host:port`` of it, or ``https://``.
        token: What opens it.
        tls: What speaks TLS to it, where it has some.
    """

    url: str
    token: str
    tls: ssl.SSLContext | None = None

    def call(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Call the API; returns the status and the body."""
        host = self.url.rpartition("/")[2]
        if self.tls is None:
            connection = http.client.HTTPConnection(host, timeout=10)
        else:
            connection = http.client.HTTPSConnection(host, timeout=10, context=self.tls)
        try:
            fields = {"Authorization": f"token {self.token}"}
            connection.request(method, path, None if body is None else json.dumps(body), fields)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def call_if_up(self, method: str, path: str) -> tuple[int, bytes] | None:
        """Do as `call` does; ``None`` while no gateway is there to answer, or it leaves and hangs up."""
        try:
            return self.call(method, path)
        except OSError:
            return None

    def add(self, routespec: str, target: str, **data: Any) -> None:
        """Add a route."""
        status, body = self.call("POST", _path(routespec), {"target": target, **data})
        assert status == 201, body

    def remove(self, routespec: str) -> int:
        """Remove a route; returns the status."""
        return self.call("DELETE", _path(routespec))[0]

    def routes(self) -> dict[str, Any]:
        """Return all routes."""
        status, body = self.call("GET", "/api/routes")
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found

    def last_activity(self, routespec: str) -> datetime:
        """Return when somebody last did something there."""
        return datetime.fromisoformat(self.routes()[routespec]["last_activity"])

    def sessions(self) -> list[dict[str, Any]]:
        """Return the live sessions."""
        status, body = self.call("GET", "/sessions")
        assert status == 200, body
        rows: list[dict[str, Any]] = json.loads(body)["sessions"]
        return rows


def _path(routespec: str) -> str:
    return "/api/routes" + quote(routespec, safe="@/~")
