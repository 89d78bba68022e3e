"""A real JupyterHub that starts Bascule as its proxy, with real single-user JupyterLabs behind it."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support import parts
from tests.support.browser import SocketLog
from tests.support.hubapi import HubApi
from tests.support.labpage import LOAD, open_notebook, run_and_await, write_notebook
from tests.support.processes import Service, answers, kept_ports, reserve_port
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.async_api import Browser, Page

__all__ = [
    "COMMAND",
    "SAYS",
    "TOKEN",
    "JupyterHub",
    "passed_of_its_own_tests",
    "run_jupyterhub",
    "run_jupyterhub_at_unix_sockets",
    "run_jupyterhub_behind",
    "run_jupyterhub_with_internal_ssl",
]  # fmt: skip

COMMAND: Final = Path(sys.executable).parent / "bascule"

TOKEN: Final = "the-token-of-the-hub"

SAYS: Final = "the kernel says 42"
"""What the cell of each user's first notebook prints."""

_UP_WITHIN: Final = 60.0
_SPAWNED_WITHIN: Final = 90_000.0
"""Milliseconds. A single-user JupyterLab starts in 4 s on an idle machine of two cores."""

_CONFIG: Final = """\
c = get_config()
c.JupyterHub.bind_url = "{url}/"
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
c.Spawner.port = {server_port}
"""

_ITS_OWN_PROXY: Final = """\
c.ConfigurableHTTPProxy.command = ["{command}", "chp"]
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.pid_file = "{home}/proxy.pid"
"""

_INTERNAL_SSL: Final = """\
c.JupyterHub.internal_ssl = True
c.JupyterHub.internal_certs_location = "{home}/internal-ssl"  # the name it has anyway; servers run elsewhere
"""

_OTHER_PROXIES: Final = """\
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "{api}"
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

    async def work(self, browser: Browser, user: str) -> tuple[Page, SocketLog]:
        """Sign in, and run a notebook's first cell, whose output is ``SAYS``.

        Returns:
            The page with the notebook in front, and the log of its WebSockets.
        """
        page = await (await browser.new_context()).new_page()
        page.set_default_timeout(LOAD * 1000)
        log = SocketLog(page)
        (self.home / user).mkdir(exist_ok=True)
        write_notebook(self.home / user / "sum.ipynb", 'print("the kernel says", 6 * 7)')
        await self.sign_in(page, user)
        await open_notebook(page, log, "sum.ipynb")
        await run_and_await(page, SAYS)
        return page, log

    async def stop_server(self, page: Page) -> None:
        """Press the button that stops the user's server, and wait until its route is gone."""
        await page.goto(f"{self.url}/hub/home")
        # It does nothing until its script has run, which no event of the page's loading awaits.
        await page.wait_for_function("window._jupyterhub_page_loaded")
        await page.click("#stop")
        await eventually_async(lambda: set(self.api.routes()) == {"/"}, 30, "the route is gone")


