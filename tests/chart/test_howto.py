"""The operators' pages: commands that are marked are run, configurations are loaded by what reads them.

A ``console`` block behind ``<!-- run -->`` must succeed; behind ``<!-- run: fails with "…" -->`` it must
fail and say so. Commands that need a cluster stand in ``sh`` blocks, which nothing runs.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import CHART, helm
from tests.support.parts import ROOT, require

PAGES = sorted((ROOT / "docs" / "howto").glob("*.md"))
OURS = [
    ROOT / "docs" / "howto" / f"{name}.md"
    for name in (
        "helm",
        "tune-the-cap",
        "dashboard",
        "behind-nginx",
        "behind-haproxy",
        "behind-traefik",
        "scrape-and-export",
        "drain-and-upgrade",
    )
]
RUN = re.compile(r'<!-- run(?:: fails with "(?P<error>[^"]+)")? -->\n```console\n(?P<text>.*?)```', re.DOTALL)


def commands() -> list[tuple[str, str, str | None]]:
    return [
        (page.name, line.removeprefix("$ "), found["error"])
        for page in OURS
        for found in RUN.finditer(page.read_text(encoding="utf-8"))
        for line in found["text"].splitlines()
        if line.startswith("$ ")
    ]


def block(page: str, language: str) -> str:
    text = (ROOT / "docs" / "howto" / page).read_text(encoding="utf-8")
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found, f"{page} has no {language} block"
    return found[1]


@pytest.mark.real
@pytest.mark.parametrize(("page", "command", "error"), commands())
def test_a_marked_command_does_what_the_page_says(page: str, command: str, error: str | None) -> None:
    helm("v4")
    if command.startswith("promtool"):
        require("promtool")
    places = [ROOT / "build" / "helm" / "v4", Path(sys.executable).parent]
    path = os.pathsep.join([*map(str, places), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-ec", command],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (error is None), done.stdout[-2000:] + done.stderr
    if error is not None:
        assert error in done.stderr


def test_every_page_has_a_console_block_only_where_it_is_run() -> None:
    for page in OURS:
        text = page.read_text(encoding="utf-8")
        assert text.count("```console") == len(RUN.findall(text)), page.name


def test_links_lead_somewhere() -> None:
    for page in [*OURS, *(ROOT / "docs" / "runbooks").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.real
def test_nginx_loads_the_pages_configuration(tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text(block("behind-nginx.md", "nginx"), encoding="utf-8")
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
    path.write_text(block("behind-haproxy.md", "haproxy"), encoding="utf-8")
    done = subprocess.run(
        [str(require("haproxy")), "-c", "-f", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr


def test_traefiks_configuration_is_consistent() -> None:
    http = yaml.safe_load(block("behind-traefik.md", "traefik"))["http"]
    assert http["routers"]["bascule"]["service"] in http["services"]


@pytest.mark.real
def test_the_values_of_the_helm_page_render(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(block("helm.md", "yaml"), encoding="utf-8")
    for version in ("v3", "v4"):
        done = subprocess.run(
            [str(helm(version)), "template", "bascule", str(CHART), "--values", str(values)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


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
