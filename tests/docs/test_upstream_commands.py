"""JupyterLab and Streamlit, started as the page says, are reached through Bascule under a host's own name."""

import json
import os
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.docs.claims import claimed
from tests.support.bascule import RunningBascule, run_bascule
from tests.support.echo import run_echo
from tests.support.network import own_network
from tests.support.pages import fenced
from tests.support.parts import ROOT, require
from tests.support.processes import Service, answers

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

START, JUPYTER, ON_A_SOCKET, STRIPPED, PREFIXED = (command.text for command in claimed(__name__))
PAGE = "docs/howto/jupyter-and-streamlit.md"
REMOTE = "--ServerApp.allow_remote_access=True"
NAME = "notebooks.example"
TOKEN = "secret-of-the-lab"
LAB, APP = "/jupyter/lab/", "/apps/levels/"
SOCKET = APP + "_stcore/stream"
UP_WITHIN = 90.0


def get(proxy: RunningBascule, path: str, host: str = NAME, body: Any = None) -> tuple[int, bytes]:
    """Return the status and the body of an answer through the proxy; a body is posted."""
    fields = {"Host": host, "Authorization": f"token {TOKEN}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(proxy.public_url + path, data, fields)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def status_of_socket(proxy: RunningBascule, path: str) -> int:
    """Return what an upgrade through the proxy is answered."""
    host, _, port = proxy.public_url.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)))
    try:
        with connect(f"ws://{NAME}{path}", sock=connection, origin=Origin(f"http://{NAME}"), open_timeout=60):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


@contextmanager
def served(
    tmp_path: Path,
    part: str,
    command: str,
    up: str,
    env: Mapping[str, str],
    *,
    strip: bool = True,
    lab: str | None = None,
) -> Iterator[RunningBascule]:
    """Run a command of the page, and Bascule with the page's routes in front of it."""
    path = f"{require(part).parent}{os.pathsep}{os.environ['PATH']}"
    home = tmp_path / "bascule"
    home.mkdir()
    config = yaml.safe_load(fenced(PAGE, "yaml"))
    if not strip:
        del config["routes"][1]["stripPrefix"]
    if lab is not None:
        config["routes"][0]["upstream"] = lab
    with own_network(), run_bascule(home, config) as proxy:
        everything = {**env, "HOME": str(tmp_path), "PATH": path}
        argv = ["bash", "-c", f"exec {command}"]
        service = Service(part, argv, tmp_path / "log", cwd=tmp_path, env=everything)
        try:
            service.wait_until(lambda: get(proxy, up)[0] != 502, UP_WITHIN)
            yield proxy
        finally:
            service.stop()


@contextmanager
def lab(tmp_path: Path, command: str, upstream: str | None = None, **more: str) -> Iterator[RunningBascule]:
    """Run JupyterLab with a token, and as root where the tests are run so."""
    (tmp_path / "config").mkdir()
    allowed = json.dumps({"ServerApp": {"allow_root": True}})
    (tmp_path / "config/jupyter_server_config.json").write_text(allowed)
    names = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
    env = {name: str(tmp_path / folder) for name, folder in names.items()} | {"JUPYTER_TOKEN": TOKEN}
    up = LAB + "api/status"
    with served(tmp_path, "jupyter", command, up, {**env, **more}, lab=upstream) as proxy:
        yield proxy


def test_bascule_serves_both_where_the_page_says_and_nowhere_else(project: Path) -> None:
    addresses = re.findall(r"<(http://127.0.0.1:8080\S+)>", (ROOT / PAGE).read_text(encoding="utf-8"))
    (project / "bascule.yaml").write_text(fenced(PAGE, "yaml"))
    with own_network(), run_echo(8888), run_echo(8501):
        service = Service("bascule", ["bash", "-c", f"exec {START}"], project / "log", cwd=project)
        try:
            service.wait_until(lambda: answers("http://127.0.0.1:8081/readyz"), 30)
            assert [address.removeprefix("http://127.0.0.1:8080") for address in addresses] == [LAB, APP]
            for address in addresses:
                with connect(address.replace("http", "ws")) as session:
                    session.send("hello")
                    assert session.recv(timeout=10) == "hello"
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", 8080))
        finally:
            assert service.stop(20) == 0


def test_jupyter_opens_every_socket_of_a_tab_under_another_name_than_localhost(tmp_path: Path) -> None:
    with lab(tmp_path, JUPYTER) as proxy:
        works_in_every_way(proxy)


def test_jupyter_on_a_unix_socket_prints_what_the_route_needs(tmp_path: Path, socket_folder: Path) -> None:
    upstream = f"http+unix://{quote(str(socket_folder), safe='')}%2Flab.sock"
    with lab(tmp_path, ON_A_SOCKET, upstream, XDG_RUNTIME_DIR=str(socket_folder)) as proxy:
        works_in_every_way(proxy)
        assert f"{upstream}/" in (tmp_path / "log").read_text()
        assert (socket_folder / "lab.sock").stat().st_mode & 0o777 == 0o600


def works_in_every_way(proxy: RunningBascule) -> None:
    """Open every socket of a tab, with a token and without."""
    assert get(proxy, LAB + "lab")[0] == 200
    kernel = json.loads(get(proxy, LAB + "api/kernels", body={"name": "python3"})[1])["id"]
    terminal = json.loads(get(proxy, LAB + "api/terminals", body={})[1])["name"]
    paths = ("api/events/subscribe", f"api/kernels/{kernel}/channels", f"terminals/websocket/{terminal}")
    assert paths_of_the_table() == [
        "api/events/subscribe",
        "api/kernels/ID/channels",
        "terminals/websocket/NAME",
    ]
    for path in paths:
        assert status_of_socket(proxy, f"{LAB}{path}?token={TOKEN}") == 101
        assert status_of_socket(proxy, LAB + path) == 403, "there is no token"
    assert TOKEN not in proxy.process.log.read_text()


def paths_of_the_table() -> list[str]:
    """Return the paths of the page's table."""
    rows = (line for line in (ROOT / PAGE).read_text(encoding="utf-8").splitlines() if line.startswith("| `"))
    return [row.split("`")[1] for row in rows]


def test_jupyter_without_remote_access_knows_no_name_but_localhost(tmp_path: Path) -> None:
    assert REMOTE in JUPYTER
    with lab(tmp_path, JUPYTER.replace(REMOTE, "")) as proxy:
        assert get(proxy, LAB + "api/status", "localhost")[0] == 200
        assert get(proxy, LAB + "api/status")[0] == 403
        assert status_of_socket(proxy, f"{LAB}api/events/subscribe?token={TOKEN}") == 403


def test_jupyter_on_another_address_than_the_loopback_does_not_check_names(tmp_path: Path) -> None:
    with lab(tmp_path, JUPYTER.replace(REMOTE, "--ServerApp.ip=0.0.0.0")) as proxy:
        assert get(proxy, LAB + "api/status")[0] == 200


@pytest.mark.parametrize(
    ("command", "strip", "status"),
    [(STRIPPED, True, 101), (PREFIXED, False, 101), (STRIPPED, False, 403), (PREFIXED, True, 403)],
    ids=["stripped", "its own prefix", "neither", "both"],
)
def test_streamlit_takes_the_session_when_one_of_the_two_deals_with_the_prefix(
    command: str, strip: bool, status: int, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text("import streamlit\nstreamlit.write('hello')\n")
    with served(tmp_path, "streamlit", command, APP, {}, strip=strip) as proxy:
        assert status_of_socket(proxy, SOCKET) == status
