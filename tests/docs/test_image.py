"""The image: built and pushed as the page says, and run as the chart runs it.

`make accept-arm` does all this for arm64.

What stands in for others: the base image is Debian with its own Python (scripts/install-parts podman), and
the registry listens on the loopback. Where the host has another processor, qemu runs what is for arm64
(scripts/install-parts arm64). The Containerfile and both commands are the project's.
"""

import json
import os
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from websockets.sync.client import connect

from tests.chart.rendering import ROUTES, configuration, one, render
from tests.docs.claims import claimed
from tests.support.echo import run_echo
from tests.support.network import own_network
from tests.support.parts import ROOT, require
from tests.support.podman import BASE, Podman, start_podman
from tests.support.processes import Service, answers
from tests.support.shared import one_at_a_time
from tests.support.terminal import open_terminal
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(600),
]

BUILD, PUSH = claimed(__name__)
IMAGE = "registry.example/bascule:0.1.0"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
ARCHITECTURE = os.environ.get("BASCULE_TEST_ARCHITECTURE")
"""The host's own if there is none."""
ECHO = {"name": "echo", "kind": "app", "path": "/echo/", "upstream": "http://127.0.0.1:8501"}
MOST_BYTES = 32_000_000
"""Of what the Containerfile adds to its base."""


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Podman, with the image built by the page's command."""
    home = tmp_path_factory.mktemp("podman")
    command = BUILD.text
    if ARCHITECTURE:
        command = command.replace("podman build", f"podman build --platform linux/{ARCHITECTURE}")
    with one_at_a_time("podman", tmp_path_factory):  # the second worker finds every layer built
        found = start_podman(home, ARCHITECTURE)
        with open_terminal(home, at=ROOT, env=found.env) as terminal:
            terminal.run(command, seconds=500)
    yield found
    found.run("image", "prune", "--force", "--filter", "until=24h")


def test_the_image_is_named_as_its_version_and_holds_nothing_needless(podman: Podman) -> None:
    assert BUILD.text.split()[3] == PUSH.text.split()[2] == IMAGE
    chart = yaml.safe_load((ROOT / "charts/bascule/Chart.yaml").read_text(encoding="utf-8"))
    assert IMAGE.endswith(f":{chart['appVersion']}")
    added = podman.inspect(IMAGE)["Size"] - podman.inspect(BASE)["Size"]
    assert 0 < added <= MOST_BYTES


def test_the_image_is_pushed(podman: Podman, tmp_path: Path) -> None:
    command = require("docker-registry")
    address = "127.0.0.1:5000"
    settings = tmp_path / "registry.yaml"
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "registry")}}
    settings.write_text(yaml.safe_dump({"version": "0.1", "storage": storage, "http": {"addr": address}}))
    with own_network():
        registry = Service("registry", [command, "serve", settings], tmp_path / "registry.log")
        # A registry takes requests for any host, so it can stand where a proxy would.
        env = {**podman.env, "http_proxy": f"http://{address}"}
        try:
            registry.wait_until(lambda: answers(f"http://{address}/v2/"), 20)
            with open_terminal(tmp_path, at=ROOT, env=env) as terminal:
                terminal.run(PUSH.text, seconds=120)
            with urllib.request.urlopen(f"http://{address}/v2/bascule/tags/list", timeout=10) as answer:
                assert json.load(answer) == {"name": "bascule", "tags": ["0.1.0"]}
        finally:
            registry.stop()


def as_the_kubelet_would(pod: dict[str, Any]) -> list[str]:
    """Return podman's flags for what the chart asks of a pod's only container."""
    (container,) = pod["containers"]
    user, limits = pod["securityContext"], container["securityContext"]
    assert user["runAsNonRoot"]
    assert limits == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    (temporary,) = (volume for volume in pod["volumes"] if "emptyDir" in volume)
    size = temporary["emptyDir"]["sizeLimit"].replace("Mi", "m")
    memory = container["resources"]["limits"]["memory"].replace("Mi", "m")
    return [
        f"--user={user['runAsUser']}:{user['runAsGroup']}",
        *("--read-only", "--read-only-tmpfs=false", f"--tmpfs=/{temporary['name']}:size={size}"),
        *("--cap-drop=all", "--security-opt=no-new-privileges", f"--memory={memory}"),
    ]


def test_a_container_writes_nowhere_but_to_its_temporary_files(podman: Podman) -> None:
    pod = one(render("v4", {}), "Deployment")["spec"]["template"]["spec"]
    (pause, *_) = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    look = "uname -m; bascule --version; id -u; touch /tmp/a && ! touch /a && ! touch /opt/bascule/a"
    words = [*as_the_kubelet_would(pod), "--entrypoint=sh", IMAGE, "-c", f"{look} && {pause} 0"]
    machine, version, user = podman.run("run", "--rm", *words).splitlines()
    architecture = podman.inspect(IMAGE)["Architecture"]
    assert architecture == podman.architecture or podman.architecture is None
    assert machine == MACHINES[architecture]
    assert "(compiled hot path)" in version
    assert int(user) == pod["securityContext"]["runAsUser"]


def test_the_image_serves_under_the_charts_restrictions_says_how_it_is_and_ends_in_time(
    podman: Podman, tmp_path: Path
) -> None:
    token = {"name": "BASCULE_ADMINTOKEN", "value": "without it a pod tells nobody who is connected"}
    values = {"routes": [*ROUTES, ECHO], "drain": {"timeout": 5}, "extraEnv": [token]}
    manifests = render("v4", values)
    pod = one(manifests, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    folder = tmp_path / "config"
    folder.mkdir(mode=0o755)
    file = folder / "config.yaml"
    file.write_text(configuration(manifests))
    file.chmod(0o644)
    tmp_path.chmod(0o755)
    (mount,) = (one for one in container["volumeMounts"] if one["name"] == "config")
    name = f"bascule-{tmp_path.name}-{tmp_path.parent.name}"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    words = ["run", "--rm", "--name", name, *as_the_kubelet_would(pod)]
    words += [f"--env={each['name']}={each['value']}" for each in container["env"]]
    words += [f"--volume={folder}:{mount['mountPath']}:ro", IMAGE, *container["args"]]
    with own_network(), run_echo(8501):
        service = Service("container", [require("podman"), *words], tmp_path / "log", env=podman.env)
        try:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                where = container[probe]["httpGet"]
                address = f"http://127.0.0.1:{ports[where['port']]}{where['path']}"
                service.wait_until(partial(answers, address), 60)
            with connect(f"ws://127.0.0.1:{ports['http']}/echo/") as session:
                for message in ("short", "long" * 50_000):
                    session.send(message)
                    assert session.recv(timeout=20) == message
                assert " echo " in podman.run("exec", name, "bascule", "sessions")
            grace = pod["terminationGracePeriodSeconds"]
            podman.run("stop", f"--time={grace}", name)
            eventually(lambda: service.process.poll() is not None, grace, "the container is gone")
            assert service.process.returncode == 0, service.said()
        finally:
            service.stop()
