"""The pages' configurations of ingresses, as they stand there, in front of a real Bascule."""

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.certificates import make_certificate
from tests.support.echo import run_echo
from tests.support.network import own_network
from tests.support.pages import fenced
from tests.support.parts import ROOT, require
from tests.support.processes import Service, answers
from tests.support.rawupstream import run_upstream
from tests.support.waiting import eventually

pytestmark = pytest.mark.real

FRONT = "127.0.0.1:8000"
CAPACITY = f"http://{FRONT}/.bascule/capacity?scope=instance"
ORIGIN = Origin(f"http://{FRONT}")


def page(name: str) -> str:
    return fenced(f"docs/howto/behind-{name}.md", name)


def nginx(home: Path, text: str, *_: str) -> list[str | Path]:
    # Debian's own places for these belong to root.
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = " ".join(f"{place}_temp_path {home}/{place};" for place in places)
    (home / "nginx.conf").write_text(text.replace("http {\n", f"http {{ access_log off; {paths}\n"))
    quiet = f"daemon off; pid {home}/pid; error_log stderr;"
    return [require("nginx"), "-p", f"{home}/", "-c", home / "nginx.conf", "-g", quiet]


def haproxy(home: Path, text: str, *_: str) -> list[str | Path]:
    (home / "haproxy.cfg").write_text(text)
    return [require("haproxy"), "-db", "-f", home / "haproxy.cfg"]


def traefik(home: Path, text: str, *more: str) -> list[str | Path]:
    """The static configuration is a table in the page; its keys are flags too, and unknown ones refused."""
    (home / "dynamic.yaml").write_text(text)
    table = (ROOT / "docs/howto/behind-traefik.md").read_text(encoding="utf-8")
    keys = re.findall(r"^\| `(entryPoints\.\S+)` \| (?:`(\S+)`|.*?) \|", table, re.MULTILINE)
    values = {"graceTimeOut": "180s", "trustedIPs": "127.0.0.1/32"}
    flags = [f"--{key}={value or values[key.rpartition('.')[2]]}" for key, value in keys]
    assert len(flags) == 3
    flags += [f"--entryPoints.web.address={FRONT}", f"--providers.file.filename={home}/dynamic.yaml"]
    return [require("traefik"), *flags, *more, "--global.checkNewVersion=false", "--log.level=ERROR"]


INGRESSES = {"nginx": nginx, "haproxy": haproxy, "traefik": traefik}


@contextmanager
def proxied(
    home: Path, name: str, text: str, *more: str, config: dict[str, Any] | None = None
) -> Iterator[list[RunningBascule]]:
    """Run an ingress with a configuration, and more flags, before two proxies on 127.0.0.1 and 127.0.0.2."""
    with ExitStack() as running:
        running.enter_context(own_network())
        echo = running.enter_context(run_echo())
        pods = []
        for host in ("127.0.0.1", "127.0.0.2"):
            place = home / host
            place.mkdir()
            routes = [{"name": "echo", "path": "/", "upstream": echo}]
            whole = {"listen": f"{host}:8080", "admin": f"{host}:8081", "routes": routes, **(config or {})}
            pods.append(running.enter_context(run_bascule(place, {**whole, "capacity": {"name": host}})))
        service = Service(name, INGRESSES[name](home, text, *more), home / f"{name}.log", cwd=home)
        running.callback(service.stop, 10)
        service.wait_until(lambda: answers(CAPACITY), 30.0)
        yield pods


@pytest.mark.parametrize("name", INGRESSES)
def test_a_websocket_goes_through_the_pages_configuration(name: str, tmp_path: Path) -> None:
    with (
        proxied(tmp_path, name, page(name)) as (pod, _),
        connect(f"ws://{FRONT}/x", origin=ORIGIN) as browser,
    ):
        browser.send("hello")
        assert browser.recv() == "hello"
        assert pod.in_flight == 1


ELSEWHERE = "127.0.0.9"


def from_elsewhere() -> socket.socket:
    """Connect to the ingress from an address that nobody trusts."""
    return socket.create_connection(("127.0.0.1", 8000), 10, source_address=(ELSEWHERE, 0))


FORGED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Prefix", "X-Forwarded-Proto")
"""What Bascule believes of a proxy that it trusts."""


