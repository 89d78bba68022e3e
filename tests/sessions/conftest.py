"""One real proxy in front of one scripted upstream for each module; a test owns the paths it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.certificates import Certificate, make_certificate
from tests.support.hubapi import HubApi
from tests.support.rawupstream import RawUpstream, run_upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    """Run the module's upstream."""
    with run_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make the module's certificate."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def context(request: pytest.FixtureRequest, certificate: Certificate) -> ssl.SSLContext | None:
    """What a client needs to speak to this module's proxy, which has TLS where the test's id says ``tls``."""
    return certificate.client() if "tls" in request.node.callspec.id else None


@pytest.fixture
def hub(bascule: Start) -> Callable[..., tuple[RunningBascule, HubApi]]:
    """Start a proxy that takes routes from JupyterHub; arguments are those of its block, or other blocks."""
    token = "the-token-of-the-hub"

    def start(*, settings: dict[str, Any] | None = None, **config: Any) -> tuple[RunningBascule, HubApi]:
        block = {"enabled": True, **(settings or {})}
        proxy = bascule({"hub": block, "adminToken": token, "forwarders": {"count": 2}, **config})
        return proxy, HubApi(proxy.admin_url, token)

    return start


@pytest.fixture
def calm(bascule: RunningBascule) -> Iterator[None]:
    """Leave no session and no request of one test to the figures of the next."""
    yield
    eventually(lambda: bascule.in_flight == 0, 10, "all sessions have ended")
    eventually(lambda: bascule.metric("bascule_http_requests_in_flight") == 0, 10, "all requests have ended")
