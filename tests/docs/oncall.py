"""An operator at a terminal, a cluster to reach, and in it a pod that is a real Bascule with a past."""

import base64
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.echo import run_echo
from tests.support.kube.api import Cluster, run_cluster
from tests.support.kube.pod import Pod
from tests.support.network import own_network
from tests.support.parts import ROOT, require
from tests.support.proctree import forwarders, kill
from tests.support.terminal import Terminal, open_terminal
from tests.support.waiting import eventually

__all__ = ["Operator", "filled_in", "operator_of_a_cluster", "operator_of_a_pod"]

PLACEHOLDERS: Final = {
    "NS": "hopsworks",
    "POD": "hopsworks-instance-5f7d4-x2x7k",
    "NODE": "node-1",
    "ROUTE": "echo",
    "NAME": "ada",
    "ID": "ID",  # whoever types it looks it up
    # Not the release's name, so that a command with the one in the other's place finds nothing.
    "DEPLOYMENT": "hopsworks-instance",
    "RELEASE": "bascule",
}
"""What the pages tell the reader to put in, and what is put in here."""

TOKEN: Final = "the operator's token"
THROTTLED: Final = "usage_usec 9120\nuser_usec 7000\nsystem_usec 2120\nnr_periods 8\nnr_throttled 3\n"
"""A container's ``cpu.stat``, as cgroup version 2 shows it. This host may have version 1."""


@dataclass(frozen=True)
class Operator:
    """Somebody with a terminal, ``kubectl`` and ``helm``.

    Attributes:
        pod: The proxy that the pod is; only where there is a pod.
    """

    terminal: Terminal
    cluster: Cluster
    pod: RunningBascule | None = None


def filled_in(text: str) -> str:
    """Put in what stands for something else: ``NS``, ``POD``."""
    return re.sub(rf"\b({'|'.join(PLACEHOLDERS)})\b", lambda found: PLACEHOLDERS[found[1]], text)


@contextmanager
def operator_of_a_cluster(home: Path, helm: str = "v4") -> Iterator[Operator]:
    """Sit down in the project's folder, with a cluster that is empty.

    Args:
        home: An existing directory.
        helm: Which Helm to use, with the kubectl that came with it.
    """
    for part in ("helm", "kubectl", "curl", "openssl"):
        require(part)
    tools = ROOT / "build" / "helm" / helm
    desk = home / "project"
    desk.mkdir()
    (desk / "charts").symlink_to(ROOT / "charts")
    with (
        own_network(),
        run_cluster(home) as cluster,
        open_terminal(home, at=desk, path=(tools,), env={"KUBECONFIG": str(cluster.kubeconfig)}) as terminal,
    ):
        yield Operator(terminal, cluster)


@contextmanager
def operator_of_a_pod(home: Path) -> Iterator[Operator]:
    """Sit down before a release whose pod has a past: `_live_through`."""
    with operator_of_a_cluster(home) as operator, run_echo() as echo:
        proxy_home = home / "pod"
        proxy_home.mkdir()
        routes = [
            {"name": "echo", "path": "/echo", "upstream": echo, "maxSessions": 1},
            {"name": "gone", "path": "/gone", "upstream": "http://127.0.0.1:9"},
        ]
        config = {
            "listen": "127.0.0.1:8080",
            "admin": "0.0.0.0:9081",
            "adminToken": TOKEN,
            "routes": routes,
            "websocketProxy": {"maxSessionsPerApp": 1},
        }
        with run_bascule(proxy_home, config) as proxy:
            _live_through(proxy)
            _install(operator, proxy, home)
            yield Operator(operator.terminal, operator.cluster, proxy)


