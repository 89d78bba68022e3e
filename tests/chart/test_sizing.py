"""What the chart works out of the cap and the resources: grace periods, memory, forwarders."""

from typing import Any

import pytest
import yaml

from bascule.configuration.loading import load
from tests.chart.apiserver import refusals
from tests.chart.rendering import (
    CASES,
    CHART,
    configuration,
    container,
    pod,
    render,
    run,
    websocket_proxy,
)
from tests.support.tlscost import MOST

pytestmark = pytest.mark.real


def test_the_kubelet_never_ends_a_drain(values: dict[str, Any], tmp_path: Any) -> None:
    manifests = render("v4", values)
    path = tmp_path / "config.yaml"
    path.write_text(configuration(manifests), encoding="utf-8")
    config = load(path, {}).config
    before = int(container(manifests)["lifecycle"]["preStop"]["exec"]["command"][1])
    grace = pod(manifests)["terminationGracePeriodSeconds"]
    stop = config.drain.timeout + config.drain.last_scrape
    assert grace >= before + stop + config.limits.closing_handshake_timeout
    longest = config.drain.timeout == 10 * 365 * 86400
    if values.get("drain", {}).get("timeout") is None and config.drain.rate and not longest:
        spread = config.drain.window or config.websocket_proxy.max_sessions_per_app / config.drain.rate
        assert 0.9 * config.drain.timeout >= config.drain.natural_end + spread


@pytest.mark.parametrize(
    ("values", "grace"),
    [
        # preStop 10 + drain + margin 10; drain = (naturalEnd + cap/rate) / 0.9 + closing 5, at least 30
        ({}, 50),
        (CASES["a slow drain"], 10 + (556 + 5) + 10),
        (CASES["a drain at once"], 50),
        (CASES["a fixed drain"], 10 + 46 + 10),
        (CASES["a drain in a window"], 600),
        ({"shutdown": {"preStopDelay": "1500ms", "margin": "1m"}}, 2 + 30 + 60),
        # The last scrape is the monitor's interval and 5 s, unless it is given.
        (CASES["a pod monitor"], 10 + 30 + (15 + 5) + 10),
        ({"serviceMonitor": {"enabled": True, "interval": "30s"}}, 10 + 30 + (30 + 5) + 10),
        ({"podMonitor": {"enabled": True}, "drain": {"lastScrape": 0}}, 50),
        ({"drain": {"lastScrape": "1m"}}, 10 + 30 + 60 + 10),
    ],
)
def test_the_grace_period_is_the_sum_that_one_reckons_by_hand(values: dict[str, Any], grace: int) -> None:
    assert pod(render("v4", values))["terminationGracePeriodSeconds"] == grace


def test_a_grace_period_that_would_cut_sessions_is_refused(version: str) -> None:
    values = "shutdown: {terminationGracePeriodSeconds: 30}"
    done = run(version, "template", "ws", str(CHART), values=values)
    assert done.returncode != 0
    assert "the kubelet would cut live sessions" in done.stderr


def route(upstream: str) -> dict[str, str]:
    return {"name": upstream[-1], "path": f"/{upstream[-1]}/", "upstream": upstream}


def test_memory_follows_the_cap() -> None:
    def request(cap: int) -> int:
        values = {"hopsworks": {"payara": {"websocketProxy": {"maxSessionsPerApp": cap}}}}
        text = container(render("v4", values))["resources"]["requests"]["memory"]
        return int(text.removesuffix("Mi"))

    per_session = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["sizing"][
        "bytesPerSession"
    ]
    assert request(20500) - request(500) == pytest.approx(20000 * per_session / 2**20, abs=1)


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({}, []),
        ({"tls": {"secretName": "a"}}, ["tlsBytesPerSession"]),
        ({"routes": [route("https://lab")]}, ["upstreamTlsBytesPerSession"]),
        ({"routes": [route("http://https.lab")]}, []),
        ({"upstreamTls": {"ca": "/ca.pem"}}, ["upstreamTlsBytesPerSession"]),
        (
            {"adminToken": {"name": "a"}, "hub": {"enabled": True, "defaultTarget": "https://hub"}},
            ["upstreamTlsBytesPerSession"],
        ),
        ({"hub": {"enabled": False, "defaultTarget": "https://hub"}}, []),
        (
            {"tls": {"secretName": "a"}, "routes": [route("http://a"), route("https://b")]},
            ["tlsBytesPerSession", "upstreamTlsBytesPerSession"],
        ),
    ],
)
def test_memory_follows_tls_on_either_side(values: dict[str, Any], keys: list[str]) -> None:
    sizing = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["sizing"]
    each = sum(sizing[key] for key in ("bytesPerSession", *keys))
    text = container(render("v4", {**websocket_proxy(maxSessionsPerApp=4096), **values}))["resources"]
    processes = sizing["baseBytes"] + 2 * sizing["forwarderBytes"]
    assert text["requests"]["memory"] == f"{(processes + 4096 * each) >> 20}Mi"


