"""The acceptance of the chart holds in front of our own API server too, and finds what is planted."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chart import accept, acceptance
from tests.chart.client import Client, Finding
from tests.chart.cluster import cluster
from tests.chart.rendering import CASES, HELMS, helm

pytestmark = pytest.mark.real


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    with cluster({}, tmp_path) as path:
        yield path


@pytest.fixture
def client(kubeconfig: Path) -> Client:
    return Client(helm("v4"), accept.KUBECTL, kubeconfig, "hopsworks")


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize("word", ["everything", "little", "autoscaling", "by hand"])
def test_the_chart_is_accepted(
    word: str,
    version: str,
    kubeconfig: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for one in HELMS:
        helm(one)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    status = accept.main(["--helm", version, "--only", word, "--jobs", "1"])
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert "FOUND" not in printed


def test_a_refusal_is_found(client: Client) -> None:
    values = {"extraVolumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}
    with pytest.raises(Finding, match="duplicate mount path"):
        list(acceptance.lifecycle(client, values, {}))


def test_a_rollback_that_rolls_nothing_back_is_found(client: Client, tmp_path: Path) -> None:
    lazy = tmp_path / "helm"
    lazy.write_text(f'#!/bin/sh\n[ "$1" = rollback ] || exec {client.helm} "$@"\n', encoding="utf-8")
    lazy.chmod(0o755)
    with pytest.raises(Finding, match="after a rollback to the first revision"):
        list(acceptance.lifecycle(replace(client, helm=lazy), CASES["little"], {}))


def test_a_warning_is_found(client: Client, tmp_path: Path) -> None:
    loud = tmp_path / "helm"
    loud.write_text(
        f'#!/bin/sh\necho "W: Warning: it is old" >&2\nexec {client.helm} "$@"\n', encoding="utf-8"
    )
    loud.chmod(0o755)
    with pytest.raises(Finding, match="Warning: it is old"):
        list(acceptance.by_hand(replace(client, helm=loud)))
