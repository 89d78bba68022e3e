"""Which changes of the values replace the pods, and which a running proxy takes over."""

from typing import Any

import pytest

from bascule.configuration.reloading import ONLY_AT_A_START
from tests.chart.rendering import (
    one,
    render,
    websocket_proxy,
)

pytestmark = pytest.mark.real


def pod_template(values: dict[str, Any]) -> dict[str, Any]:
    """Return what of a Deployment replaces its pods when it changes."""
    template: dict[str, Any] = one(render("v4", values), "Deployment")["spec"]["template"]
    return template


def checksum(values: dict[str, Any]) -> str:
    return str(pod_template(values)["metadata"]["annotations"]["checksum/config"])


def test_a_change_that_a_running_proxy_takes_over_replaces_no_pod() -> None:
    first = pod_template({})
    for values in (
        {"replicaCount": 5},
        {"dashboard": {"enabled": True}},
        {"log": {"level": "debug"}},
        {"limits": {"maxSessionsPerUser": 50}},
        {"trustedProxies": ["10.0.0.0/8"]},
        {"routes": [{"name": "all", "path": "/", "upstream": "http://lab:8888"}]},
        {"extraConfig": {"auth": {"session": {"issuer": "us"}}}},
    ):
        assert pod_template(values) == first, values


def test_a_change_that_only_a_start_can_make_replaces_the_pods() -> None:
    changes: dict[tuple[str, ...], dict[str, Any]] = {
        ("listen",): {"ports": {"http": 9000}},
        ("listenMode",): {"extraConfig": {"listenMode": "0600"}},
        ("admin",): {"ports": {"admin": 9001}},
        ("adminMode",): {"extraConfig": {"adminMode": "0660"}},
        ("websocketProxy", "grizzlyWorkerPoolMaxSize"): websocket_proxy(grizzlyWorkerPoolMaxSize=1),
        ("forwarders", "count"): {"forwarders": {"count": 7}},
        ("forwarders", "readBufferBytes"): {"forwarders": {"readBufferBytes": 4096}},
        ("tls", "redirectFrom"): {
            "tls": {"secretName": "a"},
            "service": {"port": 443, "redirectPort": 80},
        },
    }
    assert set(changes) == set(ONLY_AT_A_START)
    sums = {key: checksum(values) for key, values in changes.items()}
    assert len({checksum({}), *sums.values()}) == len(changes) + 1


def test_without_changes_in_place_every_change_of_the_configuration_replaces_the_pods() -> None:
    off = {"reloadOnChange": False}
    assert checksum(off) == checksum({**off, "replicaCount": 5})
    assert len({checksum({}), checksum(off), checksum({**off, "log": {"level": "debug"}})}) == 3
