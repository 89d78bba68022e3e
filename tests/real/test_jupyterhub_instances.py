"""One JupyterHub with two Bascules, behind an nginx that gives each request, and each call, to either."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.hubapi import HubApi
from tests.support.jupyterhub import SAYS, TOKEN, run_jupyterhub_behind
from tests.support.labpage import output_of, run_and_await
from tests.support.nginx import run_nginx
from tests.support.processes import reserve_port
from tests.support.waiting import eventually, eventually_async

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.async_api import Browser, Page

pytestmark = [pytest.mark.real, pytest.mark.timeout(420)]


class Proxies:
    """Two instances, each of which can be ended and started again.

    Attributes:
        public: Where browsers reach both.
        api: Where the Hub does.
    """

    def __init__(self, home: Path, life: contextlib.ExitStack) -> None:
        self._home = home
        self._life = life
        self._ports = [(reserve_port(), reserve_port()) for _ in range(2)]
        self._running: list[contextlib.ExitStack] = [contextlib.ExitStack() for _ in range(2)]
        for number in range(2):
            self.start(number)
        self.public, self.api = (self._either(kind) for kind in range(2))

    def _either(self, kind: int) -> str:
        """Run an nginx in front of both."""
        home = self._home / f"nginx-{kind}"
        home.mkdir()
        one, two = (f"127.0.0.1:{ports[kind]}" for ports in self._ports)
        # As in a cluster, nobody is passed over for 10 s because of a former proxy at the same address.
        servers = f"{one} max_fails=0", f"server {two} max_fails=0;"
        return self._life.enter_context(run_nginx(home, servers[0], upstream=servers[1]))

    def start(self, number: int) -> RunningBascule:
        """Start one, and wait until it is ready."""
        public, admin = self._ports[number]
        home = self._home / f"bascule-{number}"
        home.mkdir(exist_ok=True)
        config: dict[str, Any] = {
            "listen": f"127.0.0.1:{public}", "admin": f"127.0.0.1:{admin}", "adminToken": TOKEN,
            "trustedProxies": ["127.0.0.1"], "hub": {"enabled": True, "shareRoutes": True},
            "capacity": {"peers": [f"127.0.0.1:{self._ports[1 - number][1]}"]}, "forwarders": {"count": 1},
        }  # fmt: skip
        proxy = self._running[number].enter_context(run_bascule(home, config))
        eventually(lambda: proxy.metric_if_up("bascule_build_info"), 20, "it serves")
        return proxy

    def end(self, number: int) -> None:
        """End one as a rollout does."""
        self._running[number].close()

    def routes(self, number: int) -> set[str]:
        return set(HubApi(f"http://127.0.0.1:{self._ports[number][1]}", TOKEN).routes())

    def close(self) -> None:
        for each in self._running:
            each.close()


@pytest.fixture
def proxies(tmp_path: Path) -> Iterator[Proxies]:
    with contextlib.ExitStack() as life:
        running = Proxies(tmp_path, life)
        life.callback(running.close)
        yield running


async def test_a_user_goes_on_working_while_each_proxy_is_replaced_in_turn(
    proxies: Proxies, tmp_path: Path, chromium: Browser
) -> None:
    home = tmp_path / "hub"
    home.mkdir()
    with run_jupyterhub_behind(home, proxies.public, proxies.api, reserve_port()) as hub:
        page, _ = await hub.work(chromium, "ada")
        assert proxies.routes(0) == proxies.routes(1) == {"/", "/user/ada"}

        for number in range(2):
            proxies.end(number)
            proxies.start(number)
            assert proxies.routes(number) == {"/", "/user/ada"}, "it has not been told by the Hub"
        await page.get_by_role("menuitem", name="Edit").click()
        await page.get_by_text("Clear Outputs of All Cells").click()
        await eventually_async(lambda: says_nothing(page), 20, "the output is cleared")
        await run_and_await(page, SAYS)


async def says_nothing(page: Page) -> bool:
    return SAYS not in await output_of(page)
