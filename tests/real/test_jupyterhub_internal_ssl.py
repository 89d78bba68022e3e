"""JupyterHub with `internal_ssl`: Bascule knows it and each server by certificate, and they know Bascule."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.docs.claims import claimed
from tests.support.jupyterhub import (
    TOKEN,
    JupyterHub,
    passed_of_its_own_tests,
    run_jupyterhub_with_internal_ssl,
)
from tests.support.network import own_network
from tests.support.parts import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.async_api import Browser

pytestmark = [pytest.mark.real, pytest.mark.timeout(420)]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[JupyterHub]:
    """One hub of the test's own."""
    with run_jupyterhub_with_internal_ssl(tmp_path) as running:
        yield running


async def test_a_user_works_in_jupyterlab_over_tls_on_each_way_behind_the_proxy(
    hub: JupyterHub, chromium: Browser
) -> None:
    page, _ = await hub.work(chromium, "ada")

    routes = hub.api.routes()
    assert set(routes) == {"/", "/user/ada"}
    assert {route["target"].partition("://")[0] for route in routes.values()} == {"https"}
    rows = hub.api.sessions()
    assert {(row["route"], row["user"], row["kind"]) for row in rows} == {("/user/ada", "ada", "jupyter")}

    await hub.stop_server(page)
    answer = await page.goto(f"{hub.url}/user/ada/lab")
    assert answer is not None
    await page.get_by_text("Server not running").first.wait_for()


def test_the_api_answers_who_shows_the_hubs_certificate_as_the_page_says_and_nobody_else(
    tmp_path: Path,
) -> None:
    require("curl")
    (command,) = claimed(__name__)
    with own_network(), run_jupyterhub_with_internal_ssl(tmp_path, 8001) as hub:
        routes = json.loads(typed(command.text, tmp_path))
        anybody = ssl.create_default_context(cafile=str(tmp_path / "internal-ssl" / "hub-ca_trust.crt"))
        for path in ("/api/routes", "/healthz"):
            assert hub.api.call("GET", path)[0] == 200
            with pytest.raises((ConnectionError, ssl.SSLError)) as refused:
                replace(hub.api, tls=anybody).call("GET", path)
            assert not isinstance(refused.value, ssl.SSLCertVerificationError), "it is we who do not trust"
    assert set(routes) == {"/"}
    assert routes["/"]["target"].startswith("https://")


def test_the_hubs_own_tests_of_its_certificates_pass(tmp_path: Path) -> None:
    modules = ("test_internal_ssl_connections", "test_internal_ssl_connections_external_authorities")
    assert passed_of_its_own_tests(tmp_path, *modules) >= 4


def typed(command: str, folder: Path) -> str:
    """Return what a command says in a folder."""
    return subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
