"""``make accept-chart`` as the page has it, before our own API server and with one life of the many."""

from pathlib import Path

import pytest

from tests.chart.cluster import cluster
from tests.chart.rendering import HELMS, helm
from tests.docs.claims import claimed
from tests.support.terminal import Terminal

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def test_the_chart_is_accepted_where_kubeconfig_leads(terminal: Terminal, tmp_path: Path) -> None:
    for version in HELMS:
        helm(version)
    (command,) = claimed(__name__)
    with cluster({}, tmp_path) as kubeconfig:
        terminal.run(f"export KUBECONFIG={kubeconfig} ACCEPT_ARGS='--helm v4 --only little --jobs 1'")
        said = terminal.run(command.text, seconds=280)
    assert "ok    v4 little" in said
    assert "1 passed, 0 failed" in said
