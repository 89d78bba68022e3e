"""Values, their schema and the models they come from cannot drift apart."""

import json
from typing import Any

import jsonschema
import pytest
import yaml
from scripts import chart_values, charts

from bascule.policy.config import Config, WebSocketProxy
from tests.chart.rendering import CASES, CHART, HELMS, run, websocket_proxy

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

BAD: dict[str, dict[str, Any]] = {
    "no session": websocket_proxy(maxSessionsPerApp=0),
    "beyond a Java int": websocket_proxy(maxSessionsPerApp=2147483648),
    "no frame": websocket_proxy(incomingBufferBytes=0),
    "no worker": websocket_proxy(grizzlyWorkerPoolMaxSize=0),
    "negative idle timeout": websocket_proxy(sessionIdleTimeoutMs=-1),
    "negative heartbeat": websocket_proxy(heartbeatIntervalMs=-1),
    "a key of the pool misspelt": websocket_proxy(maxSessionPerApp=500),
    "a key misspelt": {"replicas": 2},
    "a nested key misspelt": {"drain": {"speed": 5}},
    "no duration": {"drain": {"naturalEnd": "soon"}},
    "text for a number": {"hopsworks": {"payara": {"websocketProxy": {"maxSessionsPerApp": "500"}}}},
    "a route without an upstream": {"routes": [{"name": "a", "path": "/"}]},
    "a name no Service can have": {"fullnameOverride": "Hopsworks"},
    "a name that leaves no room for a pod's": {"fullnameOverride": "x" * 47},
    "an IPv6 address without brackets": {"bindAddress": "::"},
    "a negative budget": {"pdb": {"maxUnavailable": -1}},
    "an unknown kind of scaling": {"autoscaling": {"type": "vpa"}},
}


def test_generated_files_are_fresh() -> None:
    stale = [path.name for path, text in charts.outputs().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run python -m scripts.charts"


def test_the_schema_is_a_schema_and_accepts_the_defaults() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(DEFAULTS, SCHEMA)
    assert "$ref" not in json.dumps(SCHEMA)


@pytest.mark.parametrize("values", CASES.values(), ids=CASES.keys())
def test_the_schema_accepts_the_matrix(values: dict[str, Any]) -> None:
    jsonschema.validate(values, SCHEMA)


@pytest.mark.parametrize("values", BAD.values(), ids=BAD.keys())
def test_the_schema_refuses(values: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, SCHEMA)


@pytest.mark.real
@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize("values", BAD.values(), ids=BAD.keys())
def test_helm_refuses_with_the_schema(version: str, values: dict[str, Any]) -> None:
    done = run(version, "template", "ws", str(CHART), values=yaml.safe_dump(values))
    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr


def test_the_contracts_path_keys_and_defaults() -> None:
    assert DEFAULTS["hopsworks"]["payara"]["websocketProxy"] == {
        "maxSessionsPerApp": 500,
        "incomingBufferBytes": 33554432,
        "grizzlyWorkerPoolMaxSize": 200,
        "sessionIdleTimeoutMs": 0,
        "heartbeatIntervalMs": 20000,
    }


def test_the_contracts_bounds() -> None:
    keys = SCHEMA["properties"]["hopsworks"]["properties"]["payara"]["properties"]["websocketProxy"][
        "properties"
    ]
    bounds = {name: (key["minimum"], key.get("maximum")) for name, key in keys.items()}
    integer = (1, 2147483647)
    assert bounds == {
        "maxSessionsPerApp": integer,
        "incomingBufferBytes": integer,
        "grizzlyWorkerPoolMaxSize": integer,
        "sessionIdleTimeoutMs": (0, None),
        "heartbeatIntervalMs": (0, None),
    }
    assert set(bounds) == {field.alias for field in WebSocketProxy.model_fields.values()}


def test_every_block_of_the_configuration_can_be_set() -> None:
    computed = {"listen", "admin", "adminTokenFile", "websocketProxy"}
    # A token in the values would be a token in the ConfigMap.
    never = {"adminToken"}
    blocks = {field.alias for field in Config.model_fields.values()}
    assert blocks - computed - never <= set(DEFAULTS)


DIFFERENT = {
    ("drain", "timeout"): "computed from the cap",
    ("readiness", "max_share"): "an unready pod loses its notebooks' HTTP too",
    ("log", "format"): "no terminal in a pod",
}


def test_defaults_are_the_proxys_own_but_for_a_known_few() -> None:
    found = set()
    for name in ("forwarders", "limits", "sockets", "drain", "readiness", "capacity", "metrics", "log"):
        ours, theirs = getattr(chart_values.Values(), name), getattr(Config(), name)
        for key in type(theirs).model_fields:
            if getattr(ours, key) != getattr(theirs, key):
                found.add((name, key))
    assert found == set(DIFFERENT)


def test_the_charts_version_is_the_products() -> None:
    from bascule import _version

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == _version.__version__
