"""Values, their schema and the models they come from cannot drift apart."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from scripts import chart_values

from bascule.configuration.config import Config, WebSocketProxy
from tests.chart.rendering import CASES, CHART, HELMS, run, websocket_proxy

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["version"]

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
    "a probe that is null": {"probes": {"liveness": None}},
    "a negative budget": {"pdb": {"maxUnavailable": -1}},
    "an unknown kind of scaling": {"autoscaling": {"type": "vpa"}},
    "an ingress without hosts": {"ingress": {"hosts": []}},
    "a host with a port": {"ingress": {"hosts": [{"host": "hopsworks.example:443"}]}},
    "a host in capitals": {"ingress": {"hosts": [{"host": "Hopsworks.example"}]}},
    "a path without a slash": {"ingress": {"hosts": [{"paths": ["jupyter"]}]}},
    "a path with an empty segment": {"ingress": {"hosts": [{"paths": ["/jupyter//lab"]}]}},
    "a path that goes up": {"ingress": {"hosts": [{"paths": ["/jupyter/.."]}]}},
    "paths of a single URL": {"ingress": {"pathType": "Exact"}},
    "a class no object can have": {"ingress": {"className": "Nginx"}},
    "a label with a space": {"podLabels": {"team": "data science"}},
    "a label that is too long": {"nodeSelector": {"pool": "x" * 64}},
    "a label's key with a space": {"serviceMonitor": {"labels": {"the release": "p"}}},
    "an annotation's key with a space": {"podAnnotations": {"the team": "x"}},
    "no folder annotation": {"dashboard": {"folderAnnotation": ""}},
    "a pod monitor too slow for the rates": {"podMonitor": {"interval": "31s"}},
    "a service monitor too slow for the rates": {"serviceMonitor": {"interval": "1m"}},
    "a monitor of a minute in seconds": {"podMonitor": {"interval": "60s"}},
    "a monitor of more milliseconds than 30 s": {"podMonitor": {"interval": "30001ms"}},
    "a monitor that never waits": {"podMonitor": {"interval": "0s"}},
    "a secret no object can be": {"adminToken": {"name": "Admin_Token"}},
    "a secret's key with a slash": {"auth": {"session": {"keySecret": {"name": "jwt", "key": "a/b"}}}},
    "no secret's key": {"adminToken": {"name": "admin", "key": ""}},
    "an account no object can be": {"serviceAccount": {"name": "a_b"}},
    "more pods than can be counted": {"replicaCount": 2**31},
    "a digest without its algorithm": {"image": {"digest": "0" * 64}},
    "a tag with a space": {"image": {"tag": "1.0 beta"}},
    "a repository in capitals": {"image": {"repository": "registry.example/Bascule"}},
    "a pull secret misspelt": {"imagePullSecrets": [{"nam": "pull"}]},
    "a route's path with a percent": {"httpRoute": {"paths": ["/%7Euser"]}},
    "a route's path that goes up": {"httpRoute": {"paths": ["/jupyter/.."]}},
    "a route's host with a port": {"httpRoute": {"hostnames": ["hopsworks.example:443"]}},
    "a route's host that is nothing": {"httpRoute": {"hostnames": [""]}},
    "a route's time with a fraction": {"httpRoute": {"timeouts": {"request": "1.5s"}}},
    "a gateway without a name": {"httpRoute": {"parentRefs": [{"namespace": "gateways"}]}},
    "an alert's label with a slash": {"prometheusRule": {"alertLabels": {"example.com/team": "data"}}},
    "a range without its length": {"service": {"loadBalancerSourceRanges": ["10.0.0.0"]}},
    "a family twice": {"service": {"ipFamilies": ["IPv4", "IPv4"]}},
    "a protocol with a space": {"service": {"appProtocol": "web socket"}},
    "a negative quantity": {"resources": {"requests": {"cpu": -1}}},
    "an unknown unit": {"resources": {"limits": {"memory": "1GB"}}},
    "a resource outside requests and limits": {"resources": {"cpu": 1}},
    "a number in the environment": {"extraEnv": [{"name": "PORT", "value": 8080}]},
    "a variable misspelt": {"extraEnv": [{"name": "A", "val": "b"}]},
    "a source of variables misspelt": {"extraEnvFrom": [{"secretReference": {"name": "a"}}]},
    "a policy of names misspelt": {"dnsPolicy": "clusterFirst"},
    "a toleration misspelt": {"tolerations": [{"key": "web", "operater": "Exists"}]},
}

GOOD: dict[str, dict[str, Any]] = {
    "hosts": {"ingress": {"hosts": [{"host": "*.hopsworks.example"}, {"host": ""}, {"host": "a-b.c1"}]}},
    "paths": {"ingress": {"hosts": [{"paths": ["/", "/a/", "/.bascule", "/a.b/..c", "/%7Euser"]}]}},
    "paths of a route": {"httpRoute": {"paths": ["/", "/a/", "/.bascule", "/a.b/..c", "/~user", "/a:b@c"]}},
    "labels": {"podLabels": {"a": "", "example.com/b-c": "D.e_f", "x" * 63: "y" * 63}},
    "names": {"adminToken": {"name": "x" * 253, "key": "..data_-"}, "ingress": {"className": ""}},
    "images": {"image": {"repository": "Registry.example:5000/a/b__c--d.e", "tag": "v1.0_x", "digest": ""}},
    "intervals": {"podMonitor": {"interval": "30s"}, "serviceMonitor": {"interval": "30000ms"}},
    "short intervals": {"podMonitor": {"interval": "1s"}, "serviceMonitor": {"interval": "500ms"}},
    "ranges": {
        "service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8", "2001:db8::/32"]}
    },
    "protocols": {"service": {"appProtocol": "kubernetes.io/ws"}},
    "quantities": {
        "resources": {
            "requests": {"cpu": 1.5, "memory": "1.5Gi", "ephemeral-storage": 1e9},
            "limits": {"cpu": "250000u", "memory": "1e9", "example.com/fpga": 1},
        }
    },
    "tolerations": {
        "tolerations": [
            {"operator": "Exists"},
            {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
        ]
    },
    "variables": {"extraEnv": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]},
}


def test_the_schema_is_a_schema_and_accepts_the_defaults() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(DEFAULTS, SCHEMA)
    assert "$ref" not in json.dumps(SCHEMA)


def test_an_example_of_a_value_can_be_uncommented_in_place_of_its_default() -> None:
    lines = (CHART / "values.yaml").read_text(encoding="utf-8").splitlines()
    for block, indent, name in (((), "", "routes"), (("httpRoute",), "  ", "parentRefs")):
        start = lines.index(f"{indent}# {name}:")
        values = yaml.safe_load("\n".join(_uncommented(lines[start:], indent)))
        assert values[name]
        for key in reversed(block):
            values = {key: values}
        jsonschema.validate(values, SCHEMA)
        chart_values.Values.model_validate(values)


def _uncommented(lines: list[str], indent: str) -> Iterator[str]:
    """Yield a block's first key, without its mark."""
    for line in lines:
        text = line.removeprefix(f"{indent}# ")
        if text == line or (text[0] not in " -" and line is not lines[0]):
            return
        yield text


