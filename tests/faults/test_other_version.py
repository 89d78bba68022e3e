"""The code is replaced while the proxy runs: no process of the new version is let in among the old ones."""

from __future__ import annotations

import os
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

import bascule
from tests.support.bascule import run_bascule
from tests.support.echo import run_echo
from tests.support.proctree import forwarders, gateway, kill
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.support.bascule import RunningBascule

    Start = Callable[..., AbstractContextManager[RunningBascule]]

WHY = "3: the code on disk is of another version than the proxy that runs; restart it"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """Return a copy of the code."""
    copy = tmp_path / "code"
    shutil.copytree(Path(bascule.__file__).parent, copy / "bascule")
    return copy


@pytest.fixture
def start(tmp_path: Path, code: Path) -> Iterator[Start]:
    """Start a proxy from the copy."""
    with run_echo() as echo:
        config = {"routes": [{"name": "all", "path": "/", "upstream": echo}], "forwarders": {"count": 2}}
        yield partial(run_bascule, tmp_path, config, env={"PYTHONPATH": str(code)})


def is_served(proxy: RunningBascule) -> bool:
    with connect(proxy.public_url.replace("http", "ws"), legacy=True) as session:
        session.send("a")
        return session.recv(timeout=10) == "a"


def replace(code: Path) -> None:
    """Upgrade the copy in place."""
    (code / "bascule" / "_version.py").write_text('__version__ = "0.0.0"\n')


def test_a_reload_goes_on_with_the_code_that_runs(start: Start, code: Path) -> None:
    with start() as proxy:
        replace(code)

        assert proxy.reload()

        assert is_served(proxy)


def test_a_forwarder_is_not_replaced_and_the_others_go_on(start: Start, code: Path) -> None:
    with start() as proxy:
        replace(code)

        os.kill(forwarders(proxy)[0], signal.SIGKILL)

        died = eventually(lambda: proxy.events("a process died")[1:], 20, "another one was tried")
        assert died[0]["status"] == WHY
        assert is_served(proxy)


def test_a_gateway_is_replaced_by_one_with_the_code_that_runs(start: Start, code: Path) -> None:
    with start() as proxy:
        shutil.rmtree(code / "bascule" / "gateway")
        replace(code)

        kill(gateway(proxy))

        assert is_served(proxy)
        assert proxy.metric("bascule_gateway_restarts_total") == 1
