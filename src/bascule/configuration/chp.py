"""What the arguments of configurable-http-proxy mean in our configuration.

JupyterHub starts its proxy with them, and its chart does. Each is one of three things: it sets a
key; it is refused, since what it asks for is not done here; or it is a default that is
different because of whose place we take: those are `defaults`.

Rules of this file: pure; what is refused says what to do instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.configuration.endpoints import SocketFile, host_port
from bascule.configuration.socketpath import UNIX_PEER
from bascule.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = [
    "DEFAULTS",
    "LOG_LEVELS",
    "SWITCHES",
    "TOKEN_VARIABLE",
    "UNSUPPORTED",
    "Where",
    "arguments",
    "defaults",
    "overrides",
]

TOKEN_VARIABLE: Final = "CONFIGPROXY_AUTH_TOKEN"
"""Where JupyterHub leaves the token for its proxy."""

LOG_LEVELS: Final = {"debug": "debug", "info": "info", "warn": "warning", "error": "error"}
"""Level as it is said there → as it is said here."""

_PORT: Final = 8000
_API_PORT: Final = 8001
"""Without any port the API is one above; JupyterHub and its chart say both."""
_LAST_PORT: Final = 65535
_API_IP: Final = "localhost"

DEFAULTS: Final[dict[str, object]] = {
    # JupyterHub replaces its proxy as it starts, at the same ports, and does not wait.
    "drain.timeout": 5.0,
    "drain.rate": 0,
    # The proxy it knows believes every one of these fields, and JupyterHub needs the scheme that they tell.
    "trustedProxies": ["0.0.0.0/0", "::/0", UNIX_PEER],
}
"""Keys whose defaults are not ours, and do not hang on an argument."""

_METRICS: Final = "the metrics are at /metrics on the API's port"
_CIPHERS: Final = "TLS settings are the defaults of the system's OpenSSL"

UNSUPPORTED: Final = {
    "ssl-protocol": _CIPHERS,
    "ssl-ciphers": _CIPHERS,
    "ssl-allow-rc4": _CIPHERS,
    "ssl-dhparam": _CIPHERS,
    "error-path": "error pages come from --error-target, or are built in",
    "pid-file": "the process that was started is the supervisor",
    "no-x-forward": "X-Forwarded fields are always sent: without them the client is unknown",
    "auto-rewrite": "responses of upstreams are not changed",
    "change-origin": "the Host field is not changed",
    "protocol-rewrite": "responses of upstreams are not changed",
    "custom-header": "no fields are added",
    "metrics-ip": _METRICS,
    "metrics-port": _METRICS,
    "metrics-socket": _METRICS,
    "timeout": "see limits.handshakeTimeout; a request under way has no time-out",
    "proxy-timeout": "see limits.httpUpstreamTimeout",
    "keep-alive-timeout": "idle connections are closed after 75 s",
    "storage-backend": "routes are kept in memory, and outlive the gateway",
}
"""Argument → what there is instead."""

SWITCHES: Final = frozenset({"ssl-allow-rc4", "no-x-forward", "auto-rewrite", "change-origin"})
"""Those of them that have no value."""

_SET_BY_SWITCH: Final[dict[str, tuple[str, object]]] = {
    "host-routing": ("hub.hostRouting", True),
    "no-include-prefix": ("hub.includePrefix", False),
    "no-prepend-path": ("hub.prependPath", False),
    "insecure": ("upstreamTls.verify", False),
}
"""Switch → the key that it sets, and to what. A switch not given says nothing: a file or a variable may."""

_CALLERS: Final = {"ssl": "tls.clientCa", "api-ssl": "adminTls.clientCa"}
"""What the arguments of a listener begin with → the key of the CAs of its callers."""


def defaults(*, everywhere: str, port: int | None) -> dict[str, object]:
    """Return what a file, a variable and an argument win over: dotted key → value.

    Args:
        everywhere: The address that stands for all.
        port: Public port, ``None`` unless an argument says it.
    """
    return {
        "listen": host_port(everywhere, _PORT),
        "admin": host_port(_API_IP, _api_port(port)),
        **DEFAULTS,
    }


class Where(NamedTuple):
    """Where to listen, as the arguments say; ``None`` for what they do not.

    Attributes:
        ip: Address; empty and ``*`` mean all.
        port: Port.
        socket: Path of a Unix socket, absolute, instead of both.
    """

    ip: str | None = None
    port: int | None = None
    socket: str | None = None


def arguments(public: Where, api: Where) -> dict[str, str]:
    """Return what an error has to name, since it is what the user wrote: dotted key → argument.

    Args:
        public: Where browsers connect.
        api: Where JupyterHub asks.
    """
    places = (("listen", "", public), ("admin", "api-", api))
    said = {
        key: ", ".join(f"--{prefix}{name}" for name, value in where._asdict().items() if value is not None)
        for key, prefix, where in places
    }
    switches = {key: f"--{name}" for name, (key, _) in _SET_BY_SWITCH.items()}
    return {
        **{key: names for key, names in said.items() if names},
        **switches,
        "tls.redirectFrom": "--redirect-port",
        "adminToken": TOKEN_VARIABLE,
    }


def overrides(
    *,
    everywhere: str,
    public: Where,
    api: Where,
    redirect_port: int | None,
    values: Mapping[str, object],
    switches: Collection[str],
    environ: Mapping[str, str],
    unsupported: Mapping[str, object],
) -> dict[str, object]:
    """Return what the arguments set: dotted key → value.

    Args:
        everywhere: The address that stands for all.
        public: Where browsers connect.
        api: Where JupyterHub asks.
        redirect_port: Where plain HTTP is told to come by https, at the public address; ``None`` for nowhere.
        values: Key → what its argument says; ``None`` if it was not given.
        switches: Which arguments without a value were given.
        environ: Where the token is.
        unsupported: Argument of `UNSUPPORTED` → what was said.

    Raises:
        ConfigError: There is no token, an argument cannot be heeded, or one is missing; names each.
    """
    problems = [f"--{name}: not supported: {UNSUPPORTED[name]}" for name in unsupported]
    if not (token := environ.get(TOKEN_VARIABLE, "").strip()):
        problems.append(f"{TOKEN_VARIABLE}: found nothing; allowed: the API token in this variable")
    problems += _about_callers(values, switches)
    problems += (*_about_place("", public), *_about_place("api-", api))
    problems += _about_port("redirect-port", redirect_port)
    if public.port == _LAST_PORT and api.port is None and api.socket is None:
        problems.append(
            f"--api-port: found nothing; allowed: a port, for none is one above --port {public.port}"
        )
    if problems:
        raise ConfigError(problems)
    said: dict[str, object] = {
        "adminToken": token,
        "hub.enabled": True,
        "listen": _place(public, everywhere, "", _PORT),
        "admin": _place(api, everywhere, _API_IP, _api_port(public.port)),
        **values,
    }
    if redirect_port is not None:
        said["tls.redirectFrom"] = _endpoint(public.ip or "", everywhere, redirect_port)
    said.update(_SET_BY_SWITCH[name] for name in switches if name in _SET_BY_SWITCH)
    return {key: value for key, value in said.items() if value is not None}


def _about_place(prefix: str, where: Where) -> Iterator[str]:
    """Yield a problem for each argument that cannot be, or contradicts the one for a Unix socket."""
    if where.socket is not None:
        for name, value in (("ip", where.ip), ("port", where.port)):
            if value is not None:
                other = f"--{prefix}{name}"
                yield f"--{prefix}socket: cannot be used with {other}; one of them says where to listen"
        if not where.socket:
            yield f'--{prefix}socket: found ""; allowed: the path of a Unix socket'
    yield from _about_port(f"{prefix}port", where.port)


def _about_port(name: str, port: int | None) -> Iterator[str]:
    """Yield a problem for a number that is no port; the key it would set says what was never written."""
    if port is not None and not 0 <= port <= _LAST_PORT:
        yield f"--{name}: found {port}; allowed: a port, 0 to {_LAST_PORT}"


def _place(where: Where, everywhere: str, ip: str, port: int) -> str | None:
    """Return where a listener is; ``None`` if no argument says anything of it.

    Args:
        where: What the arguments say.
        everywhere: The address that stands for all.
        ip: Its address where only the port was said.
        port: Its port where only the address was said.
    """
    if where.socket is not None:
        return str(SocketFile(where.socket))
    if where.ip is None and where.port is None:
        return None
    ip = ip if where.ip is None else where.ip
    port = port if where.port is None else where.port
    return _endpoint(ip, everywhere, port)


def _about_callers(values: Mapping[str, object], switches: Collection[str]) -> Iterator[str]:
    """Yield a problem for each contradiction among the arguments by which certificates are asked for.

    The proxy we replace takes them one by one; yet without ``request-cert`` it asks nobody for a certificate,
    and with it it refuses whoever has none, whatever else is said.
    """
    why = "which asks for certificates"
    for prefix, key in _CALLERS.items():
        ca, asks = values.get(key) is not None, f"{prefix}-request-cert" in switches
        if ca and not asks:
            where = f"intermediate certificates belong into the file of --{prefix}-cert"
            yield f"--{prefix}-ca: needs --{prefix}-request-cert, {why}; {where}"
        if asks and not ca:
            yield f"--{prefix}-request-cert: needs --{prefix}-ca, by which certificates are checked"
        if f"{prefix}-reject-unauthorized" in switches and not asks:
            yield f"--{prefix}-reject-unauthorized: needs --{prefix}-request-cert, {why}"


def _api_port(port: int | None) -> int:
    """Return the API's port where no argument says it: one above; with 0, any free port, 0 as well."""
    if port is None or not 0 <= port < _LAST_PORT:  # none is above: told in `overrides`
        return _API_PORT
    return port + 1 if port else 0


def _endpoint(ip: str, everywhere: str, port: int) -> str:
    return host_port(everywhere if ip in ("", "*") else ip.strip("[]"), port)
