"""A real Prometheus that scrapes once a second."""

import contextlib
import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import parts
from tests.support.processes import Service, answers, reserve_port

__all__ = ["Prometheus", "check_metrics", "run_prometheus"]


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus.

    Attributes:
        url: ``http://host:port``.
    """

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now.

        Returns:
            The result's elements: ``metric`` is the labels, ``value`` the time and the value as text.
        """
        address = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(address, timeout=10) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


@contextlib.contextmanager
def run_prometheus(home: Path, target: str, *, path: str = "/metrics") -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes ``target`` (``host:port``) once a second as job ``bascule``."""
    command = parts.require("prometheus")
    port = reserve_port()
    static = {"targets": [target], "labels": {"pod_name": "hopsworks-instance-a-b"}}
    (home / "prometheus.yml").write_text(
        json.dumps(  # JSON is YAML
            {
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                "scrape_configs": [
                    {
                        "job_name": "bascule",
                        "metrics_path": path,
                        "static_configs": [static],
                    }
                ],
            }
        )
    )
    service = Service(
        "Prometheus",
        [
            command,
            f"--config.file={home / 'prometheus.yml'}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--storage.tsdb.path={home / 'tsdb'}",
        ],
        home / "prometheus.log",
        cwd=home,
    )
    try:
        service.wait_until(lambda: answers(f"http://127.0.0.1:{port}/-/ready"), 30.0)
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        service.stop()


def check_metrics(exposition: bytes) -> list[str]:
    """Return what ``promtool check metrics`` complains about, one text each; empty when it is content."""
    run = subprocess.run(
        [parts.require("promtool"), "check", "metrics"], input=exposition, capture_output=True, timeout=30
    )
    said = (run.stdout + run.stderr).decode().splitlines()
    assert run.returncode == 0 or said, run
    return said
