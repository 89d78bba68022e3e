"""How browsers, JupyterHub and pods reach the pods: services, ingress, gateway, network policy."""

from typing import Any

import pytest
import yaml

from tests.chart.rendering import (
    CASES,
    configuration,
    one,
    render,
)

pytestmark = pytest.mark.real


def test_jupyterhub_tells_ready_pods_and_they_tell_each_other() -> None:
    manifests = render("v4", CASES["JupyterHub"])
    service = one(manifests, "Service", "-api")["spec"]
    (port,) = service["ports"]
    assert (port["port"], port["targetPort"]) == (8001, "admin")
    assert "clusterIP" not in service
    assert "publishNotReadyAddresses" not in service
    config = yaml.safe_load(configuration(manifests))
    assert config["hub"] == {
        "enabled": True, "shareRoutes": True, "hostRouting": False, "includePrefix": True, "maxRoutes": 20000,
        "prependPath": True, "allowedOrigins": ["https://hub.example"], "defaultTarget": None,
        "errorTarget": None,
    }  # fmt: skip
    assert "hub" not in yaml.safe_load(configuration(render("v4", {})))


def test_plain_http_is_redirected_to_the_port_of_the_service() -> None:
    manifests = render("v4", CASES["a load balancer that redirects"])
    tls = yaml.safe_load(configuration(manifests))["tls"]
    assert (tls["redirectFrom"], tls["redirectPort"]) == ("0.0.0.0:8082", 443)
    ports = one(manifests, "Service", "ws-bascule")["spec"]["ports"]
    assert [(port["name"], port["port"], port["targetPort"], port["appProtocol"]) for port in ports] == [
        ("http", 443, "http", "https"),
        ("redirect", 80, "redirect", "http"),
    ]
    (container,) = one(manifests, "Deployment", "ws-bascule")["spec"]["template"]["spec"]["containers"]
    assert {"name": "redirect", "containerPort": 8082, "protocol": "TCP"} in container["ports"]
    open_to_browsers = one(manifests, "NetworkPolicy", "ws-bascule")["spec"]["ingress"][0]["ports"]
    assert [port["port"] for port in open_to_browsers] == ["http", "redirect"]
    assert "redirect" not in str(render("v4", {"tls": {"secretName": "cert"}}))


def test_a_load_balancer_is_told_what_the_values_say_and_nothing_else_is() -> None:
    values = CASES["a load balancer of both families"]
    manifests = render("v4", values)
    spec = one(manifests, "Service", "ws-bascule")["spec"]
    (port,) = spec.pop("ports")
    told = {key: value for key, value in spec.items() if key != "selector"}
    asked = {**values["service"]}
    assert (port["port"], port["nodePort"], port["appProtocol"]) == tuple(
        asked.pop(key) for key in ("port", "nodePort", "appProtocol")
    )
    assert told == asked
    for name in ("-peers", "-api"):
        inside = one(manifests, "Service", name)["spec"]
        assert inside["ipFamilies"] == ["IPv6", "IPv4"], name
        assert inside["ipFamilyPolicy"] == "RequireDualStack"
        assert not {"type", "loadBalancerClass", "externalTrafficPolicy"} & inside.keys()
    usual = one(render("v4", {}), "Service", "ws-bascule")["spec"]
    assert usual.keys() == {"type", "selector", "ports"}
    assert usual["ports"][0]["appProtocol"] == "http"


def test_peers_are_found_even_when_full_or_draining() -> None:
    manifests = render("v4", {})
    service = one(manifests, "Service", "-peers")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    capacity = yaml.safe_load(configuration(manifests))["capacity"]
    assert capacity["headlessService"] == "ws-bascule-peers.hopsworks.svc"
    listed = yaml.safe_load(configuration(render("v4", CASES["listed peers"])))["capacity"]
    assert listed.get("headlessService") is None