@pytest.mark.real
@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize("values", GOOD.values(), ids=GOOD.keys())
def test_helm_accepts_what_an_api_server_accepts(version: str, values: dict[str, Any]) -> None:
    done = run(version, "template", "ws", str(CHART), values=yaml.safe_dump(values))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("values", CASES.values(), ids=CASES.keys())
def test_the_schema_accepts_the_matrix(values: dict[str, Any]) -> None:
    jsonschema.validate(values, SCHEMA)


@pytest.mark.parametrize("values", BAD.values(), ids=BAD.keys())
def test_the_schema_refuses_values_that_mean_nothing(values: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, SCHEMA)


@pytest.mark.real
@pytest.mark.parametrize("version", HELMS)
def test_helm_refuses_with_the_schema(version: str, tmp_path: Path) -> None:
    # A chart that has this one many times, for Helm names each whose values do not fit: sixty starts in one.
    names = {f"bad{number}": name for number, name in enumerate(BAD)}
    parts = [
        {"name": "bascule", "version": VERSION, "alias": alias} for alias in (*names, "defaults", "fitting")
    ]
    about = {"apiVersion": "v2", "name": "many", "version": "0.1.0", "dependencies": parts}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
    shutil.copytree(CHART, tmp_path / "charts" / "bascule")
    values = {**{alias: BAD[name] for alias, name in names.items()}, "fitting": GOOD["hosts"]}
    done = run(version, "template", "ws", str(tmp_path), values=yaml.safe_dump(values))
    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr
    refused = re.findall("^([a-z0-9]+):$", done.stderr, re.MULTILINE)
    assert sorted(names.get(alias, alias) for alias in refused) == sorted(BAD)


def test_the_contracts_path_keys_and_defaults() -> None:
    assert DEFAULTS["hopsworks"]["payara"]["websocketProxy"] == {
        "maxSessionsPerApp": 500,
        "incomingBufferBytes": 33554432,
        "grizzlyWorkerPoolMaxSize": 200,
        "sessionIdleTimeoutMs": 0,
        "heartbeatIntervalMs": 20000,
    }


def test_the_five_keys_have_the_bounds_of_the_contract() -> None:
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
    # A token in the values would be a token in the ConfigMap. And a Hub tells its routes to one pod, which
    # JupyterHub's own chart runs. The listeners of a pod are TCP, for what is outside could reach no others.
    # And what asks at the admin port, the kubelet among them, has no certificate.
    never = {"adminToken", "hub", "listenMode", "adminMode", "adminTls"}
    blocks = {field.alias for field in Config.model_fields.values()}
    assert blocks - computed - never <= set(DEFAULTS)


DIFFERENT = {
    ("drain", "timeout"): "computed from the cap",
    ("drain", "last_scrape"): "computed from the monitor's interval",
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
