"""What the page on JupyterHub says: how it starts its proxy, and what an operator asks that."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bascule.configuration.chp import DEFAULTS, TOKEN_VARIABLE
from bascule.configuration.loading import load
from tests.chart.rendering import configuration, one, render
from tests.docs.claims import claimed
from tests.support.certificates import make_certificate
from tests.support.echo import run_echo
from tests.support.hubapi import HubApi
from tests.support.network import own_network
from tests.support.pages import blocks, fenced
from tests.support.parts import ROOT, require
from tests.support.processes import Service, answers
from tests.support.rawclient import connected

pytestmark = pytest.mark.real

PAGE = "docs/howto/jupyterhub.md"
ROUTES, SESSIONS = claimed(__name__)
TOKEN = "secret"
THE_CAP = "curl -s http://127.0.0.1:8001/metrics?name=ws_pool_max_connections"
CAP = " 2000.0"
HUB_PASSES = ["--ip", "", "--port", "8000", "--api-ip", "127.0.0.1", "--api-port", "8001"]
CHART_PASSES = [
    "--ip=::", "--api-ip=::", "--api-port=8001", "--default-target=http://hub:8081",
    "--error-target=http://hub:8081/hub/error", "--port=8000", "--log-level=debug",
]  # fmt: skip


def started(tmp_path: Path, arguments: list[str], **environ: str) -> Service:
    """Start what a line of JupyterHub's configuration names."""
    command = [str(Path(sys.executable).parent / arguments[0]), *arguments[1:]]
    environment = {TOKEN_VARIABLE: TOKEN, "BASCULE_LOG__FORMAT": "json", **environ}
    service = Service("bascule chp", command, tmp_path / "log", cwd=tmp_path, env=environment)
    service.wait_until(lambda: answers("http://127.0.0.1:8001/healthz"), 30)
    return service


def on_the_page(language: str) -> list[str]:
    """Return the blocks of the page in one language."""
    return [block.text for block in blocks() if (block.page, block.language) == (PAGE, language)]


def command_of(line: str) -> list[str]:
    """Return the list of a line such as ``c.ConfigurableHTTPProxy.command = […]``."""
    name, _, said = line.strip().partition(" = ")
    assert name == "c.ConfigurableHTTPProxy.command"
    words: list[str] = json.loads(said)
    return words


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Service]:
    """Run it as the page says, with a file, where the page says."""
    require("curl")
    _, with_file = (command_of(text) for text in on_the_page("python") if ".command" in text)
    (tmp_path / "bascule.yaml").write_text(fenced(PAGE, "yaml"))
    with own_network():
        arguments = [word.replace("/etc/jupyterhub/", f"{tmp_path}/") for word in with_file]
        service = started(tmp_path, [*arguments, *HUB_PASSES])
        yield service
        assert service.stop(10) == 0


def test_the_calls_are_answered_as_they_are_shown(proxy: Service) -> None:
    api = HubApi("http://127.0.0.1:8001", TOKEN)
    with run_echo() as echo, connected("http://127.0.0.1:8000") as client:
        api.add("/", echo, hub=True, jupyterhub=True)
        api.add("/user/ada", echo, user="ada", jupyterhub=True)
        client.open(b"/user/ada/api/kernels/1/channels")

        routes = json.loads(typed(ROUTES.text))
        sessions = json.loads(typed(SESSIONS.text))

    assert set(routes) == {"/", "/user/ada"}
    assert list(routes["/"]) == ["target", "hub", "jupyterhub", "last_activity"]
    assert sessions["total"] == 1
    assert (sessions["sessions"][0]["route"], sessions["sessions"][0]["user"]) == ("/user/ada", "ada")


def test_the_files_keys_are_in_force(proxy: Service) -> None:
    assert CAP in typed(THE_CAP)


def test_what_jupyterhubs_chart_passes_is_understood(tmp_path: Path) -> None:
    (values,) = [yaml.safe_load(text) for text in on_the_page("yaml") if "proxy:" in text]
    with own_network():
        service = started(tmp_path, ["bascule", "chp", *CHART_PASSES], **values["proxy"]["chp"]["extraEnv"])
        assert json.loads(typed("curl -s http://127.0.0.1:8000/_chp_healthz")) == {"status": "OK"}
        assert CAP in typed(THE_CAP)
        assert service.stop(10) == 0


