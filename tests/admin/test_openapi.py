"""The description and the API say the same: schemathesis calls everything that `openapi.yaml` describes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from bascule.admin.api import Administration, _openapi
from bascule.configuration.config import Capacity, Hub, WebSocketProxy
from bascule.configuration.endpoints import Endpoint
from tests.admin.fake_view import FakeView, config
from tests.admin.support import admin_in_a_thread

schema = schemathesis.openapi.from_dict(json.loads(_openapi()))
called = schema.exclude(path="/events").exclude(path_regex="^/hub/")
"""Without the event stream, which never ends and `test_api` reads, and without what speaks in lines of JSON,
which schemathesis does not; `test_hubsharing` does."""


PEER = Endpoint("127.0.0.1", 1)

_BEYOND = (
    "GET /sessions",
    "DELETE /sessions",
    "DELETE /sessions/{id}",
    "POST /api/routes",
    "POST /api/routes/{routespec}",
    "DELETE /api/routes/{routespec}",
)


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """An admin listener with many sessions."""
    view = FakeView(config(websocket_proxy=WebSocketProxy(max_sessions_per_app=2000)), sessions=1500)
    with admin_in_a_thread(view) as address:
        yield f"http://{address}"


@called.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_described(case: Any, base_url: str) -> None:
    # A schema cannot say that a reason is bounded in bytes, that cursor goes without offset, what a path is.
    beyond = case.operation.label in _BEYOND
    with requests.Session() as session:
        case.call_and_validate(
            base_url=base_url, session=session, excluded_checks=[positive_data_acceptance] if beyond else []
        )


def test_every_path_of_the_api_is_described() -> None:
    described = {
        (path, method.upper()) for path, methods in schema.raw_schema["paths"].items() for method in methods
    }
    served = set()
    sharing = config(
        admin_token="t", hub=Hub(enabled=True, share_routes=True), capacity=Capacity(peers=(PEER,))
    )
    for route in Administration(FakeView(sharing)).app.router.routes():
        assert route.resource is not None
        path = route.resource.canonical
        if route.method != "HEAD" and path != "/" and not path.startswith("/static/"):
            served.add((path, route.method))
    assert described == served
