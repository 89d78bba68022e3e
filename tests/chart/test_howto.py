"""The operators' pages: what needs no cluster is run, configurations are loaded by what reads them.

A command behind ``<!-- run: fails with "…" -->`` must fail and say so.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import CHART, HELMS, configuration, helm, one, render, run
from tests.docs.claims import claimed
from tests.support.pages import Command, blocks, fenced
from tests.support.parts import ROOT, require


@pytest.mark.real
@pytest.mark.parametrize("command", claimed(__name__), ids=str)
def test_a_command_does_what_the_page_says(command: Command) -> None:
    helm("v4")
    if command.text.startswith("promtool"):
        require("promtool")
    places = [ROOT / "build" / "helm" / "v4", Path(sys.executable).parent]
    path = os.pathsep.join([*map(str, places), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-ec", command.text],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (command.error is None), done.stdout[-2000:] + done.stderr
    if command.error is not None:
        assert command.error in done.stderr


@pytest.mark.real
def test_nginx_loads_the_pages_configuration(tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text(fenced("docs/howto/behind-nginx.md", "nginx"), encoding="utf-8")
    quiet = f"pid {tmp_path}/pid; error_log stderr;"
    done = subprocess.run(
        [str(require("nginx")), "-t", "-p", f"{tmp_path}/", "-c", str(path), "-g", quiet],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "syntax is ok" in done.stderr, done.stderr


@pytest.mark.real
def test_haproxy_loads_the_pages_configuration(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text(fenced("docs/howto/behind-haproxy.md", "haproxy"), encoding="utf-8")
    done = subprocess.run(
        [str(require("haproxy")), "-c", "-f", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr


@pytest.mark.real
@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize(
    "page",
    [
        "charts/bascule/README.md",
        "docs/howto/helm.md",
        "docs/howto/behind-nginx.md",
        "docs/howto/behind-traefik.md",
    ],
)
def test_the_first_values_of_a_page_render(version: str, page: str) -> None:
    done = run(version, "template", "bascule", str(CHART), values=fenced(page, "yaml"))
    assert done.returncode == 0, done.stderr


def test_the_charts_page_names_values_that_there_are() -> None:
    text = (CHART / "README.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)
    named = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    assert len(named) > 20
    for name in named:
        place = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
        for key in name.split("."):
            place = place[key]


@pytest.mark.real
@pytest.mark.parametrize("version", HELMS)
def test_the_values_of_the_gateways_page_render_together(version: str) -> None:
    page = "docs/howto/behind-a-gateway.md"
    texts = [block.text for block in blocks() if (block.page, block.language) == (page, "yaml")]
    first, filters, persistence, policy = map(yaml.safe_load, texts)
    first["httpRoute"]["rule"] = filters["httpRoute"]["rule"] | persistence["httpRoute"]["rule"]
    manifests = render(version, {**first, **policy, "tls": {"secretName": "tls"}})
    (rule,) = one(manifests, "HTTPRoute")["spec"]["rules"]
    assert rule["sessionPersistence"] == {"type": "Cookie", "sessionName": "bascule-pod"}
    (modifier,) = rule["filters"]
    assert "X-Forwarded-User" in modifier["requestHeaderModifier"]["remove"]
    (target,) = one(manifests, "BackendTLSPolicy")["spec"]["targetRefs"]
    assert target["name"] == rule["backendRefs"][0]["name"]


@pytest.mark.real
@pytest.mark.parametrize("version", HELMS)
def test_the_values_for_a_load_balancer_render_together(version: str) -> None:
    texts = [
        block.text for block in blocks() if (block.page, block.language) == ("docs/howto/helm.md", "yaml")
    ]
    first, header, browsers = map(
        yaml.safe_load, texts[texts.index("proxyProtocolFrom: [10.0.0.0/16]\n") - 1 :][:3]
    )
    said = yaml.safe_load(configuration(render(version, {**first, **header, **browsers})))
    assert said["proxyProtocolFrom"] == header["proxyProtocolFrom"]
    assert said["tls"]["clientCa"].startswith(browsers["extraVolumeMounts"][0]["mountPath"])
    assert said["tls"]["certificate"], "the chart's own keys stay"


@pytest.mark.real
def test_the_table_of_annotations_is_what_the_chart_sets() -> None:
    prefix = "nginx.ingress.kubernetes.io/"
    text = (ROOT / "docs/howto/behind-nginx.md").read_text(encoding="utf-8")
    table = text.partition("| annotation |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`.+?`) \| (.+?) \|", table, re.MULTILINE)
    named = {name for names, value in rows if value != "not set" for name in re.findall(r"`(\S+?)`", names)}
    manifests = render("v4", {"ingress": {"enabled": True}, "tls": {"secretName": "tls"}})
    annotations = one(manifests, "Ingress")["metadata"]["annotations"]
    assert {f"{prefix}{name}" for name in named} == annotations.keys()


@pytest.mark.real
def test_the_sizing_table_is_what_the_chart_computes() -> None:
    text = (ROOT / "docs" / "howto" / "tune-the-cap.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+)Mi \| (\d+)Mi \|$", text, re.MULTILINE)
    assert len(rows) >= 3
    for cap, forwarders, request, limit in rows:
        done = subprocess.run(
            [
                str(helm("v4")),
                "template",
                "x",
                str(CHART),
                f"--set=hopsworks.payara.websocketProxy.maxSessionsPerApp={cap}",
                f"--set=forwarders.count={forwarders}",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"memory: {request}Mi" in done.stdout, (cap, "request")
        assert f"memory: {limit}Mi" in done.stdout, (cap, "limit")


def test_the_drain_pages_example_is_what_the_chart_computes() -> None:
    text = (ROOT / "docs" / "howto" / "drain-and-upgrade.md").read_text(encoding="utf-8")
    stated = re.search(r"`terminationGracePeriodSeconds: (\d+)`", text)
    assert stated
    # (5 min + 500 / 5 s) / 0.9 + closing 5 s, preStop 10 s, margin 10 s
    assert int(stated[1]) == -(-400 * 10 // 9) + 5 + 20