def _live_through(proxy: RunningBascule) -> None:
    """Refuse a session, lose a forwarder, miss an upstream, and be told to load what cannot be used."""
    address = proxy.public_url.replace("http", "ws")
    with connect(f"{address}/echo") as held:
        assert _end(f"{address}/echo") == 1013, "the only slot is taken"
        kill(forwarders(proxy)[0], signal.SIGKILL)
        with pytest.raises(ConnectionClosed):
            held.recv(timeout=20)
    eventually(lambda: proxy.in_flight == 0, 20, "the slot is free")
    assert _end(f"{address}/gone") == 1013, "nobody is there"
    with pytest.raises(HTTPError, match="502") as gone:
        urlopen(f"{proxy.public_url}/gone", timeout=10)
    gone.value.close()
    assert not proxy.reload(limits={"handshakeTimeout": "soon"}), "that is no duration"
    eventually(lambda: {"a process died", "session refused"} <= _events(proxy), 20, "the log says so")


def _end(address: str) -> int:
    """Return the code with which a session ends by itself."""
    with connect(address) as session, pytest.raises(ConnectionClosed) as closed:
        session.recv(timeout=20)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def _events(proxy: RunningBascule) -> set[str]:
    return {str(line.get("event")) for line in proxy.log_lines}


def _install(operator: Operator, proxy: RunningBascule, home: Path) -> None:
    """Install the chart, twice so that there is something to go back to, and show the pod."""
    namespace = PLACEHOLDERS["NS"]
    for autoscaling in ("false", "true"):
        operator.terminal.run(
            f"helm upgrade --install {PLACEHOLDERS['RELEASE']} charts/bascule --namespace {namespace} "
            f"--create-namespace --set fullnameOverride={PLACEHOLDERS['DEPLOYMENT']} "
            f"--set adminToken.name=bascule-admin --set autoscaling.enabled={autoscaling} "
            "--set routes[0].path=/ --set routes[0].name=lab --set routes[0].upstream=http://lab"
        )
    token = base64.b64encode(TOKEN.encode()).decode()
    _add(operator, "v1", "Secret", "secrets", "bascule-admin", type="Opaque", data={"token": token})
    operator.cluster.add(
        "/api/v1/nodes/node-1", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}
    )
    deployment = operator.cluster.store.get(
        f"/apis/apps/v1/namespaces/{namespace}/deployments/{PLACEHOLDERS['DEPLOYMENT']}"
    )
    assert deployment is not None
    killed = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "startedAt": None, "finishedAt": None}}
    state = {
        "name": "bascule",
        "ready": True,
        "restartCount": 1,
        "image": "",
        "imageID": "",
        "lastState": killed,
    }
    template = deployment["spec"]["template"]
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": PLACEHOLDERS["POD"].rpartition("-")[0],
        "uid": "1",
        "controller": True,
    }
    _add(
        operator, "v1", "Pod", "pods", PLACEHOLDERS["POD"],
        metadata={**template["metadata"], "ownerReferences": [owner]},
        spec={**template["spec"], "nodeName": "node-1"},
        status={"phase": "Running", "containerStatuses": [state]},
    )  # fmt: skip
    (home / "cgroup").mkdir()
    (home / "cgroup/cpu.stat").write_text(THROTTLED)
    operator.cluster.pods[f"{namespace}/{PLACEHOLDERS['POD']}"] = Pod(
        log=proxy.process.log,
        ports={8081: ("127.0.0.1", 9081)},
        files={
            "/proc/1/": Path(f"/proc/{proxy.process.pid}"),
            "/sys/fs/cgroup/": home / "cgroup",
            "bascule": Path(sys.executable).parent / "bascule",
        },
        # What the chart sets, and where that is here.
        environment={template["spec"]["containers"][0]["env"][0]["name"]: str(proxy.file)},
        stop=lambda: proxy.process.stop(20),
    )


def _add(operator: Operator, version: str, kind: str, plural: str, name: str, **body: Any) -> None:
    namespace = PLACEHOLDERS["NS"]
    metadata = {**body.pop("metadata", {}), "name": name, "namespace": namespace}
    operator.cluster.add(
        f"/api/{version}/namespaces/{namespace}/{plural}/{name}",
        {"apiVersion": version, "kind": kind, "metadata": metadata, **body},
    )