def test_what_jupyterhubs_chart_passes_for_https_is_understood(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    passes = [
        "--ip=::", "--api-ip=::", "--api-port=8001", "--default-target=http://hub:8081",
        "--error-target=http://hub:8081/hub/error", "--port=8443", "--redirect-port=8000",
        "--redirect-to=443", f"--ssl-key={certificate.key}", f"--ssl-cert={certificate.certificate}",
    ]  # fmt: skip
    with own_network():
        service = started(tmp_path, ["bascule", "chp", *passes])
        assert json.loads(typed("curl -sk https://127.0.0.1:8443/_chp_healthz")) == {"status": "OK"}
        redirect = typed("curl -s -o /dev/null -w '%{redirect_url}' http://127.0.0.1:8000/hub/home")
        assert redirect == "https://127.0.0.1/hub/home"
        assert service.stop(10) == 0


def test_a_balancer_that_ends_tls_and_says_nothing_of_it_needs_the_line_of_the_page(tmp_path: Path) -> None:
    said = re.search(r'`(BASCULE_HUB__ALLOWEDORIGINS): "(https://([^"]+))"`', (ROOT / PAGE).read_text())
    assert said is not None
    variable, origin, host = said.groups()
    with own_network(), run_echo() as echo:
        service = started(tmp_path, ["bascule", "chp", *CHART_PASSES], **{variable: origin})
        HubApi("http://127.0.0.1:8001", TOKEN).add("/user/ada", echo, user="ada", jupyterhub=True)
        with connected("http://127.0.0.1:8000") as client:
            client.open(b"/user/ada/x", b"Origin: " + origin.encode(), host=host.encode())
        assert service.stop(10) == 0


def test_a_balancer_that_says_it_in_a_proxy_header_is_listed_as_the_page_does() -> None:
    said = re.search(r'`(BASCULE_PROXYPROTOCOLFROM): "([^"]+)"`', (ROOT / PAGE).read_text())
    assert said is not None
    config = load(None, {said[1]: said[2]}, {}, DEFAULTS).config
    assert [str(network) for network in config.proxy_protocol_from] == [said[2]]


def test_pods_of_our_own_chart_serve_one_hub_where_the_page_says() -> None:
    (values,) = [yaml.safe_load(text) for text in on_the_page("yaml") if "Bascule's chart" in text]
    (settings,) = [text for text in on_the_page("python") if "should_start" in text]
    manifests = render("v4", {"fullnameOverride": "bascule", **values})
    api = one(manifests, "Service", "-api")

    url = f"http://{api['metadata']['name']}.NAMESPACE.svc:{api['spec']['ports'][0]['port']}"
    assert f'c.ConfigurableHTTPProxy.api_url = "{url}"' in settings
    hub = yaml.safe_load(configuration(manifests))["hub"]
    assert (hub["enabled"], hub["shareRoutes"], hub["allowedOrigins"]) == (
        True,
        True,
        ["https://hub.example"],
    )


def test_the_file_of_a_replica_on_a_host_is_a_configuration(tmp_path: Path) -> None:
    (text,) = [text for text in on_the_page("yaml") if "peers:" in text]
    (tmp_path / "bascule.yaml").write_text(text)
    config = load(tmp_path / "bascule.yaml", {}, {}).config
    assert config.hub.share_routes
    assert {peer.port for peer in config.capacity.peers} == {int(str(config.admin).rpartition(":")[2])}


def test_the_bounds_are_those_in_force_without_a_word_of_the_operator() -> None:
    row = next(
        line for line in (ROOT / PAGE).read_text().splitlines() if line.startswith("| nothing is bounded")
    )
    config = load(None, {}, {}, DEFAULTS).config
    pool, limits = config.websocket_proxy, config.limits
    said = {
        f"{pool.max_sessions_per_app} sessions (`websocketProxy.maxSessionsPerApp`)",
        f"frames of {pool.incoming_buffer_bytes >> 20} MiB (`websocketProxy.incomingBufferBytes`",
        f"{limits.max_http_requests} plain requests under way (`limits.maxHttpRequests`)",
        f"{limits.http_upstream_timeout:g} s until an answer begins (`limits.httpUpstreamTimeout`)",
    }
    assert {words for words in said if words in row} == said


def typed(command: str) -> str:
    """Return what a command says."""
    done = subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, TOKEN_VARIABLE: TOKEN},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
