"""JupyterHub with Bascule in the place of configurable-http-proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from bascule.gateway.setup import PROCESS_NAME
from tests.support.jupyterhub import (
    SAYS,
    JupyterHub,
    passed_of_its_own_tests,
    run_jupyterhub,
    run_jupyterhub_at_unix_sockets,
)
from tests.support.labpage import run_and_await
from tests.support.nginx import run_nginx
from tests.support.pages import blocks
from tests.support.proctree import children, kill
from tests.support.waiting import eventually, eventually_async

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.async_api import Browser

pytestmark = [pytest.mark.real, pytest.mark.timeout(420)]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[JupyterHub]:
    """One hub of the test's own."""
    with run_jupyterhub(tmp_path) as running:
        yield running


async def test_a_user_works_in_jupyterlab_while_the_gateway_dies_and_is_offered_another_server_after_a_stop(
    hub: JupyterHub, chromium: Browser
) -> None:
    page, log = await hub.work(chromium, "ada")

    rows = hub.api.sessions()
    assert {(row["route"], row["user"], row["kind"]) for row in rows} == {("/user/ada", "ada", "jupyter")}
    routes = hub.api.routes()
    assert set(routes) == {"/", "/user/ada"}

    (gateway,) = [pid for pid, runs in children(hub.proxy).items() if runs == PROCESS_NAME]
    kill(gateway)
    eventually(lambda: routed(hub) == set(routes), 20, "another gateway has the routes")
    before = hub.api.last_activity("/user/ada")
    await run_and_await(page, SAYS)
    await eventually_async(
        lambda: hub.api.last_activity("/user/ada") > before, 10, "what was typed is activity"
    )
    assert len(log.to("/channels")) == 1, "the kernel's socket was opened again"

    await hub.stop_server(page)
    await page.goto(f"{hub.url}/user/ada/lab")
    await page.get_by_text("Server not running").first.wait_for()


async def test_a_server_that_was_killed_is_told_in_the_words_of_the_hub(
    hub: JupyterHub, chromium: Browser
) -> None:
    page = await (await chromium.new_context()).new_page()
    await hub.sign_in(page, "grace")
    kill(hub.single_user_server())

    answer = await page.goto(f"{hub.url}/user/grace/lab")

    assert answer is not None
    assert answer.status == 503
    assert "Service Unavailable" in await page.content()
    assert "JupyterHub" in await page.title()


async def test_a_user_works_where_the_proxy_is_at_the_pages_unix_sockets(
    tmp_path: Path, socket_folder: Path, chromium: Browser
) -> None:
    (lines,) = [
        block.text
        for block in blocks()
        if block.page == "docs/howto/jupyterhub.md" and "http+unix" in block.text
    ]
    assert lines.count("%2Frun%2Fjupyterhub%2F") == 2
    lines = lines.replace("%2Frun%2Fjupyterhub", quote(str(socket_folder), safe=""))
    for name in ("nginx", "hub"):
        (tmp_path / name).mkdir()
    public = socket_folder / "proxy.sock"
    with (
        run_nginx(tmp_path / "nginx", f"unix:{public}") as front,
        run_jupyterhub_at_unix_sockets(tmp_path / "hub", front, lines) as hub,
    ):
        await hub.work(chromium, "ada")
        assert public.stat().st_mode & 0o777 == 0o660
        assert (socket_folder / "api.sock").stat().st_mode & 0o777 == 0o600


def test_the_hubs_own_tests_of_its_proxy_pass(tmp_path: Path) -> None:
    assert passed_of_its_own_tests(tmp_path, "test_proxy") >= 32


def test_the_hubs_own_test_of_a_proxy_at_unix_sockets_passes(tmp_path: Path) -> None:
    assert passed_of_its_own_tests(tmp_path, "test_unix_socket") >= 1


def routed(hub: JupyterHub) -> set[str] | None:
    try:
        return set(hub.api.routes())
    except OSError:
        return None
