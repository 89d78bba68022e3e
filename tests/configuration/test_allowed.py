"""What a key accepts, in words."""

from __future__ import annotations

import pytest

from bascule.configuration.allowed import allowed_at, is_secret, schema_at
from bascule.configuration.config import Config
from bascule.configuration.model import leaves
from bascule.configuration.problems import dotted, nearest_key
from bascule.configuration.route import RouteConfig


def test_every_key_can_say_what_it_accepts() -> None:
    paths: list[tuple[str | int, ...]] = [path for path, _ in leaves(Config)]
    paths += [("routes", 0, *path) for path, _ in leaves(RouteConfig)]

    assert [dotted(path) for path in paths if allowed_at(path) == "nothing"] == []
    assert allowed_at(("nowhere", "below")) == "nothing"


def test_only_the_token_is_a_secret() -> None:
    assert [path for path, _ in leaves(Config) if is_secret(path)] == [("adminToken",)]
    assert not is_secret(("nowhere",))
    assert schema_at(("routes", "x")) is None


@pytest.mark.parametrize(
    ("path", "near"),
    [
        (("websocketProxy", "MaxSessionsPerApp"), "maxSessionsPerApp"),
        (("heartbeatIntervalMs",), "websocketProxy.heartbeatIntervalMs"),
        (("stripprefix",), "routes[].stripPrefix"),
        (("routes", 0, "strip_prefix"), "stripPrefix"),
        (("limit",), "limits"),
        (("session",), "auth.session"),
        (("qqqqqqq",), None),
        (("nowhere", "cookie"), "auth.session.cookie"),
    ],
)
def test_the_nearest_key_is_in_the_block_or_else_anywhere(
    path: tuple[str | int, ...], near: str | None
) -> None:
    assert nearest_key(path) == near
