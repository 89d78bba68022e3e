"""What Helm tells after an installation."""

from typing import Any

import pytest
import yaml

from tests.chart.rendering import (
    CHART,
    run,
)

pytestmark = pytest.mark.real


def test_notes_tell_what_to_do_next() -> None:
    # Helm 3 renders the notes only in front of an API server.
    arguments = ["install", "ws", str(CHART), "--dry-run=client", "--namespace", "hopsworks"]
    done = run("v4", *arguments)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    assert "up to 500 WebSocket sessions" in notes
    assert "no routes yet" in notes
    for command in ("rollout status", "port-forward", "upgrade ws"):
        assert command in notes
    assert "need `adminToken`" in notes


def notes(values: dict[str, Any]) -> str:
    """Return the notes in one line."""
    done = run("v4", "install", "ws", str(CHART), "--dry-run=client", values=yaml.safe_dump(values))
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.partition("NOTES:")[2].split())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replicaCount": 1}, "sessions on its one pod."),
        ({"replicaCount": 2}, "sessions on each of 2 pods."),
        ({"autoscaling": {"enabled": True}}, "sessions on each of 2 to 10 pods."),
    ],
)
def test_notes_count_the_pods(values: dict[str, Any], words: str) -> None:
    assert words in notes(values)


@pytest.mark.parametrize(
    ("bad", "good", "words"),
    [
        (
            {"image": {"pullPolicy": "Always"}},
            {"image": {"repository": "registry.example/bascule"}},
            "`image.repository` has its default",
        ),
        (
            {"pdb": {"maxUnavailable": 0}},
            {"pdb": {"maxUnavailable": 0, "enabled": False}},
            "`pdb.maxUnavailable` is 0",
        ),
        ({"pdb": {"maxUnavailable": "0%"}}, {"pdb": {"maxUnavailable": "10%"}}, "`pdb.maxUnavailable` is 0%"),
        (
            {"ingress": {"enabled": True}},
            {"ingress": {"enabled": True}, "trustedProxies": ["10.0.0.0/8"]},
            "`trustedProxies` is empty: every client appears as the ingress",
        ),
        (
            {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}},
            {
                "httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]},
                "trustedProxies": ["10.0.0.0/8"],
            },
            "`trustedProxies` is empty: every client appears as the Gateway",
        ),
        (
            {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}, "tls": {"secretName": "t"}},
            {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}},
            "only with a BackendTLSPolicy",
        ),
        (
            {"prometheusRule": {"enabled": True}},
            {"prometheusRule": {"enabled": True, "runbookBaseUrl": "https://docs.example/runbooks"}},
            "`prometheusRule.runbookBaseUrl` has its default",
        ),
        ({}, {"podMonitor": {"enabled": True}}, "set `podMonitor.enabled`, and `prometheusRule.enabled`"),
        (
            {"prometheusRule": {"enabled": True}},
            {"serviceMonitor": {"enabled": True}},
            "set `podMonitor.enabled`; for one without it there is a job in `alerts/prometheus/scrape.yaml`",
        ),
        # 128 MiB, 20 for each of two forwarders, 64 KiB for each of 500 sessions
        (
            {"resources": {"limits": {"memory": "199Mi"}, "requests": {"cpu": 2}}},
            {"resources": {"limits": {"memory": "200Mi"}, "requests": {"cpu": 2}}},
            "`resources.limits.memory` is 199Mi, and a full pod may need 200Mi",
        ),
    ],
)
def test_notes_warn_of_a_value_that_will_hurt_later(
    bad: dict[str, Any], good: dict[str, Any], words: str
) -> None:
    assert words in notes(bad)
    assert words not in notes(good)


def test_notes_warn_of_a_policy_that_shuts_prometheus_out() -> None:
    policy = {"networkPolicy": {"enabled": True}, "podMonitor": {"enabled": True}}
    arguments = ["install", "ws", str(CHART), "--dry-run=client"]
    assert "Name Prometheus" in run("v4", *arguments, values=yaml.safe_dump(policy)).stdout
    policy["networkPolicy"]["adminFrom"] = [{"podSelector": {}}]  # type: ignore[assignment]
    assert "Name Prometheus" not in run("v4", *arguments, values=yaml.safe_dump(policy)).stdout
