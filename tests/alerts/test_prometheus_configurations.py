"""The committed Prometheus configurations, run by a real Prometheus on loopback.

Debian builds Prometheus without the Kubernetes discovery, so the targets come from a
file that carries the labels the discovery would set (`__meta_kubernetes_…`); everything
behind the discovery is the committed configuration. Federation and remote_write run
against a second server.
"""

import contextlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards import local_prometheus
from tests.support.parts import require

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATIONS = ROOT / "alerts" / "prometheus"
EXPOSITION = """\
# TYPE ws_connection_in_flight_count gauge
ws_connection_in_flight_count{mp_scope="application"} 42.0
# TYPE ws_pool_max_connections gauge
ws_pool_max_connections{mp_scope="application"} 500.0
"""

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def _prometheus() -> None:
    require("prometheus")


@contextlib.contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Exporter(Quiet):
    """`/metrics` of a pod, which needs no token."""

    def do_GET(self) -> None:
        self.answer(200, "text/plain; version=0.0.4; charset=utf-8", EXPOSITION.encode())


def pod(name: str, port: int, app: str = "bascule", phase: str = "Running") -> list[dict[str, Any]]:
    """What the Kubernetes discovery says of one pod: one target for each container port."""
    labels = {
        "__meta_kubernetes_namespace": "hopsworks",
        "__meta_kubernetes_pod_name": name,
        "__meta_kubernetes_pod_node_name": "node-1",
        "__meta_kubernetes_pod_phase": phase,
        "__meta_kubernetes_pod_label_app_kubernetes_io_name": app,
        "__meta_kubernetes_pod_container_name": "bascule",
    }
    return [
        {
            "targets": [f"127.0.0.1:{port}"],
            "labels": {**labels, "__meta_kubernetes_pod_container_port_name": port_name},
        }
        for port_name in ("http", "admin")
    ]


def committed(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((CONFIGURATIONS / name).read_text(encoding="utf-8"))
    return document


@pytest.fixture
def scraped(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The committed scrape configuration, pointed at an exporter instead of a cluster."""
    with serving(Exporter) as port:
        targets = [
            *pod("hopsworks-instance-6f7d9-abcde", port),
            *pod("hopsworks-instance-6f7d9-done", port, phase="Succeeded"),
            *pod("somebody-else", port, app="other"),
        ]
        (tmp_path / "pods.json").write_text(json.dumps(targets), encoding="utf-8")
        configuration = committed("scrape.yaml")
        configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        shutil.copy(ROOT / "alerts" / "rules.yaml", tmp_path / "rules.yaml")
        job = configuration["scrape_configs"][0]
        assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
        job["file_sd_configs"] = [{"files": [str(tmp_path / "pods.json")]}]
        yield configuration


def labels_of(server: local_prometheus.Prometheus, expression: str) -> list[dict[str, str]]:
    keep = ("pod_name", "namespace", "node")
    return [
        {key: item["metric"][key] for key in keep if key in item["metric"]}
        for item in server.query(expression)
    ]


OURS = [{"pod_name": "hopsworks-instance-6f7d9-abcde", "namespace": "hopsworks", "node": "node-1"}]


def test_the_scrape_configuration_yields_pod_name_namespace_and_node(
    tmp_path: Path, scraped: dict[str, Any]
) -> None:
    with local_prometheus.running(tmp_path, scraped) as server:
        local_prometheus.poll(
            lambda: bool(server.query("pod:ws_connection_in_flight:share")), 30, "the first rule result"
        )
        assert labels_of(server, "ws_connection_in_flight_count") == OURS
        assert labels_of(server, "pod:ws_connection_in_flight:share") == OURS
        assert [item["value"][1] for item in server.query("up")] == ["1"]


def test_federation_keeps_the_labels(tmp_path: Path, scraped: dict[str, Any]) -> None:
    second = tmp_path / "second"
    second.mkdir()
    configuration = committed("federate.yaml")
    configuration["global"]["scrape_interval"] = "1s"
    with local_prometheus.running(tmp_path, scraped) as inner:
        targets = configuration["scrape_configs"][0]["static_configs"][0]
        targets["targets"] = [inner.url.removeprefix("http://")]
        with local_prometheus.running(second, configuration) as outer:
            expression = "pod:ws_connection_in_flight:share"
            local_prometheus.poll(lambda: bool(outer.query(expression)), 30, "the federated series")
            assert labels_of(outer, "ws_connection_in_flight_count") == OURS
            assert labels_of(outer, expression) == OURS


def test_remote_write_sends_the_series_on(tmp_path: Path, scraped: dict[str, Any]) -> None:
    second = tmp_path / "second"
    second.mkdir()
    receiver = {"global": {"scrape_interval": "1s"}}
    with local_prometheus.running(second, receiver, "--web.enable-remote-write-receiver") as outer:
        sending = committed("remote-write.yaml")["remote_write"]
        sending[0]["url"] = f"{outer.url}/api/v1/write"
        sending[0]["queue_config"]["batch_send_deadline"] = "1s"
        with local_prometheus.running(tmp_path, {**scraped, "remote_write": sending}):
            expression = "ws_connection_in_flight_count"
            local_prometheus.poll(lambda: bool(outer.query(expression)), 30, "the series that was sent")
            assert labels_of(outer, expression) == OURS
            assert outer.query("up") == []


def test_the_scrape_configuration_needs_nothing_that_may_not_be_there() -> None:
    # A token file that nobody mounted fails every scrape, and metrics need no token.
    (job,) = committed("scrape.yaml")["scrape_configs"]
    assert job.keys() == {"job_name", "kubernetes_sd_configs", "relabel_configs"}
