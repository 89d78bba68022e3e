"""Fixtures for all tests: the product as a process, and the real parts around it."""

import contextlib
import gc
import os
import signal
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from aiohttp import web_app
from hypothesis import HealthCheck, settings

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.jupyter import Jupyter, start_jupyter
from tests.support.rawclient import Clients, RawClient, connect
from tests.support.shared import shared_service
from tests.support.streamlit import Streamlit, start_streamlit

if TYPE_CHECKING:
    from playwright.async_api import Browser

Start = Callable[..., RunningBascule]

_MORE_DESCRIPTORS = 300
_IN_USE = pytest.StashKey[int]()
"""Descriptors that were left after the last collection."""

# A proxy honours what it inherits, and `nohup` ignores this one: no reload would be tried.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Where CI is not set Hypothesis gives an example 200 ms by the wall clock; a busy machine may take longer.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that may take longest, or one job works alone in the end.

    But only one of each module: the others would wait with it for what all of them need, such as an image.
    """
    begun: set[Path] = set()

    def urgency(item: pytest.Item) -> tuple[bool, float]:
        is_first = item.path not in begun
        begun.add(item.path)
        marker = item.get_closest_marker("timeout")
        return is_first, float(marker.args[0]) if marker else 0.0

    items.sort(key=urgency, reverse=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let applications of former tests go once they hold many descriptors, such as those of their counters.

    aiohttp remembers a thousand handlers, each with its application, for as long as the process lives. A job
    had more than a thousand descriptors in the end, and select(2) knows none beyond 1,023.
    """
    if len(os.listdir("/proc/self/fd")) > item.config.stash.get(_IN_USE, 0) + _MORE_DESCRIPTORS:
        web_app._cached_build_middleware.cache_clear()
        gc.collect()
        # What is left is in use; collecting again before each test would take a third of the whole run.
        item.config.stash[_IN_USE] = len(os.listdir("/proc/self/fd"))


@pytest.fixture
def bascule(tmp_path: Path) -> Iterator[Start]:
    """Start ``bascule serve`` with a configuration; ends with the test, and must exit 0 on SIGTERM."""
    with contextlib.ExitStack() as running:

        def start(config: dict[str, Any], **env: str) -> RunningBascule:
            home = tmp_path / f"bascule-{len(list(tmp_path.glob('bascule-*')))}"
            home.mkdir()
            return running.enter_context(run_bascule(home, config, env=env))

        yield start


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """Return a folder with a short name: the path of a Unix socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="bascule-") as folder:
        yield Path(folder)


@pytest.fixture
def clients() -> Iterator[Clients]:
    """Open raw connections that end with the test."""
    with contextlib.ExitStack() as stack:

        def opened(url: str, context: ssl.SSLContext | None = None, buffers: int = 0) -> RawClient:
            client = connect(url, context, buffers)
            stack.callback(client.close)
            return client

        yield opened


@pytest.fixture
def front(request: pytest.FixtureRequest) -> Callable[..., str]:
    """Return the address a browser uses for one upstream: through Bascule.

    ``BASCULE_TEST_DIRECT=1`` leaves the proxy out, which tells its faults from those of the parts.
    """

    def choose(upstream: Jupyter | Streamlit, **config: Any) -> str:
        if os.environ.get("BASCULE_TEST_DIRECT"):
            return upstream.origin
        start: Start = request.getfixturevalue("bascule")
        return start({"routes": [upstream.route()], **config}).public_url

    return choose


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """One JupyterLab for the whole run."""
    with shared_service("jupyter", tmp_path_factory, start_jupyter) as facts:
        yield Jupyter(**{**facts, "root": Path(facts["root"])})


@pytest.fixture(scope="session")
def streamlit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamlit]:
    """One Streamlit app for the whole run."""
    with shared_service("streamlit", tmp_path_factory, start_streamlit) as facts:
        yield Streamlit(**facts)


@pytest_asyncio.fixture
async def chromium() -> AsyncIterator["Browser"]:
    """Return a headless Chromium of this test's own."""
    from tests.support.browser import run_chromium  # Playwright is slow to import; few tests need it

    async with run_chromium() as browser:
        yield browser