@pytest.mark.parametrize("name", INGRESSES)
def test_what_a_browser_claims_stops_at_the_pages_configuration(
    name: str, tmp_path: Path, socket_folder: Path
) -> None:
    # HAProxy passed on a prefix, and a list of addresses that began with the browser's own.
    with run_upstream(path=socket_folder / "app.sock") as upstream:
        config = {
            "trustedProxies": ["127.0.0.0/8"],
            "routes": [{"name": "all", "path": "/", "upstream": upstream.url}],
        }
        claims = dict.fromkeys(FORGED, "forged")
        with (
            proxied(tmp_path, name, page(name), config=config),
            from_elsewhere() as connection,
            connect(f"ws://{FRONT}/x", sock=connection, origin=ORIGIN, additional_headers=claims),
        ):
            (call,) = upstream.calls_for(b"/x")
            assert [field for field in call.fields if b"forged" in field[1]] == []


def test_haproxy_that_ends_tls_lets_the_pages_websockets_in(tmp_path: Path) -> None:
    # The page had it say http, whatever the browser had used, and Bascule compares that with the origin.
    certificate = make_certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_text(certificate.certificate.read_text() + certificate.key.read_text())
    bind = f"bind {FRONT}\n"
    text = page("haproxy").replace(bind, f"{bind}  bind 127.0.0.1:8443 ssl crt {both}\n")
    trust = {"trustedProxies": ["127.0.0.1"]}
    with (
        proxied(tmp_path, "haproxy", text, config=trust),
        connect(
            "wss://127.0.0.1:8443/x", origin=Origin("https://127.0.0.1:8443"), ssl=certificate.client()
        ) as browser,
    ):
        browser.send("hello")
        assert browser.recv() == "hello"


BYTES = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s

frontend browsers
  bind 127.0.0.1:8000
  default_backend bascule

backend bascule
  server pod-1 127.0.0.1:8080 send-proxy-v2-ssl
"""


def test_haproxy_that_passes_on_bytes_says_whose_they_are(tmp_path: Path) -> None:
    assert "`send-proxy-v2-ssl`" in (ROOT / "docs/howto/behind-haproxy.md").read_text(encoding="utf-8")
    told = {"proxyProtocolFrom": ["127.0.0.1"]}
    with (
        proxied(tmp_path, "haproxy", BYTES, config=told) as (pod, _),
        from_elsewhere() as connection,
        connect(f"ws://{FRONT}/x", sock=connection, origin=ORIGIN) as browser,
    ):
        browser.send("hello")
        assert browser.recv() == "hello"
        (session,) = pod.sessions()
        assert session["client"] == ELSEWHERE


def test_traefik_leaves_a_silent_websocket_alone_as_the_page_says(tmp_path: Path) -> None:
    hasty = "--entryPoints.web.transport.respondingTimeouts.idleTimeout=1s"
    silent = {"websocketProxy": {"heartbeatIntervalMs": 0}}
    with (
        proxied(tmp_path, "traefik", page("traefik"), hasty, config=silent),
        connect(f"ws://{FRONT}/x", origin=ORIGIN, ping_interval=None) as browser,
    ):
        with pytest.raises(TimeoutError):
            browser.recv(timeout=3)
        browser.send("still here")
        assert browser.recv() == "still here"


SECOND = {
    "haproxy": (
        "server pod-1 127.0.0.1:8080 cookie pod-1",
        "server pod-1 127.0.0.1:8080 cookie pod-1\n  server pod-2 127.0.0.2:8080 cookie pod-2",
    ),
    "traefik": (
        "- url: http://127.0.0.1:8080",
        "- url: http://127.0.0.1:8080\n          - url: http://127.0.0.2:8080",
    ),
}
"""How a second pod is added to the page's configuration."""


@pytest.mark.parametrize("name", SECOND)
def test_the_pages_cookie_keeps_a_browser_on_its_pod(name: str, tmp_path: Path) -> None:
    text = page(name)
    assert SECOND[name][0] in text
    with proxied(tmp_path, name, text.replace(*SECOND[name])):
        eventually(
            lambda: {pod_of(browser()) for _ in range(4)} == {"127.0.0.1", "127.0.0.2"}, 20, "both pods"
        )
        for _ in range(3):
            mine = browser()
            assert len({pod_of(mine) for _ in range(5)}) == 1


def browser() -> urllib.request.OpenerDirector:
    """A browser without cookies."""
    return urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))


def pod_of(opener: urllib.request.OpenerDirector) -> str:
    """Return the name of the pod that answers a browser."""
    with opener.open(CAPACITY, timeout=10) as answer:
        name: str = json.load(answer)["instance"]["name"]
        return name
