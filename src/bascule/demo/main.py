"""``bascule demo``: Bascule with a small cap in front of something to try it on, at one address.

Without tools the upstream is our own (`bascule.demo.upstream`). With them a real
JupyterLab and a real Streamlit app run behind the same proxy (`bascule.demo.tools`).

Rules of this file: everything listens on the loopback unless told otherwise; whatever
is started here ends with it; one line on standard output, the address, and only once
it answers.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bascule.demo.children import end, free_endpoint, wait_for
from bascule.demo.tools import TOOL_PATHS, Tools, start_tools
from bascule.policy.config import RouteConfig
from bascule.policy.endpoints import Endpoint
from bascule.policy.loading import Loaded
from bascule.vocabulary import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CAP: Final = 12
"""Small enough to fill by hand."""
CAP_WITH_TOOLS: Final = 24
"""A JupyterLab tab with a notebook and a terminal takes three or four."""
_HOST: Final = "127.0.0.1"
_DEAD: Final = f"http://{_HOST}:1"
"""tcpmux: nobody listens there, so a session to it shows what an unreachable upstream looks like."""


def run(loaded: Loaded, tools: Tools | None = None) -> int:
    """Run the demo until it is interrupted.

    Args:
        loaded: The configuration; its routes are replaced, and what it leaves at the default is chosen
            for a demo: free ports of the loopback, a cap that can be filled by hand, a quiet log.
        tools: Real tools to run behind it.

    Returns:
        The exit status of the supervisor.

    Raises:
        ConfigError: The configuration cannot be used here, such as an address in use.
    """
    from bascule.supervisor.main import run as supervise

    chosen = _choose_settings(loaded, CAP_WITH_TOOLS if tools else CAP)
    public, admin, pool = chosen["listen"], chosen["admin"], chosen["websocket_proxy"]
    token = secrets.token_urlsafe(12)
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bascule-demo-")))
        paths = TOOL_PATHS if tools else ()
        upstream = stack.enter_context(_own_upstream(admin, pool.max_sessions_per_app, paths))
        tool_routes = start_tools(stack, tools, home, public, token) if tools else ()
        routes = (*tool_routes, *_own_routes(upstream))
        config = loaded.config.model_copy(update={**chosen, "routes": routes})
        address = f"http://{public}/" + (f"?token={token}" if tools else "")
        threading.Thread(target=_announce, args=(address,), daemon=True).start()
        return supervise(Loaded(config, {**loaded.sources, "routes": "flag"}))


def _choose_settings(loaded: Loaded, cap: int) -> dict[str, Any]:
    """Return what the demo sets where nobody else did."""
    config, sources = loaded.config, loaded.sources

    def is_default(key: str) -> bool:
        return sources.get(key, "default") == "default"

    pool, drain, log = config.websocket_proxy, config.drain, config.log
    if is_default("websocketProxy.maxSessionsPerApp"):
        pool = pool.model_copy(update={"max_sessions_per_app": cap})
    if is_default("drain.timeout"):
        drain = drain.model_copy(update={"timeout": 3.0, "rate": 0})
    if is_default("log.level"):
        log = log.model_copy(update={"level": "warning"})
    public = Endpoint(_HOST, 8080) if is_default("listen") else config.listen
    return {
        "listen": free_endpoint(public, any_port=is_default("listen")),
        "admin": free_endpoint(config.admin, any_port=is_default("admin")),
        "websocket_proxy": pool,
        "drain": drain,
        "log": log,
    }


def _own_routes(upstream: str) -> Iterator[RouteConfig]:
    yield RouteConfig(name="shell", kind=Kind.TERMINAL, path="/shell", upstream=upstream)
    yield RouteConfig(name="echo", kind=Kind.APP, path="/echo", upstream=upstream)
    yield RouteConfig(name="nobody", kind=Kind.APP, path="/nobody", upstream=_DEAD)
    yield RouteConfig(name="page", kind=Kind.APP, path="/", upstream=upstream)


@contextlib.contextmanager
def _own_upstream(admin: Endpoint, cap: int, tools: Sequence[str]) -> Iterator[str]:
    """Run the embedded upstream and yield its address."""
    with socket.create_server((_HOST, 0)) as listener:
        argv = [sys.executable, "-m", "bascule.demo.upstream", "--descriptor", str(listener.fileno())]
        argv += ["--admin", f"http://{admin}/", "--cap", str(cap)]
        for tool in tools:
            argv += ["--tool", tool]
        # A session of its own: Ctrl-C is for the supervisor, and the upstream outlives the drain.
        child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], start_new_session=True
        )
        address = f"http://{_HOST}:{listener.getsockname()[1]}"
    try:
        yield address
    finally:
        end(child)


def _announce(address: str) -> None:
    with contextlib.suppress(TimeoutError):
        wait_for(address)
        sys.stdout.write(f"\n  Bascule is up: {address}\n\n")
        sys.stdout.flush()
