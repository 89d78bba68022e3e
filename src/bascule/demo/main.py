"""``bascule demo``: Bascule with a small cap in front of an upstream to try it on, at one address.

Without tools the upstream is our own (`bascule.demo.upstream`). With them a real
JupyterLab and a real Streamlit app run behind the same proxy (`bascule.demo.tools`).

Rules of this file: everything listens on the loopback unless told otherwise; every process
started here ends with the demo; standard output gets one line, the address, and only when
that answers.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bascule.configuration.config import RouteConfig
from bascule.configuration.endpoints import Endpoint
from bascule.demo.children import HOST, check_loopback, end
from bascule.demo.tools import Tools, start_tools
from bascule.errors import ConfigError
from bascule.supervisor import early
from bascule.supervisor.main import run as supervise
from bascule.supervisor.sockets import Listeners, listen
from bascule.telemetry.linewriter import LineWriter
from bascule.vocabulary import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bascule.configuration.config import Config
    from bascule.configuration.loading import Loaded

__all__ = ["CAP", "run"]

CAP: Final = 12
"""The demo's cap: small enough to fill by hand."""
_CAP_WITH_TOOLS: Final = 24
"""The cap with tools: a JupyterLab tab with a notebook and a terminal takes three or four sessions."""
_DEAD: Final = f"http://{HOST}:1"
"""tcpmux: no process listens there, so a session to it shows what an unreachable upstream looks like."""


def run(loaded: Loaded, tools: Tools | None = None) -> int:
    """Run the demo until it is interrupted.

    Args:
        loaded: The configuration; its routes are replaced, and what it leaves at the default is chosen
            for a demo: free ports of the loopback, a cap that can be filled by hand, a quiet log.
        tools: Real tools to run behind the proxy; ``None`` for none.

    Returns:
        The exit status of the supervisor.

    Raises:
        ConfigError: The configuration cannot be used here, such as an address in use; or there is no
            loopback.
    """
    check_loopback()
    token = secrets.token_urlsafe(12)
    early.end_on_hang_up()
    with contextlib.ExitStack() as stack:
        # Bound first and kept: another process can take a port that was only looked up.
        config = _choose_settings(loaded, _CAP_WITH_TOOLS if tools else CAP)
        wanted = {field: _endpoint(config, field) for field in ("listen", "admin")}
        public, admin = (stack.enter_context(_bind(loaded, config, field)) for field in wanted)
        listen_at, admin_at = _with_port(wanted["listen"], public), _with_port(wanted["admin"], admin)
        config = config.model_copy(update={"listen": listen_at, "admin": admin_at})
        with early.held():
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bascule-demo-")))
        cap = config.websocket_proxy.max_sessions_per_app
        upstream = stack.enter_context(_own_upstream(_status_page(config), cap, tools is not None))
        tool_routes = start_tools(stack, tools, home, listen_at, token) if tools else ()
        config = config.model_copy(update={"routes": (*tool_routes, *_own_routes(upstream))})
        page = f"http://{config.listen}/" + (f"?token={token}" if tools else "")
        served = loaded.with_routes_of(config)
        return supervise(served, Listeners(public, admin), on_serving=partial(_announce, page))


def _choose_settings(loaded: Loaded, cap: int) -> Config:
    """Return the configuration with the demo's values for settings that the user has left at the default."""
    config = loaded.config
    pool, drain, log, public = config.websocket_proxy, config.drain, config.log, config.listen
    if _is_default(loaded, "websocketProxy.maxSessionsPerApp"):
        pool = pool.model_copy(update={"max_sessions_per_app": cap})
    if _is_default(loaded, "drain.timeout"):
        drain = drain.model_copy(update={"timeout": 3.0, "rate": 0})
    if _is_default(loaded, "log.level"):
        log = log.model_copy(update={"level": "warning"})
    if _is_default(loaded, "listen"):
        public = Endpoint(HOST, _endpoint(config, "listen").port)
    return config.model_copy(update={"websocket_proxy": pool, "drain": drain, "log": log, "listen": public})


def _endpoint(config: Config, field: str) -> Endpoint:
    """Return the address of a listener.

    Raises:
        ConfigError: It is a Unix socket, which no browser opens.
    """
    where = getattr(config, field)
    if isinstance(where, Endpoint):
        return where
    problem = f'{field}: found "{where}"; allowed: "host:port", which a browser can open'
    raise ConfigError([problem])


def _bind(loaded: Loaded, config: Config, field: str) -> socket.socket:
    """Listen where the configuration says; if a default address cannot be bound, listen on any port.

    Raises:
        ConfigError: An address that the user has set cannot be bound; names the field.
    """
    endpoint = _endpoint(config, field)
    try:
        return listen(config, endpoint, field)
    except ConfigError:
        if not _is_default(loaded, field):
            raise
        return listen(config, Endpoint(endpoint.host, 0), field)


def _with_port(endpoint: Endpoint, listening: socket.socket) -> Endpoint:
    return Endpoint(endpoint.host, listening.getsockname()[1])


def _is_default(loaded: Loaded, key: str) -> bool:
    return loaded.sources.get(key, "default") == "default"


def _own_routes(upstream: str) -> Iterator[RouteConfig]:
    yield RouteConfig(name="shell", kind=Kind.TERMINAL, path="/shell", upstream=upstream)
    yield RouteConfig(name="echo", kind=Kind.APP, path="/echo", upstream=upstream)
    yield RouteConfig(name="nobody", kind=Kind.APP, path="/nobody", upstream=_DEAD)
    yield RouteConfig(name="page", kind=Kind.APP, path="/", upstream=upstream)


def _status_page(config: Config) -> str:
    return f"{'http' if config.admin_tls.certificate is None else 'https'}://{config.admin}/"


@contextlib.contextmanager
def _own_upstream(admin: str, cap: int, with_tools: bool) -> Iterator[str]:
    """Run the embedded upstream and yield its address."""
    with socket.create_server((HOST, 0)) as listener:
        argv = [sys.executable, "-P", "-m", "bascule.demo.upstream", "--descriptor", str(listener.fileno())]
        argv += ["--admin", admin, "--cap", str(cap)]
        if with_tools:
            argv.append("--with-tools")
        # A process session of its own: Ctrl-C is for the supervisor, and the upstream outlives the drain.
        child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], start_new_session=True
        )
        address = f"http://{HOST}:{listener.getsockname()[1]}"
    try:
        yield address
    finally:
        end(child)


def _announce(address: str) -> None:
    # Where it cannot be written the demo runs all the same, for a user who chose the address.
    LineWriter(sys.stdout.fileno()).msg(f"\n  Bascule is up: {address}\n")
