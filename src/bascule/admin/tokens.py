"""Who may call the admin listener.

Rules of this file, in the order they are applied:

1. **Rebinding.** On a loopback listener the Host must name the loopback. A page on
   the internet can point its own name at 127.0.0.1, but it cannot choose the Host.
   At a Unix socket, which counts as one, it need not with the right token: JupyterHub
   says the socket's path. Without a token the rule keeps a proxy in front from opening
   to everybody what only this host's users may.
2. **Foreign pages.** A request that a browser says comes from another site is refused,
   whatever the method.
3. **Token.** If a token is configured, or the listener is not loopback, everything but the
   open paths (`_is_open`) needs ``Authorization: Bearer``. A listener that needs a token and has
   none answers only those paths. JupyterHub writes ``token`` for ``Bearer``; on the path of its
   routes it gets 403, as from configurable-http-proxy, not 401.
4. **CSRF.** A call that changes something needs a bearer token or the field
   ``X-Bascule-Admin``: a plain form of a foreign page can send neither.

The open paths are `_OPEN_PATHS`, which probes and scrapers read; the capacity of this instance,
which `/metrics` tells anyway; and the files of the status page, which carry no data.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from aiohttp import web

from bascule.admin.hubapi import PATH as HUB_PATH
from bascule.admin.problem import Problem
from bascule.configuration.endpoints import Endpoint, SocketFile
from bascule.policy.admincalls import CSRF_FIELD

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware


__all__ = ["CAPACITY_PATHS", "guard"]

_OPEN_PATHS: Final = frozenset({"/", "/metrics", "/healthz", "/readyz", "/openapi.json"})
CAPACITY_PATHS: Final = ("/capacity", "/api/capacity")
"""The latter is that of the public listener."""
_SCHEMES: Final = frozenset({"bearer", "token"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def guard(listener: Endpoint | SocketFile, token: str | None) -> Middleware:
    """Build the middleware that applies the rules above.

    Args:
        listener: Where the admin listener is bound.
        token: The bearer token; ``None`` if there is none.
    """
    loopback = listener.is_loopback
    is_unix = isinstance(listener, SocketFile)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        bearer = _bearer(request)
        known = token is not None and bearer is not None and _same(bearer, token)
        # JupyterHub names a Unix socket by its path.
        by_any_name = not loopback or (is_unix and known)
        if not by_any_name and not Endpoint(_host_without_port(request.host), 0).is_loopback:
            raise Problem(421, "This listener answers only to names of the loopback address.")
        if request.headers.get("Sec-Fetch-Site") == "cross-site" and request.path != "/":
            raise Problem(403, "Pages from other sites may not call the admin listener.")
        if request.match_info.http_exception is not None:
            return await handler(request)  # no call has this path: the 404 or 405 tells nothing
        if token is not None and bearer is not None and not known:
            raise _unauthorized(request, "The bearer token is wrong.")
        if not known and not _is_open(request):
            if token is not None:
                raise _unauthorized(request, "This call needs the admin token as a bearer token.")
            if not loopback:
                raise Problem(
                    403, "The admin listener is not on the loopback, so this call needs adminToken to be set."
                )
        if request.method not in _SAFE_METHODS and not known and CSRF_FIELD not in request.headers:
            raise Problem(
                403, f"A call that changes something needs a bearer token or the field {CSRF_FIELD}."
            )
        return await handler(request)

    return check


def _is_open(request: web.Request) -> bool:
    if request.path in _OPEN_PATHS or request.path.startswith("/static/"):
        return True
    return request.path in CAPACITY_PATHS and request.query.get("scope") == "instance"


def _bearer(request: web.Request) -> str | None:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() in _SCHEMES and value.strip() else None


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


def _unauthorized(request: web.Request, detail: str) -> Problem:
    if request.path == HUB_PATH or request.path.startswith(HUB_PATH + "/"):
        return Problem(403, detail)
    return Problem(401, detail, fields={"WWW-Authenticate": 'Bearer realm="bascule admin"'})


def _host_without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and ":" in host else host
