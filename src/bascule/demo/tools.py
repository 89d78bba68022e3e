"""A real JupyterLab and a real Streamlit app for the demo, from virtual environments that have them.

Their home is a temporary directory: the demo neither reads nor writes the user's
own settings, and its notebooks are gone afterwards. JupyterLab asks for a token even
here: its terminals are real, and other users of this machine must not get at them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bascule.configuration.config import RouteConfig
from bascule.configuration.endpoints import Endpoint
from bascule.demo.children import HOST, end, free_port, wait_for
from bascule.errors import ConfigError
from bascule.supervisor import early
from bascule.vocabulary import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

__all__ = ["Tools", "start_tools"]

_PARTS: Final = Path("build/parts")
"""Where scripts/install-parts puts the tools, relative to the checkout."""
_STREAMLIT_MESSAGE: Final = 209_715_200
"""Streamlit's own bound on one message, in bytes."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The commands of the real tools.

    Attributes:
        jupyter: The command `jupyter`, with JupyterLab beside it.
        streamlit: The command `streamlit`.
    """

    jupyter: Path
    streamlit: Path

    @classmethod
    def find(cls) -> Tools:
        """Find the commands where `make demo-jupyter` installs them, or on the PATH.

        Raises:
            ConfigError: One of them is in neither place.
        """
        return cls(_command("jupyter"), _command("streamlit"))


def start_tools(
    stack: ExitStack, tools: Tools, home: Path, public: Endpoint, token: str
) -> tuple[RouteConfig, ...]:
    """Start both tools, wait until they answer, and return the routes to them.

    Args:
        stack: Ends the tools.
        tools: The commands.
        home: A directory for everything that the tools write.
        public: Where the proxy will listen.
        token: What JupyterLab asks for.

    Raises:
        TimeoutError: One of them did not answer; its log is in `home`.
    """
    lab, app = (Endpoint(HOST, free_port()) for _ in range(2))
    notebooks = home / "notebooks"
    notebooks.mkdir()
    _decline_news(home)
    jupyter = [
        f"--port={lab.port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.base_url=/lab/",
        f"--ServerApp.root_dir={notebooks}",
        f"--ServerApp.allow_origin=http://{public}",
        f"--IdentityProvider.token={token}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    _start(stack, [tools.jupyter, "lab", "--allow-root", "--no-browser", f"--ip={HOST}", *jupyter], home)
    script = stack.enter_context(as_file(files("bascule.demo") / "streamlit_app.py"))
    streamlit = [
        f"--server.port={app.port}",
        f"--server.address={HOST}",
        "--server.headless=true",
        "--server.baseUrlPath=/app",
        "--server.fileWatcherType=none",
        "--browser.gatherUsageStats=false",
    ]
    _start(stack, [tools.streamlit, "run", script, *streamlit], home)
    for ready in (f"http://{lab}/lab/api/status?token={token}", f"http://{app}/app/_stcore/health"):
        wait_for(ready)
    return (
        RouteConfig(name="lab", kind=Kind.JUPYTER, path="/lab/", upstream=f"http://{lab}"),
        RouteConfig(
            name="app",
            kind=Kind.APP,
            path="/app/",
            upstream=f"http://{app}",
            incoming_buffer_bytes=_STREAMLIT_MESSAGE,
        ),
    )


def _command(name: str) -> Path:
    found = shutil.which(name, path=str(_PARTS / name / "bin")) or shutil.which(name)
    if found is None:
        problem = f"--jupyter: the command {name} is neither in {_PARTS / name / 'bin'} nor on the PATH"
        raise ConfigError([f"{problem}; in a checkout, make demo-jupyter installs it"])
    return Path(found).absolute()


def _decline_news(home: Path) -> None:
    """Decline JupyterLab's news beforehand: its question would cover the demo's first notebook."""
    folder = home / "lab/user-settings/@jupyterlab/apputils-extension"
    folder.mkdir(parents=True)
    (folder / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')


def _start(stack: ExitStack, argv: Sequence[str | Path], home: Path) -> None:
    log = stack.enter_context((home / f"{os.path.basename(argv[0])}.log").open("wb"))
    settings = {"HOME": str(home), "JUPYTER_CONFIG_DIR": str(home), "JUPYTER_DATA_DIR": str(home / "data")}
    with early.held():  # without the callback, a child would outlive us
        child = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,
            env={**os.environ, **settings},
            start_new_session=True,
        )
        stack.callback(end, child)
