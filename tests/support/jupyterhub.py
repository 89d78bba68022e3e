"""A real JupyterHub that starts Bascule as its proxy, with real single-user JupyterLabs behind it."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support import parts
from tests.support.hubapi import HubApi
from tests.support.processes import Service, answers, reserve_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.async_api import Page

__all__ = ["COMMAND", "JupyterHub", "run_jupyterhub"]

COMMAND: Final = Path(sys.executable).parent / "bascule"

_TOKEN: Final = "the-token-of-the-hub"
_UP_WITHIN: Final = 60.0
_SPAWNED_WITHIN: Final = 90_000.0
"""Milliseconds. A single-user JupyterLab starts in 4 s on an idle machine of two cores."""

_CONFIG: Final = """\
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}/"
c.JupyterHub.hub_port = {hub_port}
c.JupyterHub.db_url = "sqlite:///{home}/hub.sqlite"
c.JupyterHub.cookie_secret = b"0" * 32
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.spawner_class = "simple"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {{"admin"}}
c.SimpleLocalProcessSpawner.home_dir_template = "{home}/{{username}}"
c.Spawner.args = ["--allow-root"]
c.Spawner.default_url = "/lab"
c.Spawner.poll_interval = 3600
c.ConfigurableHTTPProxy.command = ["{command}", "chp"]
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.pid_file = "{home}/proxy.pid"
"""


@dataclass(frozen=True)
class JupyterHub:
    """A running hub.

    Attributes:
        url: ``http://host:port`` of its proxy, for browsers.
        api: Of the proxy.
        process: The hub's; the proxy is its child.
        home: A directory with one home for each user.
    """

    url: str
    api: HubApi
    process: Service
    home: Path

    @property
    def proxy(self) -> int:
        """The process id of the proxy's supervisor."""
        return int((self.home / "proxy.pid").read_text())

    def single_user_server(self) -> int:
        """Return the process id of the one server that runs."""
        hub = self.process.pid
        pids = Path(f"/proc/{hub}/task/{hub}/children").read_text().split()
        (server,) = [pid for pid in pids if b"singleuser" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return int(server)

    async def sign_in(self, page: Page, user: str) -> None:
        """Sign in as anybody; that person's JupyterLab is open when this returns."""
        (self.home / user).mkdir(exist_ok=True)
        await page.goto(f"{self.url}/hub/login?next=%2Fhub%2Fspawn")
        await page.fill("#username_input", user)
        await page.fill("#password_input", "any")
        await page.click("#login_submit")
        await page.wait_for_selector("#jp-main-dock-panel", timeout=_SPAWNED_WITHIN)


@contextlib.contextmanager
def run_jupyterhub(home: Path) -> Iterator[JupyterHub]:
    """Run a hub in an empty directory."""
    command = parts.require("jupyterhub")
    port, hub_port, api_port = (reserve_port() for _ in range(3))
    file = home / "jupyterhub_config.py"
    file.write_text(
        _CONFIG.format(port=port, hub_port=hub_port, api_port=api_port, home=home, command=COMMAND)
    )
    service = Service(
        "JupyterHub",
        [command, "-f", file],
        home / "jupyterhub.log",
        cwd=home,
        env={
            "CONFIGPROXY_AUTH_TOKEN": _TOKEN,
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "IPYTHONDIR": str(home / "ipython"),
            "PATH": f"{command.parent}:/usr/bin:/bin",  # where the single-user server is
        },
    )
    url = f"http://127.0.0.1:{port}"
    try:
        service.wait_until(lambda: answers(f"{url}/hub/login"), _UP_WITHIN)
        yield JupyterHub(url, HubApi(f"http://127.0.0.1:{api_port}", _TOKEN), service, home)
    finally:
        service.stop(30)
