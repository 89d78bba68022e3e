"""What a key accepts, in words, and the schema that is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings

from bascule.policy.allowed import allowed_at, is_secret, published_schema, schema_at
from bascule.policy.config import Config
from bascule.policy.model import leaves
from bascule.policy.problems import dotted, nearest_key
from bascule.policy.routeconfig import RouteConfig
from tests.policy.strategies import configurations

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_published_schema_is_a_valid_schema_without_private_words() -> None:
    schema = published_schema()

    jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    assert '"x-' not in text
    assert text.count('"title"') == 1


VALIDATOR = jsonschema.Draft202012Validator(published_schema())


@given(configurations)
@settings(deadline=None)
def test_every_configuration_fits_the_schema(config: Config) -> None:
    VALIDATOR.validate(config.model_dump(mode="json"))


def test_the_example_fits_the_schema() -> None:
    jsonschema.validate(yaml.safe_load((EXAMPLES / "bascule.yaml").read_text()), published_schema())


def test_the_schema_takes_a_scheme_in_any_case_as_the_models_do() -> None:
    values = {
        "routes": [{"name": "a", "path": "/a", "upstream": "HTTPS://Lab:8888"}],
        "hub": {"enabled": True, "errorTarget": "Http://hub/error"},
        "adminToken": "t",
    }
    Config.model_validate(values)
    VALIDATOR.validate(values)


@pytest.mark.parametrize(
    "values",
    [{"x": 1}, {"drain": {"rate": -1}}, {"websocketProxy": {"maxSessionsPerApp": 0}}, {"listen": "x"}],
)
def test_the_schema_refuses_what_the_models_refuse(values: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, published_schema())


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
