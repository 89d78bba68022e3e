"""What a scraper may ask for in the query of ``/metrics``."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.support.bascule import run_bascule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.bascule import RunningBascule


@pytest.fixture(scope="module")
def bascule(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBascule]:
    route = {"name": "nobody", "path": "/", "upstream": "http://127.0.0.1:1"}
    home = tmp_path_factory.mktemp("query")
    with run_bascule(home, {"routes": [route], "forwarders": {"count": 1}}) as running:
        yield running


def answer(bascule: RunningBascule, query: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"{bascule.admin_url}/metrics?{query}", timeout=10) as found:
            return found.status, found.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def names(text: str) -> list[str]:
    return [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]


@pytest.mark.parametrize(
    "query", ["scope=application", "cache=no&scope=application&scope=base", "a=1&" * 1_500]
)
def test_the_scope_and_parameters_of_others_change_nothing(bascule: RunningBascule, query: str) -> None:
    status, text = answer(bascule, query)
    assert (status, names(text)) == (200, names(answer(bascule, "")[1]))


def test_a_name_narrows_the_answer(bascule: RunningBascule) -> None:
    status, text = answer(bascule, "scope=application&name=ws_pool_cpu_cores")
    assert (status, names(text)) == (200, ["ws_pool_cpu_cores"])


@pytest.mark.parametrize("query", ["scope=base", "scope=", "scope=application%20", "scope"])
def test_another_scope_is_not_found(bascule: RunningBascule, query: str) -> None:
    assert answer(bascule, query) == (404, "Not available scope to consume\n")


@pytest.mark.parametrize(
    "query", ["name=", "name=%1b%5b2J%0d%0aX-Evil", "name=%E2%80%A8", "name=%ff%00", "name=" + "x" * 6_000]
)
def test_an_unknown_name_comes_back_escaped_and_short(bascule: RunningBascule, query: str) -> None:
    status, text = answer(bascule, query)
    assert status == 404
    assert text.endswith("] metric not found\n")
    assert text.rstrip("\n").isprintable()
    assert len(text) < 300
