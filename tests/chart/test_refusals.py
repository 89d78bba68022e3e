"""Values that contradict each other."""

from typing import Any

import pytest

from tests.chart.rendering import (
    ROUTES,
    refusal,
    websocket_proxy,
)

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 3}}, "no number of pods fits"),
        ({"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}, "scraped twice"),
        ({"drain": {"timeout": "45s", "naturalEnd": "5m"}}, "nobody would be told"),
        ({"routes": [{**ROUTES[0], "auth": "session"}]}, "needs auth.session.keySecret.name"),
        ({"ports": {"http": 8081}}, "each needs a port of its own"),
        ({"extraConfig": {"drain": {"timeout": "10m"}}}, "which ports, memory and the grace period follow"),
        ({"extraConfig": {"limits": {"closingHandshakeTimeout": "2m"}}}, "use the chart's own values"),
        ({"extraConfig": {"websocketProxy": {"maxSessionsPerApp": 5000}}}, "use the chart's own values"),
        ({"extraConfig": {"admin": "0.0.0.0:9999"}}, "use the chart's own values"),
        ({"extraConfig": {"adminTls": {"certificate": "c", "key": "k"}}}, "adminTls: not in this chart"),
        (
            {"extraEnv": [{"name": "BASCULE_ADMINTLS__CERTIFICATE", "value": "c"}]},
            "adminTls: not in this chart",
        ),
        ({"httpRoute": {"enabled": True}}, "a route without a Gateway is nobody's"),
        (
            {"prometheusRule": {"enabled": True, "disabled": ["BasculeRoutesFull"]}},
            "no alert BasculeRoutesFull",
        ),
        ({"service": {"nodePort": 30080}}, "service.nodePort says nothing of a Service of type ClusterIP"),
        ({"service": {"redirectPort": 8000}}, "service.redirectPort needs tls.secretName"),
        (
            {"tls": {"secretName": "a"}, "service": {"port": 443, "redirectPort": 443}},
            "service.port and service.redirectPort are both 443",
        ),
        (
            {"tls": {"secretName": "a"}, "service": {"redirectPort": 81}, "ports": {"redirect": 8081}},
            "ports.redirect is 8081, which has another use",
        ),
        ({"service": {"externalTrafficPolicy": "Local"}}, "service.externalTrafficPolicy says nothing"),
        ({"service": {"type": "NodePort", "loadBalancerClass": "a"}}, "of a Service of type NodePort"),
        ({"service": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}, "an API server refuses it"),
        ({"service": {"ipFamilies": ["IPv6"]}}, "asks for IPv6, where nothing listens"),
        ({"service": {"ipFamilyPolicy": "PreferDualStack"}}, "bindAddress is 0.0.0.0; [::] takes both"),
        ({"bindAddress": "[::]", "service": {"ipFamilies": ["IPv6", "IPv4"]}}, "ipFamilyPolicy must allow"),
        ({"extraObjects": [{"kind": '{{ "a\\x27 b" }}'}]}, "what the templates in it give is no YAML"),
        ({"hopsworks": {"payara": {"websocketProxy": None}}}, "leave it out to have the default"),
        ({"dnsPolicy": "None"}, "dnsConfig.nameservers is empty"),
        ({"hopsworks": None}, "leave it out to have the default"),
        (websocket_proxy(maxSessionsPerApp=None), "leave it out to have the default"),
    ],
)
def test_values_that_contradict_each_other_are_refused_with_a_reason(
    version: str, values: dict[str, Any], message: str
) -> None:
    assert message in refusal(version, values)


def test_whoever_may_add_routes_needs_a_token() -> None:
    said = refusal("v4", {"hub": {"enabled": True}})
    assert "hub.enabled needs adminToken.name" in said
