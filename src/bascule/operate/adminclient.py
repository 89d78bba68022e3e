"""Asks the admin listener of a running proxy, where that proxy's configuration says it is.

Rules of this file: what goes wrong is one line that says who was asked; never a traceback. It runs beside a
proxy in its container, within the same limit of memory: hence the standard library's client.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import click

from bascule.configuration.certificate import own_context
from bascule.configuration.endpoints import SocketFile
from bascule.policy.admincalls import CSRF_FIELD, read_token
from bascule.telemetry.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bascule.configuration.config import Config

__all__ = ["AdminClient"]

_PATIENCE: Final = 10.0
"""Seconds in which something must come: longer than a proxy waits for its forwarders and other instances."""

_MOST_SAID: Final = 200
"""Characters that are shown of an answer that is not ours."""

_WHERE_THE_TOKEN_IS: Final = (
    " It is taken from the configuration (--config), or from the variable BASCULE_ADMINTOKEN."
)


class AdminClient:
    """The admin listener of one proxy.

    The token of the configuration goes along, if there is one. Over TLS only the certificate that the
    configuration names is trusted, for whatever name it is.

    Args:
        config: The configuration of that proxy.

    Raises:
        ConfigError: The token or the certificate cannot be read.
        click.ClickException: The configuration leaves the port to the kernel.
    """

    def __init__(self, config: Config) -> None:
        self._where = str(config.admin)
        self._connection = _connection(config)
        self._fields: dict[str, bytes] = {CSRF_FIELD: b"1"}
        if (token := read_token(config)) is not None:
            self._fields["Authorization"] = f"Bearer {token}".encode()  # http.client would write ISO 8859-1

    def ask(self, method: str, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Send a request, on a connection of its own, and return the JSON of its answer.

        Raises:
            click.ClickException: It cannot be reached, or answers with an error.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            self._connection.request(method, target, headers=self._fields)
            answer = self._connection.getresponse()
            body = answer.read()
        except TimeoutError as error:
            raise self._failed(f"no answer within {_PATIENCE:g} s") from error
        except (OSError, HTTPException) as error:
            raise self._failed(_why(error)) from error
        finally:
            self._connection.close()  # the next request opens another
        found = None
        with contextlib.suppress(ValueError):
            found = json.loads(body)
        if isinstance(found, dict):
            if 200 <= answer.status < 300:
                return found
            if isinstance(found.get("detail"), str):
                hint = _WHERE_THE_TOKEN_IS if answer.status == 401 else ""
                raise click.ClickException(found["detail"] + hint)
        said = printable(body.strip(), _MOST_SAID)
        raise self._failed(f"no admin listener of Bascule answers there, but HTTP {answer.status}: {said}")

    def _failed(self, why: str) -> click.ClickException:
        return click.ClickException(f"{self._where}: {why} (--config or --admin says which proxy is asked)")


def _connection(config: Config) -> HTTPConnection:
    """Return what connects with the first request."""
    context = own_context(config.admin_tls)
    if isinstance(config.admin, SocketFile):
        return _UnixConnection(config.admin.path, context)
    if not config.admin.port:
        raise click.ClickException(
            "admin: with port 0 the kernel chose the port; --admin HOST:PORT says which, "
            "and the proxy's first line in the log has it"
        )
    host = config.admin.host
    if config.admin.is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    if context is None:
        return HTTPConnection(host, config.admin.port, timeout=_PATIENCE)
    return HTTPSConnection(host, config.admin.port, timeout=_PATIENCE, context=context)


class _UnixConnection(HTTPConnection):
    """HTTP at a Unix socket, with TLS or without."""

    def __init__(self, path: str, context: ssl.SSLContext | None) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path
        self._context = context

    def connect(self) -> None:
        """Connect; raises what a socket raises."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(_PATIENCE)
        try:
            sock.connect(self._path)
            self.sock = sock if self._context is None else self._context.wrap_socket(sock)
        except BaseException:
            sock.close()
            raise


def _why(error: OSError | HTTPException) -> str:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
