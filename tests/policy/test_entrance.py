"""The page that the log offers to whoever has just started the proxy."""

from __future__ import annotations

import pytest

from bascule.configuration.config import Config
from bascule.policy.entrance import entrance

APP = {"path": "/apps/{app}/", "where": {"app": "[a-z]+"}}


@pytest.mark.parametrize(
    ("routes", "path"),
    [
        ([{"path": "/"}], "/"),
        ([{"path": "/lab/"}, {"path": "/"}], "/"),
        ([{"path": "/jupyter/lab/"}, {"path": "/levels"}], "/jupyter/lab/"),
        ([APP, {"path": "/levels"}], "/levels"),
        ([APP], "/"),
        ([], "/"),
    ],
)
def test_it_is_one_that_a_route_answers(routes: list[dict[str, object]], path: str) -> None:
    named = [{"name": f"r{i}", "upstream": "http://app:1", **route} for i, route in enumerate(routes)]
    assert entrance(Config.model_validate({"routes": named})) == path


def test_with_jupyterhub_it_is_the_hubs() -> None:
    routes = [{"name": "r", "path": "/lab/", "upstream": "http://app:1"}]
    config = {"routes": routes, "hub": {"enabled": True}, "adminToken": "x"}
    assert entrance(Config.model_validate(config)) == "/"
