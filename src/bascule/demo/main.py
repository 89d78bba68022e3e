"""``bascule demo``: Bascule with a small cap in front of something to try it on, at one address.

Without tools the upstream is our own (`bascule.demo.upstream`). With them a real
JupyterLab and a real Streamlit app run behind the same proxy, from the virtual
environments that are named.

Rules of this file: everything listens on 127.0.0.1; whatever is started here ends
with it; one line on standard output, the address, and only once it answers.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bascule.policy.config import Config, Drain, Log, RouteConfig, WebSocketProxy
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
_UP_WITHIN: Final = 60.0
_DOWN_WITHIN: Final = 5.0
_DEAD_PORT: Final = 1
"""tcpmux: nobody listens there, so a session to it shows what an unreachable upstream looks like."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Real tools to put behind the demo.

    Attributes:
        jupyter: Virtual environment with JupyterLab.
        streamlit: Virtual environment with Streamlit.
    """

    jupyter: Path
    streamlit: Path


def run(port: int = 8080, *, cap: int | None = None, tools: Tools | None = None) -> int:
    """Run the demo until it is interrupted.

    Args:
        port: Where the page is; 0 lets the kernel choose.
        cap: `maxSessionsPerApp`; ``None`` is small enough to fill by hand.
        tools: Real tools to run behind it.

    Returns:
        The exit status of the supervisor; 1 when the port is taken.
    """
    from bascule.supervisor.main import run as supervise

    try:
        public, admin = _choose(port), _choose(0, reserve=True)
    except OSError:
        return 1
    chosen_cap = cap or (CAP_WITH_TOOLS if tools else CAP)
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bascule-demo-")))
        upstream = stack.enter_context(_own_upstream(admin, chosen_cap, ("/lab/", "/app/") if tools else ()))
        routes = [*_tool_routes(stack, tools, home, public)] if tools else []
        config = Config(
            listen=Endpoint(_HOST, public),
            admin=Endpoint(_HOST, admin),
            websocketProxy=WebSocketProxy(max_sessions_per_app=chosen_cap),
            routes=(*routes, *_own_routes(upstream)),
            log=Log(level="warning"),
            drain=Drain(timeout=3.0, rate=0),
        )
        address = f"http://{_HOST}:{public}/"
        threading.Thread(target=_announce, args=(address,), daemon=True).start()
        return supervise(Loaded(config, dict.fromkeys(_SET_BY_US, "flag")))


_SET_BY_US: Final = (
    "listen",
    "admin",
    "websocketProxy.maxSessionsPerApp",
    "routes",
    "log.level",
    "drain.timeout",
    "drain.rate",
)


def _own_routes(upstream: str) -> Iterator[RouteConfig]:
    yield RouteConfig(name="shell", kind=Kind.TERMINAL, path="/shell", upstream=upstream)
    yield RouteConfig(name="echo", kind=Kind.APP, path="/echo", upstream=upstream)
    yield RouteConfig(name="nobody", kind=Kind.APP, path="/nobody", upstream=f"http://{_HOST}:{_DEAD_PORT}")
    yield RouteConfig(name="page", kind=Kind.APP, path="/", upstream=upstream)


@contextlib.contextmanager
def _own_upstream(admin: int, cap: int, tools: Sequence[str]) -> Iterator[str]:
    """Run the embedded upstream and yield its address."""
    with socket.create_server((_HOST, 0)) as listener:
        argv = [sys.executable, "-m", "bascule.demo.upstream", "--descriptor", str(listener.fileno())]
        argv += ["--admin", f"http://{_HOST}:{admin}/", "--cap", str(cap)]
        for tool in tools:
            argv += ["--tool", tool]
        child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], start_new_session=True
        )
        address = f"http://{_HOST}:{listener.getsockname()[1]}"
    try:
        yield address
    finally:
        _end(child)


def _tool_routes(stack: contextlib.ExitStack, tools: Tools, home: Path, public: int) -> Iterator[RouteConfig]:
    """Start the real tools and yield the routes to them."""
    lab, app = _choose(0, reserve=True), _choose(0, reserve=True)
    notebooks = home / "notebooks"
    notebooks.mkdir()
    origin = f"http://{_HOST}:{public}"
    _start(
        stack,
        [
            *(
                tools.jupyter / "bin/jupyter",
                "lab",
                "--no-browser",
                f"--ip={_HOST}",
                f"--port={lab}",
                "--allow-root",
            ),
            *(
                "--ServerApp.base_url=/lab/",
                "--ServerApp.port_retries=0",
                f"--ServerApp.root_dir={notebooks}",
            ),
            # The proxy is on the loopback and the server behind it; a token would only be in the way of a demo.
            *("--IdentityProvider.token=", f"--ServerApp.allow_origin={origin}", "--LabApp.news_url=None"),
        ],
        home,
    )
    script = stack.enter_context(as_file(files("bascule.demo") / "streamlit_app.py"))
    _start(
        stack,
        [
            *(
                tools.streamlit / "bin/streamlit",
                "run",
                script,
                f"--server.port={app}",
                f"--server.address={_HOST}",
            ),
            *("--server.headless=true", "--server.baseUrlPath=/app", "--browser.gatherUsageStats=false"),
            "--server.fileWatcherType=none",
        ],
        home,
    )
    yield RouteConfig(name="lab", kind=Kind.JUPYTER, path="/lab/", upstream=f"http://{_HOST}:{lab}")
    yield RouteConfig(
        name="app",
        kind=Kind.APP,
        path="/app/",
        upstream=f"http://{_HOST}:{app}",
        incoming_buffer_bytes=209715200,
    )
    for ready in (f"http://{_HOST}:{lab}/lab/api/status", f"http://{_HOST}:{app}/app/_stcore/health"):
        _wait_for(ready)


def _start(stack: contextlib.ExitStack, argv: Sequence[str | Path], home: Path) -> None:
    log = stack.enter_context((home / f"{Path(argv[0]).name}.log").open("wb"))
    # A home of its own: the demo neither reads nor writes the person's own settings.
    settings = {"HOME": str(home), "JUPYTER_CONFIG_DIR": str(home), "JUPYTER_DATA_DIR": str(home / "data")}
    child = subprocess.Popen(
        [str(word) for word in argv],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=home,
        env={**os.environ, **settings},
        start_new_session=True,
    )
    stack.callback(_end, child)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        child.stdin.close()
    child.terminate()
    try:
        child.wait(_DOWN_WITHIN)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _choose(port: int, *, reserve: bool = False) -> int:
    """Check that a port of the loopback is free, or let the kernel choose one.

    Args:
        port: The port; 0 for any.
        reserve: Leave it in TIME_WAIT, so that the kernel gives it to nobody else before it is bound.

    Raises:
        OSError: It is taken.
    """
    with socket.create_server((_HOST, port)) as listener:
        chosen: int = listener.getsockname()[1]
        if reserve or port == 0:
            with socket.create_connection((_HOST, chosen)):
                served, _ = listener.accept()
                served.close()
        return chosen


def _wait_for(address: str) -> None:
    end = time.monotonic() + _UP_WITHIN
    while not _answers(address):
        if time.monotonic() > end:
            raise TimeoutError(f"{address} did not answer within {_UP_WITHIN:g} s")
        time.sleep(0.1)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _announce(address: str) -> None:
    with contextlib.suppress(TimeoutError):
        _wait_for(address)