@contextlib.contextmanager
def run_jupyterhub(home: Path) -> Iterator[JupyterHub]:
    """Run a hub in an empty directory, which starts its proxy."""
    port, api_port = reserve_port(), reserve_port()
    proxy = _ITS_OWN_PROXY.format(command=COMMAND, api_port=api_port, home=home)
    with _run(home, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{api_port}", proxy, reserve_port()) as hub:
        yield hub


@contextlib.contextmanager
def run_jupyterhub_at_unix_sockets(home: Path, url: str, lines: str) -> Iterator[JupyterHub]:
    """Run a hub in an empty directory, which starts its proxy; its API is at no port that one could call.

    Args:
        home: The directory.
        url: ``http://host:port`` of what passes browsers on to the proxy's socket.
        lines: Those of the configuration that say where the sockets are.
    """
    proxy = _ITS_OWN_PROXY.format(command=COMMAND, api_port=0, home=home)
    with _run(home, url, "", proxy + lines, reserve_port()) as hub:
        yield hub


@contextlib.contextmanager
def run_jupyterhub_with_internal_ssl(home: Path, api_port: int | None = None) -> Iterator[JupyterHub]:
    """Run a hub that gives itself, its proxy and each server certificates, by which they know each other.

    Args:
        home: An empty directory. The certificates are below ``internal-ssl``.
        api_port: Where the proxy's API is to be; ``None`` for any port.
    """
    port, api_port = reserve_port(), api_port or reserve_port()
    proxy = _ITS_OWN_PROXY.format(command=COMMAND, api_port=api_port, home=home)
    proxy = proxy.replace("http://", "https://") + _INTERNAL_SSL.format(home=home)
    url, api = f"http://127.0.0.1:{port}", f"https://127.0.0.1:{api_port}"
    with _run(home, url, api, proxy, reserve_port()) as hub:
        made = home / "internal-ssl"
        context = ssl.create_default_context(cafile=str(made / "hub-ca_trust.crt"))
        own = made / "hub-internal"
        context.load_cert_chain(own / "hub-internal.crt", own / "hub-internal.key")
        yield replace(hub, api=replace(hub.api, tls=context))


@contextlib.contextmanager
def run_jupyterhub_behind(home: Path, url: str, api: str, hub_port: int) -> Iterator[JupyterHub]:
    """Run a hub in an empty directory, with proxies that run already.

    Args:
        home: The directory.
        url: ``http://host:port`` where browsers reach the proxies.
        api: The same of their API.
        hub_port: Where the proxies reach the hub.
    """
    with _run(home, url, api, _OTHER_PROXIES.format(api=api), hub_port) as hub:
        yield hub


def passed_of_its_own_tests(home: Path, *modules: str) -> int:
    """Run tests of JupyterHub's own with Bascule as its proxy, and return how many passed: all of them.

    Args:
        home: An empty directory.
        modules: Of ``jupyterhub.tests``.
    """
    command = parts.require("jupyterhub")
    (home / "configurable-http-proxy").symlink_to(COMMAND)
    try:
        done = subprocess.run(
            [
                command.parent / "python", "-m", "pytest", "--pyargs",
                *(f"jupyterhub.tests.{module}" for module in modules),
                "-q", "-rs", "--timeout=60", "-p", "no:cacheprovider", "-W", "ignore",
                "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=module",
                "-o", "asyncio_default_test_loop_scope=module",
            ],
            cwd=home,
            env={**os.environ, "PATH": f"{home}:{command.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=360,
            check=False,
        )  # fmt: skip
    finally:
        _end_what_has(str(home))
    assert done.returncode == 0, done.stdout[-4000:]
    return int(done.stdout.rpartition(" passed")[0].split()[-1])


def _end_what_has(folder: str) -> None:
    """End the processes with a folder in their environment: a hub's servers are in sessions of their own."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if folder.encode() in environment.read_bytes():
                os.kill(int(environment.parent.name), signal.SIGKILL)


@contextlib.contextmanager
def _run(home: Path, url: str, api: str, proxy: str, hub_port: int) -> Iterator[JupyterHub]:
    command = parts.require("jupyterhub")
    file = home / "jupyterhub_config.py"
    # The Hub's own choice is anybody's again until the server that it starts has read its libraries.
    with kept_ports(1) as (server_port,):
        file.write_text(
            _CONFIG.format(url=url, hub_port=hub_port, home=home, server_port=server_port) + proxy
        )
        service = Service(
            "JupyterHub",
            [command, "-f", file],
            home / "jupyterhub.log",
            cwd=home,
            env={
                "CONFIGPROXY_AUTH_TOKEN": TOKEN,
                "JUPYTER_CONFIG_DIR": str(home / "config"),
                "JUPYTER_DATA_DIR": str(home / "data"),
                "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
                "IPYTHONDIR": str(home / "ipython"),
                "PATH": f"{command.parent}:/usr/bin:/bin",  # where the single-user server is
            },
        )
        try:
            service.wait_until(lambda: answers(f"{url}/hub/login"), _UP_WITHIN)
            yield JupyterHub(url, HubApi(api, TOKEN), service, home)
        finally:
            service.stop(30)