def test_the_ingress_binds_browsers_to_pods_as_the_platform_does() -> None:
    annotations = one(render("v4", CASES["everything"]), "Ingress")["metadata"]["annotations"]
    prefix = "nginx.ingress.kubernetes.io/"
    assert annotations[prefix + "affinity"] == "cookie"
    assert annotations[prefix + "affinity-mode"] == "persistent"
    assert annotations[prefix + "session-cookie-max-age"] == "5259600"
    assert annotations[prefix + "session-cookie-expires"] == "5259600"
    assert annotations[prefix + "proxy-body-size"] == "0"
    without = one(render("v4", CASES["little"]), "Ingress")["metadata"]["annotations"]
    assert prefix + "affinity" not in without
    assert not any("session-cookie" in name for name in without)


def test_one_cookie_binds_a_browser_on_every_path_of_the_ingress() -> None:
    # Each path had one of its own, and the badge could speak of another pod than the one JupyterLab was on.
    prefix = "nginx.ingress.kubernetes.io/"
    hosts = [{"host": "a.example", "paths": ["/jupyter", "/.bascule"]}]
    values: dict[str, Any] = {"ingress": {"enabled": True, "hosts": hosts}}
    ingress = one(render("v4", values), "Ingress")
    paths = [path["path"] for path in ingress["spec"]["rules"][0]["http"]["paths"]]
    annotations = ingress["metadata"]["annotations"]
    assert paths == ["/jupyter", "/.bascule"]
    assert annotations[prefix + "session-cookie-path"] == "/"
    assert annotations[prefix + "session-cookie-name"] == "ws-bascule-pod"

    values["ingress"]["annotations"] = {prefix + "session-cookie-path": "/jupyter"}
    ingress = one(render("v4", values), "Ingress")
    assert ingress["metadata"]["annotations"][prefix + "session-cookie-path"] == "/jupyter"


def test_a_gateway_sends_everything_to_the_service_and_never_ends_a_session() -> None:
    route = one(render("v4", CASES["a gateway"]), "HTTPRoute")
    asked = CASES["a gateway"]["httpRoute"]
    assert route["metadata"]["annotations"] == {"a": "b"}
    assert route["spec"]["parentRefs"] == asked["parentRefs"]
    assert route["spec"]["hostnames"] == asked["hostnames"]
    assert route["spec"]["rules"] == [
        {
            "name": "all",
            "matches": [
                {"path": {"type": "PathPrefix", "value": "/jupyter"}},
                {"path": {"type": "PathPrefix", "value": "/.bascule"}},
            ],
            "backendRefs": [{"name": "ws-bascule", "port": 8000}],
            "timeouts": {"request": "0s", "backendRequest": "0s"},
        }
    ]
    plain = {"enabled": True, "parentRefs": [{"name": "gateway"}], "timeouts": {"request": None}}
    spec = one(render("v4", {"httpRoute": plain}), "HTTPRoute")["spec"]
    assert spec == {
        "parentRefs": [{"name": "gateway"}],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": "ws-bascule", "port": 80}],
            }
        ],
    }


def test_paths_are_prefixes_unless_the_controller_reads_them_its_own_way() -> None:
    def kinds(**ingress: Any) -> set[tuple[str, str]]:
        values = {"ingress": {"enabled": True, "hosts": [{"paths": ["/jupyter/*"]}], **ingress}}
        (rule,) = one(render("v4", values), "Ingress")["spec"]["rules"]
        return {(path["path"], path["pathType"]) for path in rule["http"]["paths"]}

    assert kinds() == {("/jupyter/*", "Prefix")}
    own = "ImplementationSpecific"
    assert kinds(pathType=own) == {("/jupyter/*", own)}


def test_the_admin_port_is_closed_to_strangers() -> None:
    policy = one(render("v4", {"networkPolicy": {"enabled": True}}), "NetworkPolicy")["spec"]
    by_port = {rule["ports"][0]["port"]: rule for rule in policy["ingress"]}
    assert "from" not in by_port["http"]
    assert len(by_port["admin"]["from"]) == 1


def test_pods_may_ask_each_other_whatever_egress_the_values_allow() -> None:
    values = {"networkPolicy": {"enabled": True, "egress": []}}
    manifests = render("v4", values)
    policy = one(manifests, "NetworkPolicy")["spec"]
    (rule,) = policy["egress"]
    assert rule["ports"] == [{"port": "admin", "protocol": "TCP"}]
    (peer,) = rule["to"]
    labels = one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()
