"""`bascule chp`: the proxy of JupyterHub, with the arguments of configurable-http-proxy.

Rules of this file: the same as in `bascule.cli`. `bascule.configuration.chp` decides what an argument means.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bascule.configuration.chp import LOG_LEVELS, SWITCHES, UNSUPPORTED, Where, arguments, defaults, overrides
from bascule.options import config_option
from bascule.output import Command

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.configuration.loading import Loaded

__all__ = ["chp"]

_KEYS: Final = {
    "ssl_key": "tls.key",
    "ssl_cert": "tls.certificate",
    "ssl_ca": "tls.clientCa",
    "api_ssl_key": "adminTls.key",
    "api_ssl_cert": "adminTls.certificate",
    "api_ssl_ca": "adminTls.clientCa",
    "client_ssl_key": "upstreamTls.key",
    "client_ssl_cert": "upstreamTls.certificate",
    "client_ssl_ca": "upstreamTls.ca",
    "default_target": "hub.defaultTarget",
    "error_target": "hub.errorTarget",
    "redirect_to": "tls.redirectPort",
}
"""Argument → the configuration key that gets its value unchanged."""

_ARGUMENTS: Final = {
    "log.level": "--log-level",
    **{key: f"--{name.replace('_', '-')}" for name, key in _KEYS.items()},
}
"""Key → its argument, as a problem names it."""

_SWITCHES: Final = (
    "ssl_request_cert", "ssl_reject_unauthorized", "api_ssl_request_cert", "api_ssl_reject_unauthorized",
    "insecure", "host_routing", "no_include_prefix", "no_prepend_path",
)  # fmt: skip
"""Arguments without a value."""

_AS_ALWAYS: Final = ("client_ssl_request_cert", "client_ssl_reject_unauthorized")
"""Arguments that ask for what is always done."""

_PATIENCE: Final = 8.0
"""Seconds to wait for our ports while a former proxy still ends its sessions, within 5 s (`drain.timeout`).
JupyterHub tells the former proxy to stop, does not wait for its end, and gives the next one 10 s to start."""


def _unsupported(command: Callable[..., Any]) -> Callable[..., Any]:
    """Accept the arguments that we do not support, so that the error can say what to do instead."""
    for name in UNSUPPORTED:
        command = click.option(f"--{name}", is_flag=name in SWITCHES, default=None, hidden=True)(command)
    return command


def _everywhere() -> str:
    """Return the address that means all: ``::`` where the kernel has IPv6, since it takes IPv4 as well."""
    return "::" if Path("/proc/net/if_inet6").exists() else "0.0.0.0"


def _absolute(path: str | None) -> str | None:
    """Return a path that means the same wherever it is read; an empty one, which is refused, as it is."""
    return str(Path.cwd() / path) if path else path


@click.command(cls=Command)
@click.option("--ip", metavar="IP", help="Public address; all addresses by default.")
@click.option("--port", type=int, metavar="N", help="Public port, 8000 by default.")
@click.option("--socket", metavar="PATH", help="Unix socket instead of both.")
@click.option("--ssl-key", metavar="FILE", help="Private key of the public listener.")
@click.option("--ssl-cert", metavar="FILE", help="Certificate for that key.")
@click.option("--ssl-ca", metavar="FILE", help="CAs of browsers' certificates, with --ssl-request-cert.")
@click.option("--ssl-request-cert", is_flag=True, help="Require a certificate of each browser.")
@click.option("--ssl-reject-unauthorized", is_flag=True, help="The same, with --ssl-request-cert.")
@click.option("--api-ip", metavar="IP", help="Address of the API and of /metrics, localhost by default.")
@click.option("--api-port", type=int, metavar="N", help="Port of the API: --port plus one, or 8001.")
@click.option("--api-socket", metavar="PATH", help="Unix socket of the API instead of both.")
@click.option("--api-ssl-key", metavar="FILE", help="Private key of the API.")
@click.option("--api-ssl-cert", metavar="FILE", help="Certificate for that key.")
@click.option("--api-ssl-ca", metavar="FILE", help="CAs of its callers, with --api-ssl-request-cert.")
@click.option("--api-ssl-request-cert", is_flag=True, help="Require a certificate of the API's callers.")
@click.option("--api-ssl-reject-unauthorized", is_flag=True, help="The same, with --api-ssl-request-cert.")
@click.option("--client-ssl-key", metavar="FILE", help="Private key of the certificate for https targets.")
@click.option("--client-ssl-cert", metavar="FILE", help="Certificate to show to https targets.")
@click.option("--client-ssl-ca", metavar="FILE", help="CAs of https targets, instead of the system's.")
@click.option("--client-ssl-request-cert", is_flag=True, help="Check the targets' certificates; always on.")
@click.option("--client-ssl-reject-unauthorized", is_flag=True, help="The same.")
@click.option("--insecure", is_flag=True, help="Do not check the certificates of https targets.")
@click.option("--redirect-port", type=int, metavar="N", help="Port that redirects http to https, at --ip.")
@click.option(
    "--redirect-to", type=int, metavar="N", help="Port named in the redirect, the public one by default."
)
@click.option("--default-target", metavar="URL", help="Where requests that match no route go.")
@click.option("--error-target", metavar="URL", help="Server that supplies the error pages.")
@click.option("--host-routing", is_flag=True, help="Routes begin with a host.")
@click.option("--no-include-prefix", is_flag=True, help="Strip a route's path before forwarding.")
@click.option("--no-prepend-path", is_flag=True, help="Do not prepend the path of a route's target.")
@click.option(
    "--log-level",
    type=click.Choice(tuple(LOG_LEVELS), case_sensitive=False),
    help="Lowest level that is logged.",
)
@config_option("Configuration file, for whatever no argument sets.")
@_unsupported
def chp(
    files: tuple[Path, ...], ip: str | None, port: int | None, socket: str | None, api_ip: str | None,
    api_port: int | None, api_socket: str | None, redirect_port: int | None, log_level: str | None,
    **more: Any,
) -> None:  # fmt: skip
    """Run as JupyterHub's proxy, replacing configurable-http-proxy.

    \b
    c.ConfigurableHTTPProxy.command = ["bascule", "chp"]

    The API token is taken from CONFIGPROXY_AUTH_TOKEN, which JupyterHub sets.
    """  # noqa: D301 - a real backspace is click's mark for lines that stay lines
    from bascule.configuration.loading import load
    from bascule.supervisor.main import run

    values = {key: more.pop(name) for name, key in _KEYS.items()}
    switches = {name.replace("_", "-") for name in _SWITCHES if more.pop(name)}
    for name in _AS_ALWAYS:
        del more[name]
    values["log.level"] = None if log_level is None else LOG_LEVELS[log_level]
    said = {name.replace("_", "-"): value for name, value in more.items() if value is not None}

    def again() -> Loaded:
        everywhere = _everywhere()
        public, api = Where(ip, port, _absolute(socket)), Where(api_ip, api_port, _absolute(api_socket))
        given = overrides(
            everywhere=everywhere, public=public, api=api, redirect_port=redirect_port, values=values,
            switches=switches, environ=os.environ, unsupported=said,
        )  # fmt: skip
        otherwise = defaults(everywhere=everywhere, port=port)
        return load(files, os.environ, given, otherwise, {**_ARGUMENTS, **arguments(public, api)})

    sys.exit(run(again(), load=again, patience=_PATIENCE))
