"""What the page on TLS says, typed and configured as it stands there."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.docs.claims import claimed
from tests.support.certificates import Certificate
from tests.support.network import own_network
from tests.support.pages import blocks
from tests.support.parts import require
from tests.support.processes import Service
from tests.support.rawclient import connected
from tests.support.rawupstream import run_upstream
from tests.support.terminal import Terminal

pytestmark = pytest.mark.real

PAGE = "docs/howto/tls.md"
MAKE, SERVE, *ASK, WITH_CERTIFICATE = claimed(__name__)
WHOLE, ONLY_WITH_CERTIFICATE = [
    yaml.safe_load(block.text) for block in blocks() if (block.page, block.language) == (PAGE, "yaml")
]


@pytest.fixture
def _network() -> Iterator[None]:
    with own_network():
        yield


@pytest.fixture
def at_the_terminal(_network: None, terminal: Terminal) -> Terminal:
    """A terminal on a network of its own, where the certificate has been made."""
    require("curl")
    require("openssl")
    terminal.run(MAKE.text)
    return terminal


@contextmanager
def served(project: Path, config: dict[str, object]) -> Iterator[Service]:
    """Start Bascule with a configuration."""
    (project / "bascule.yaml").write_text(yaml.safe_dump(config))
    service = Service("bascule", ["bash", "-c", f"exec {SERVE.text}"], project / "log", cwd=project)
    try:
        service.wait_until(lambda: '"event":"listening"' in service.said(), 30)
        yield service
    finally:
        assert service.stop(20) == 0


def test_each_side_answers_as_the_page_shows(at_the_terminal: Terminal, project: Path) -> None:
    with served(project, WHOLE):
        for command in ASK:
            assert at_the_terminal.run(command.text).strip() == command.shown


@pytest.mark.usefixtures("at_the_terminal")
def test_a_session_goes_to_an_upstream_of_the_pages_ca(project: Path) -> None:
    certificate = Certificate(project / "certificate.pem", project / "key.pem")
    (route,) = WHOLE["routes"]
    with run_upstream(certificate.server()) as upstream:
        config = {**WHOLE, "routes": [{**route, "upstream": upstream.url}]}
        with served(project, config), connected("https://127.0.0.1:8443", certificate.client()) as browser:
            browser.open(b"/x", b"Origin: https://127.0.0.1:8443", host=b"127.0.0.1:8443")


def test_a_browser_without_a_certificate_gets_no_page_and_the_log_says_why(
    at_the_terminal: Terminal, project: Path
) -> None:
    config = {**WHOLE, "tls": WHOLE["tls"] | ONLY_WITH_CERTIFICATE["tls"], "log": {"level": "debug"}}
    with served(project, config) as service:
        before = service.said()
        assert at_the_terminal.type(ASK[0].text).status != 0
        assert at_the_terminal.run(WITH_CERTIFICATE.text).strip() == WITH_CERTIFICATE.shown
        said = json.loads(service.said().removeprefix(before))
    assert said["event"] == "a certificate is not accepted"
    assert (said["listener"], said["problem"]) == ("public", "the client shows no certificate")