@pytest.mark.parametrize(
    ("key", "side"), [("tlsBytesPerSession", "browsers"), ("upstreamTlsBytesPerSession", "upstream")]
)
def test_the_request_holds_sessions_with_tls_that_are_all_stalled(key: str, side: str) -> None:
    sizing = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["sizing"]
    assert max(most for (_, who), most in MOST.items() if who == side) <= sizing[key]


def test_what_the_values_say_of_resources_wins() -> None:
    resources = container(render("v4", CASES["cores from a limit"]))["resources"]
    assert resources["limits"] == {"cpu": "2500m", "memory": "1Gi"}
    assert resources["requests"]["cpu"] == "500m"


@pytest.mark.parametrize(
    ("resources", "requests", "limits"),
    [
        # Less than the default request of CPU, less memory than the cap is reckoned with.
        (
            {"limits": {"cpu": 0.2, "memory": "128Mi"}},
            {"cpu": 0.2, "memory": "128Mi"},
            {"cpu": 0.2, "memory": "128Mi"},
        ),
        (
            {"limits": {"cpu": "250m", "memory": 1e8}},
            {"cpu": "250m", "memory": 1e8},
            {"cpu": "250m", "memory": 1e8},
        ),
        ({"limits": {"memory": "1G"}}, {"cpu": "500m", "memory": "200Mi"}, {"memory": "1G"}),
        ({"limits": {"memory": "1Pi"}}, {"cpu": "500m", "memory": "200Mi"}, {"memory": "1Pi"}),
        (
            {"requests": {"cpu": "250000u"}, "limits": {"cpu": "1"}},
            {"cpu": "250000u", "memory": "180Mi"},
            {"cpu": "1", "memory": "270Mi"},
        ),
        ({"requests": {"memory": "2Gi"}}, {"cpu": "500m", "memory": "2Gi"}, {"memory": "3072Mi"}),
        ({"requests": {"cpu": "100m"}}, {"cpu": "100m", "memory": "200Mi"}, {"memory": "300Mi"}),
        (None, {"memory": "200Mi"}, {"memory": "300Mi"}),
    ],
)
def test_no_request_is_above_its_limit(
    resources: dict[str, Any] | None, requests: dict[str, Any], limits: dict[str, Any]
) -> None:
    manifests = render("v4", {"resources": resources})
    assert not [why for manifest in manifests for why in refusals(manifest)]
    assert container(manifests)["resources"] == {"requests": requests, "limits": limits}


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 2),
        (CASES["cores from a limit"], 3),
        (CASES["the contract's keys"], 1),
        (CASES["values that are false or nothing"], 3),
        # A request is not all that the pod may use; a limit is.
        ({"resources": {"requests": {"cpu": "200m"}}}, 2),
        ({"resources": {"limits": {"cpu": "200m"}}}, 1),
        ({"resources": None}, 2),
        ({"resources": {"requests": {"cpu": 4}}}, 4),
    ],
)
def test_forwarders_follow_the_pods_cores_not_the_nodes(values: dict[str, Any], count: int) -> None:
    assert yaml.safe_load(configuration(render("v4", values)))["forwarders"]["count"] == count
