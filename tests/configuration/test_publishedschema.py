"""The JSON schema of a configuration file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings

from bascule.configuration.config import Config
from bascule.configuration.publishedschema import published_schema
from tests.configuration.strategies import configurations

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_published_schema_is_a_valid_schema_without_private_words() -> None:
    schema = published_schema()

    jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    assert '"x-' not in text
    assert text.count('"title"') == 1


def test_the_defaults_in_the_schema_can_stand_in_a_file() -> None:
    schema: dict[str, Any] = published_schema()
    for block in (schema, *schema["$defs"].values()):
        for key in block.get("properties", {}).values():
            if "default" in key:
                jsonschema.validate(key["default"], {**key, "$defs": schema["$defs"]})


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
    [
        {"x": 1},
        {"drain": {"rate": -1}},
        {"websocketProxy": {"maxSessionsPerApp": 0}},
        {"listen": "x"},
        {"drain": {"timeout": 315_360_001}},
        {"limits": {"connectTimeout": 315_360_001}},
        {"sockets": {"keepaliveIdle": 1.5}},
        {"sockets": {"keepaliveInterval": 32768}},
    ],
)
def test_the_schema_refuses_what_the_models_refuse(values: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, published_schema())
